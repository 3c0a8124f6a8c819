//! How the client commands find server, credentials and certificates; `token` and `whoami`.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use super::{fails, json, run_with, stdout, value_of};
use crate::support::{Credentials, Server, decoded, gatekey};

impl Server {
    /// The binary with a trusted CA, but without credentials.
    fn without_credentials(&self) -> Command {
        let mut command = gatekey();
        command.env("GATEKEY_CA_FILE", self.process.ca_file());
        command
    }

    /// Writes a Flyte configuration file for the admin, with that name.
    pub(super) fn write_flyte_config(&self, name: &str) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        let secret = Path::new(name).with_file_name("secret.txt");
        fs::write(directory.path().join(&secret), format!("{}\n", self.admin.client_secret))
            .unwrap();
        let yaml = format!(
            "admin:\n  endpoint: dns:///{}\n  authType: ClientSecret\n  clientId: admin\n  \
             clientSecretLocation: {}\n  caCertFilePath: {}\nlogger:\n  level: 4\n",
            self.process.endpoint(),
            secret.display(),
            self.process.ca_file().display()
        );
        fs::write(&file, yaml).unwrap();
        directory
    }

    /// The admin's key as Flyte's tools encode it: without the port.
    fn key_without_port(&self) -> String {
        self.admin.encoded("127.0.0.1")
    }
}

#[tokio::test]
async fn token_prints_only_an_access_token() {
    let server = Server::start().await;
    let output = run_with(&mut server.process.as_client(&server.admin), "token");
    let text = stdout(&output);
    let token = text.strip_suffix('\n').unwrap();
    assert!(!token.contains(char::is_whitespace));
    assert!(output.stderr.is_empty());
    assert_eq!(decoded(token).1["sub"], "admin");
    assert!(server.accepts(token).await);
}

#[tokio::test]
async fn whoami_prints_identity_and_server() {
    let server = Server::start().await;
    let text = stdout(&run_with(&mut server.process.as_client(&server.admin), "whoami"));
    assert_eq!(value_of(&text, "subject"), "admin");
    assert_eq!(value_of(&text, "role"), "admin");
    assert_eq!(value_of(&text, "endpoint"), server.process.url);
    // It would be the first label of the address.
    assert!(!text.contains("userhandle"), "{text}");
}

#[tokio::test]
async fn whoami_prints_json() {
    let server = Server::start().await;
    let output =
        json(&run_with(&mut server.process.as_client(&server.admin), "whoami --output json"));
    assert_eq!(output["subject"], "admin");
    assert_eq!(output["endpoint"], server.process.url);
    assert_eq!(output["additional_claims"]["role"], "admin");
}

#[tokio::test]
async fn a_key_variable_may_contain_a_port() {
    let server = Server::start().await;
    let key = server.admin.encoded(server.process.endpoint());
    for variable in ["GATEKEY_API_KEY", "FLYTE_API_KEY", "UNION_API_KEY"] {
        let text = stdout(&run_with(server.without_credentials().env(variable, &key), "whoami"));
        assert_eq!(value_of(&text, "subject"), "admin", "{variable}");
    }
}

#[tokio::test]
async fn a_key_without_a_port_needs_an_endpoint() {
    let server = Server::start().await;
    let endpoint = server.process.endpoint();
    for variable in ["FLYTE_API_KEY", "UNION_API_KEY", "GATEKEY_API_KEY"] {
        for endpoint in
            [endpoint.to_owned(), format!("https://{endpoint}"), format!("dns:///{endpoint}")]
        {
            let words = format!("whoami --endpoint {endpoint}");
            let text = stdout(&run_with(
                server.without_credentials().env(variable, server.key_without_port()),
                &words,
            ));
            assert_eq!(value_of(&text, "subject"), "admin", "{variable} {endpoint}");
        }
    }
}

#[tokio::test]
async fn gatekeys_variable_overrides_flytes() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let mut client = server.without_credentials();
    client.env("GATEKEY_API_KEY", key.encoded(server.process.endpoint()));
    client.env("FLYTE_API_KEY", server.key_without_port());
    assert_eq!(value_of(&stdout(&run_with(&mut client, "whoami")), "subject"), "ci");
}

#[tokio::test]
async fn flytes_config_file_is_read() {
    let server = Server::start().await;
    for name in ["config.yaml", ".flyte/config.yaml"] {
        let directory = server.write_flyte_config(name);
        let text = stdout(&run_with(gatekey().current_dir(directory.path()), "whoami"));
        assert_eq!(value_of(&text, "subject"), "admin", "{name}");
    }
}

