//! The configuration file, the flags that override it, and `gatekey config`.

use std::{fs, path::PathBuf, process::Output};

use serde_json::Value;
use tempfile::TempDir;

use super::{fails, stdout};
use crate::support::{ServerProcess, decoded, gatekey, run};

/// A configuration file.
struct File {
    directory: TempDir,
}

impl File {
    fn new(toml: &str) -> Self {
        let file = Self { directory: tempfile::tempdir().unwrap() };
        fs::write(file.path(), toml).unwrap();
        file
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("gatekey.toml")
    }

    fn flags(&self) -> [String; 2] {
        ["--config".to_owned(), self.path().to_str().unwrap().to_owned()]
    }

    fn check(&self, flags: &[&str]) -> Output {
        gatekey().args(["config", "check"]).args(self.flags()).args(flags).output().unwrap()
    }
}

/// Returns a line of `config check`, without the name of the setting.
fn line<'a>(checked: &'a str, setting: &str) -> &'a str {
    let lines = checked.lines();
    let mut values = lines.filter_map(|line| line.strip_prefix(setting)?.strip_prefix(" = "));
    values.next().unwrap_or_else(|| panic!("{setting} in {checked}"))
}

/// Removes the comments, which differ with the origin of a setting.
fn values(checked: &str) -> Vec<&str> {
    checked.lines().map(|line| line.split(" # ").next().unwrap()).collect()
}

/// Plain HTTP behind an ingress, whose address changes.
#[test]
fn proxies_are_networks_and_strangers_are_warned_of() {
    let toml = "[tls]\nplaintext = true\n[server]\npublic_url = \"https://keys.example.com\"\ntrusted_proxies = ";
    for (proxies, warns) in [("[\"10.42.0.0/16\"]", false), ("[\"10.0.0.7\", \"0.0.0.0/0\"]", true)]
    {
        let checked = File::new(&format!("{toml}{proxies}")).check(&["--listen", "0.0.0.0:8080"]);
        assert_eq!(line(&stdout(&checked), "trusted_proxies").split(" # ").next(), Some(proxies));
        let stderr = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(
            stderr.contains("warning: server.trusted_proxies has 0.0.0.0/0"),
            warns,
            "{stderr}"
        );
    }
    let wrong = File::new(&format!("{toml}[\"10.42.0.0/36\"]")).check(&[]);
    assert!(fails(&wrong, 2).contains("such as 10.42.0.0/16"));
}

#[tokio::test]
async fn flags_override_the_configuration_file() {
    let file = File::new(
        "[server]\npublic_url = \"https://file.example.com\"\norganization = \"of-the-file\"",
    );
    let [flag, path] = file.flags();
    let data_dir = file.directory.path().join("data");
    let server = ServerProcess::start_on(
        &data_dir,
        &[&flag, &path, "--public-url", "https://flag.example.com"],
    );
    assert_eq!(server.url, "https://flag.example.com");
    let token = server.token(&server.init()).await;
    assert_eq!(decoded(&token).1["org"], "of-the-file");
}

#[test]
fn config_check_prints_each_setting_and_its_origin() {
    let file = File::new(
        r#"
        [tokens]
        lifetime_seconds = 60
        audiences = ["https://a.example", "b"]
        [keys]
        signing_algorithm = "RS256"
        signing_key_max_age_seconds = 86400
        "#,
    );
    let checked = stdout(&file.check(&["--organization", "acme"]));
    assert!(checked.starts_with("# The configuration is valid."), "{checked}");
    assert!(checked.ends_with("\n# ok: the configuration is valid\n"), "{checked}");
    let at = |line| format!("# {}, line {line}", file.path().display());
    for (setting, value, origin) in [
        ("listen", "\"127.0.0.1:8443\"", "# default".to_owned()),
        ("public_url", "\"https://127.0.0.1:8443\"", "# default".to_owned()),
        ("organization", "\"acme\"", "# --organization".to_owned()),
        ("lifetime_seconds", "60", at(3)),
        ("audiences", "[\"https://a.example\", \"b\"]", at(4)),
        ("authorization_metadata_key", "\"authorization\"", "# default".to_owned()),
        ("signing_algorithm", "\"RS256\"", at(6)),
        ("signing_key_max_age_seconds", "86400", at(7)),
        ("failed_authentications_per_minute", "60", "# default".to_owned()),
    ] {
        assert_eq!(line(&checked, setting), format!("{value} {origin}"), "{checked}");
    }
    for unset in [
        "# admin_listen: disabled",
        "# cert_file: a certificate of the private CA, unless plaintext",
        "# root_key_file: root.key in the data directory",
    ] {
        assert!(checked.lines().any(|line| line == unset), "{checked}");
    }
    let left: Vec<_> = fs::read_dir(file.directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "a check creates nothing");
}

#[test]
fn config_check_explains_configured_audiences() {
    let url = "[server]\npublic_url = \"https://keys.example.com\"\n[tokens]\n";
    let note = |audiences: &str| {
        let checked = File::new(&format!("{url}{audiences}")).check(&[]);
        assert!(checked.status.success());
        String::from_utf8(checked.stderr).unwrap()
    };
    let stderr = note("audiences = [\"https://flyte.example.com\"]");
    for word in ["tokens.audiences", "https://keys.example.com", "allowedAudience"] {
        assert!(stderr.contains(word), "{stderr}");
    }
    assert_eq!(note("audiences = [\"https://keys.example.com/\"]"), "");
    assert_eq!(note(""), "");
}

#[test]
fn config_check_prints_a_valid_configuration_file() {
    let flags =
        ["--admin-listen", "--log-format", "json", "--otlp-endpoint", "http://localhost:4318"];
    let checked = stdout(&run(&[&["config", "check"], &flags[..]].concat()));
    assert!(checked.contains("admin_listen = \"127.0.0.1:9464\" # --admin-listen\n"), "{checked}");
    let again = stdout(&File::new(&checked).check(&[]));
    assert_eq!(values(&again), values(&checked));
}

#[test]
fn the_defaults_in_the_schema_are_accepted() {
    let schema: Value = serde_json::from_str(&stdout(&run(&["config", "schema"]))).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut lines = Vec::new();
    for (section, schema) in schema["properties"].as_object().unwrap() {
        lines.push(format!("[{section}]"));
        let settings = schema["properties"].as_object().unwrap().iter();
        lines.extend(
            settings.filter_map(|(name, setting)| {
                Some(format!("{name} = {}", setting.get("default")?))
            }),
        );
    }
    assert!(lines.len() > 12, "{lines:?}");
    let checked = stdout(&File::new(&lines.join("\n")).check(&[]));
    assert_eq!(values(&checked), values(&stdout(&run(&["config", "check"]))));
}

#[test]
fn every_invalid_setting_is_reported_at_once() {
    let file = File::new(
        "[tokens]\nlifetime_seconds = 1\naudiences = []\n[server]\norganization = \"a b\"\n\
         [limits]\nfailed_authentications_per_minute = 10001",
    );
    let stderr = fails(&file.check(&[]), 2);
    for (line, setting) in [
        (2, "tokens.lifetime_seconds"),
        (3, "tokens.audiences"),
        (5, "server.organization"),
        (7, "limits.failed_authentications_per_minute"),
    ] {
        let place = format!("{}, line {line}: {setting} must", file.path().display());
        assert!(stderr.contains(&place), "{stderr}");
    }
}

#[test]
fn an_error_names_the_file_and_the_line() {
    for (toml, named) in [
        ("\nlisen = \"127.0.0.1:1\"", "line 2"),
        ("\n[server]\nlisen = \"127.0.0.1:1\"", "line 3"),
        ("server.listen = \"nowhere\"", "line 1"),
        ("listen = \"nowhere\"", "line 1"),
        ("tls.plaintext = \"yes\"", "line 1"),
        ("= = =", "line 1"),
        ("keys.signing_algorithm = \"none\"", "ES256"),
    ] {
        let file = File::new(toml);
        for command in [&["config", "check"][..], &["serve"]] {
            let output = gatekey().args(command).args(file.flags()).output().unwrap();
            let stderr = fails(&output, 2);
            assert!(stderr.contains(named) && stderr.contains("gatekey.toml"), "{stderr}");
        }
    }
}