/// On many machines the variable is set, and names the system's certificates.
#[tokio::test]
async fn a_config_files_ca_overrides_ssl_cert_file() {
    let server = Server::start().await;
    let directory = server.write_flyte_config("config.yaml");
    let other = Server::start().await;
    let mut client = gatekey();
    client.current_dir(directory.path()).env("SSL_CERT_FILE", other.process.ca_file());
    assert_eq!(value_of(&stdout(&run_with(&mut client, "whoami")), "subject"), "admin");
}

#[test]
fn missing_credentials_list_what_was_tried() {
    let directory = tempfile::tempdir().unwrap();
    for words in ["token", "whoami", "key list", "key create x"] {
        let stderr = fails(&run_with(gatekey().current_dir(directory.path()), words), 2);
        for tried in ["GATEKEY_API_KEY", "FLYTE_API_KEY", "UNION_API_KEY", "config.yaml", ".flyte"]
        {
            assert!(stderr.contains(tried), "{words}: {stderr}");
        }
    }
}

#[test]
fn an_endpoint_without_credentials_is_not_enough() {
    let directory = tempfile::tempdir().unwrap();
    let mut client = gatekey();
    let stderr =
        fails(&run_with(client.current_dir(directory.path()), "token --endpoint localhost:1"), 2);
    assert!(stderr.contains("credentials") && stderr.contains("GATEKEY_API_KEY"), "{stderr}");
}

#[tokio::test]
async fn an_untrusted_certificate_is_reported_with_a_fix() {
    let server = Server::start().await;
    let mut client = gatekey();
    client.env("GATEKEY_API_KEY", server.admin.encoded(server.process.endpoint()));
    let stderr = fails(&run_with(&mut client, "token"), 6);
    assert!(stderr.contains("certificate") && stderr.contains("not trusted"), "{stderr}");
    assert_eq!(stderr.matches("GATEKEY_CA_FILE").count(), 1, "{stderr}");
}

#[tokio::test]
async fn a_flag_may_name_the_ca_file() {
    let server = Server::start().await;
    let mut client = gatekey();
    client.env("GATEKEY_API_KEY", server.admin.encoded(server.process.endpoint()));
    let words = format!("whoami --ca-file {}", server.process.ca_file().display());
    assert_eq!(value_of(&stdout(&run_with(&mut client, &words)), "subject"), "admin");
}

#[tokio::test]
async fn an_invalid_ca_file_is_reported() {
    let server = Server::start().await;
    for file in ["/nonexistent/ca.pem", "/dev/null"] {
        let stderr = fails(
            &run_with(
                &mut server.process.as_client(&server.admin),
                &format!("token --ca-file {file}"),
            ),
            2,
        );
        assert!(stderr.contains(file), "{stderr}");
    }
}

#[tokio::test]
async fn a_wrong_secret_is_not_printed() {
    let server = Server::start().await;
    let wrong = Credentials { client_secret: "not-the-secret".to_owned(), ..server.admin.clone() };
    let stderr = fails(&run_with(&mut server.process.as_client(&wrong), "token"), 5);
    assert!(stderr.contains("admin") && !stderr.contains("not-the-secret"), "{stderr}");
}

#[tokio::test]
async fn an_unreachable_server_has_its_own_exit_code() {
    let mut server = Server::start().await;
    server.process.kill();
    let stderr = fails(&run_with(&mut server.process.as_client(&server.admin), "token"), 6);
    assert!(stderr.contains(server.process.endpoint()), "{stderr}");
}

/// The error does not print the key.
#[test]
fn a_malformed_key_names_its_variable() {
    for malformed in ["n0t-base64!", "YTpiOmM=", "Zm9v"] {
        let stderr = fails(&run_with(gatekey().env("GATEKEY_API_KEY", malformed), "token"), 2);
        assert!(stderr.contains("GATEKEY_API_KEY") && !stderr.contains(malformed), "{stderr}");
    }
}

#[test]
fn a_malformed_config_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("config.yaml"), "admin: [what is this").unwrap();
    let stderr = fails(&run_with(gatekey().current_dir(directory.path()), "token"), 2);
    assert!(stderr.contains("config.yaml"), "{stderr}");
}

#[test]
fn an_invalid_number_is_explained() {
    for words in [
        "key list --limit x",
        "ledger list --data-dir D --limit=-1",
        "ledger list --data-dir D --limit 1.5",
    ] {
        let stderr = fails(&run_with(&mut gatekey(), words), 2);
        assert!(stderr.contains("expected a whole number, such as 100"), "{stderr}");
    }
    let stderr = fails(&run_with(&mut gatekey(), "root-key retire new --data-dir D"), 2);
    assert!(stderr.contains("expected the number of a version"), "{stderr}");
}