#[test]
fn an_invalid_flag_is_reported_with_its_name() {
    for (flags, named) in [
        (&["--listen", "nowhere"][..], "--listen"),
        (&["--log-format", "xml"], "[possible values: auto, text, json]"),
        (&["--tls-cert", "cert.pem"], "--tls-cert: tls.cert_file requires tls.key_file"),
        (&["--organization", "a b"], "--organization: server.organization must be"),
    ] {
        let stderr = fails(&run(&[&["config", "check"], flags].concat()), 2);
        assert!(stderr.contains(named), "{stderr}");
    }
}

#[test]
fn plaintext_excludes_a_certificate() {
    let flags = ["--plaintext", "--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let stderr = fails(&run(&[&["config", "check"], &flags[..]].concat()), 2);
    assert!(
        stderr.contains("--plaintext: tls.plaintext cannot be combined with tls.cert_file"),
        "{stderr}"
    );
}

#[test]
fn the_public_url_has_the_servers_scheme() {
    for flags in
        [&["--public-url", "http://localhost:1"][..], &["--public-url", "http://keys.example.com"]]
    {
        let stderr = fails(&run(&[&["config", "check"], flags].concat()), 2);
        assert!(stderr.contains("public_url") && stderr.contains("https"), "{stderr}");
    }
}

#[test]
fn a_missing_configuration_file_is_reported() {
    let stderr = fails(&run(&["config", "check", "--config", "/nonexistent/gatekey.toml"]), 2);
    assert!(stderr.contains("/nonexistent/gatekey.toml"), "{stderr}");
}

/// Files from before there were sections are read for one release.
#[test]
fn a_setting_outside_its_section_is_deprecated() {
    let file = File::new("token_lifetime_seconds = 60\nadmin_listen = \"127.0.0.1:0\"");
    let output = file.check(&[]);
    let checked = stdout(&output);
    assert!(line(&checked, "lifetime_seconds").starts_with("60 # "), "{checked}");
    assert!(line(&checked, "admin_listen").starts_with("\"127.0.0.1:0\" # "), "{checked}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let warning = "line 1: token_lifetime_seconds is now lifetime_seconds in section [tokens]";
    assert!(stderr.contains("warning: ") && stderr.contains(warning), "{stderr}");
    assert!(
        stderr.contains("line 2: admin_listen is now admin_listen in section [server]"),
        "{stderr}"
    );

    let sections =
        File::new("[tokens]\nlifetime_seconds = 60\n[server]\nadmin_listen = \"127.0.0.1:0\"");
    let output = sections.check(&[]);
    assert_eq!(values(&stdout(&output)), values(&checked));
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_server_logs_settings_outside_their_section() {
    let file = File::new("organization = \"acme\"");
    let [flag, path] = file.flags();
    let server = ServerProcess::start_on(&file.directory.path().join("data"), &[&flag, &path]);
    let message =
        "the configuration file has a setting outside of its section; the next release refuses it";
    server.wait_for_log(message);
    let log = server.log();
    let line = log.iter().find(|line| line["message"] == message).unwrap();
    assert_eq!(
        (&line["setting"], &line["new_name"]),
        (&"organization".into(), &"server.organization".into())
    );
}

#[test]
fn a_setting_by_both_names_is_refused() {
    let file = File::new("listen = \"127.0.0.1:1\"\n[server]\nlisten = \"127.0.0.1:1\"");
    for command in [&["config", "check"][..], &["serve"]] {
        let stderr = fails(&gatekey().args(command).args(file.flags()).output().unwrap(), 2);
        assert!(stderr.contains("line 1: listen is the old name of server.listen"), "{stderr}");
        assert!(stderr.contains("line 3); remove listen"), "{stderr}");
    }
}
