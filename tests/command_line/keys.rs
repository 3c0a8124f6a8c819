//! `gatekey key`, with output as text and as JSON.

use std::{
    collections::BTreeSet,
    process::{Command, Output},
};

use serde_json::{Value, json};

use super::{assert_secret, fails, helps, json, run_with, stdout, value_of};
use crate::support::{Credentials, Server, binary, decoded, gatekey, now};

impl Server {
    /// Runs the binary as the admin with arguments that contain no blanks.
    fn run(&self, words: &str) -> Output {
        run_with(&mut self.process.as_client(&self.admin), words)
    }
}

fn credentials(json: &Value) -> Credentials {
    Credentials {
        client_id: json["client_id"].as_str().unwrap().to_owned(),
        client_secret: json["client_secret"].as_str().unwrap().to_owned(),
    }
}

/// A printed date as seconds since 1970.
fn seconds(date: &str) -> i64 {
    let at = humantime::parse_rfc3339(date).unwrap();
    i64::try_from(at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

#[tokio::test]
async fn key_create_prints_the_json_of_init() {
    let server = Server::start().await;
    let made = json(&server.run("key create ci --output json"));
    let got = json(&server.run("key get ci --output json"));
    assert_with_secret(&made, &got);
    let key = credentials(&made);
    assert_eq!(key.client_id, "ci");
    assert_secret(&key.client_secret);
    assert_eq!(made["endpoint"], server.process.url);
    assert_eq!(made["encoded_credentials"], key.encoded(server.process.endpoint()));
    assert_eq!(made["ca_file"], server.process.ca_file().to_str().unwrap());
    assert_eq!(decoded(&server.token(&key).await).1["sub"], "ci");
}

#[tokio::test]
async fn key_create_prints_a_warning() {
    let server = Server::start().await;
    let output =
        server.process.as_client(&server.admin).args(["key", "create", "My Key"]).output().unwrap();
    let text = stdout(&output);
    assert_eq!(value_of(&text, "client id  "), "my-key");
    let secret = value_of(&text, "client secret").to_owned();
    assert_secret(&secret);
    assert_eq!(value_of(&text, "endpoint"), server.process.url);
    let key = Credentials { client_id: "my-key".to_owned(), client_secret: secret };
    assert_eq!(value_of(&text, "encoded credentials"), key.encoded(server.process.endpoint()));
    assert!(String::from_utf8(output.stderr).unwrap().contains("shown only once"));
    assert!(!text.contains('\u{1b}'), "no color outside of a terminal");
}

/// A client id derived from it would have lost only the case of its letters.
#[tokio::test]
async fn key_create_refuses_a_secret_as_name() {
    let server = Server::start().await;
    let encoded = server.admin.encoded(server.process.endpoint());
    let token = server.token(&server.admin).await;
    for secret in [&server.admin.client_secret, &encoded, &token] {
        for name in [secret.clone(), format!("for {secret}")] {
            let output =
                server.process.as_client(&server.admin).args(["key", "create", &name]).output();
            let output = output.unwrap();
            let message = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{message}");
            assert!(message.contains("must not contain a secret"), "{message}");
            assert!(!message.contains(secret.as_str()), "{message}");
        }
    }
    assert_eq!(json(&server.run("key list --output json")).as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_env_output_works_in_a_shell() {
    let server = Server::start().await;
    let lines = stdout(&server.run("key create ci --output env"));
    for name in ["GATEKEY_API_KEY", "FLYTE_API_KEY", "GATEKEY_CA_FILE"] {
        assert!(lines.contains(&format!("export {name}=")), "{lines}");
    }
    let script = format!(
        "set -eu\n{lines}\n{binary} whoami --output json\n\
         unset GATEKEY_API_KEY\n{binary} token --endpoint {}\n",
        server.process.endpoint(),
        binary = binary(),
    );
    let output =
        Command::new("bash").env_clear().env("HOME", "/nonexistent").args(["-c", &script]).output();
    let text = stdout(&output.unwrap());
    let (whoami, token) = text.trim_end().rsplit_once('\n').unwrap();
    let whoami: Value = serde_json::from_str(whoami).unwrap();
    assert_eq!(whoami["subject"], "ci");
    assert_eq!(decoded(token).1["sub"], "ci");
}

#[tokio::test]
async fn key_create_accepts_role_redirects_and_expiry() {
    let server = Server::start().await;
    let before = now();
    stdout(&server.run(
        "key create ci --role viewer --expires-in 90d --redirect-uri https://a.example/cb \
         --redirect-uri http://localhost:1/cb",
    ));
    let text = stdout(&server.run("key get ci"));
    assert_eq!(value_of(&text, "role"), "viewer");
    assert_eq!(value_of(&text, "redirect URIs"), "https://a.example/cb http://localhost:1/cb");
    let lives = seconds(value_of(&text, "expires")) - before;
    assert!((90 * 86400 - 1..=90 * 86400 + 60).contains(&lives), "{text}");
}

#[tokio::test]
async fn limits_are_created_updated_and_lifted() {
    let server = Server::start().await;
    stdout(&server.run(
        "key create ci --allow-from 10.0.0.0/8,192.0.2.7 --allow-from 2001:db8::/32 --rate 100/s \
         --projects web,data --domains development",
    ));
    let text = stdout(&server.run("key get ci"));
    assert_eq!(value_of(&text, "networks"), "10.0.0.0/8 192.0.2.7 2001:db8::/32");
    assert_eq!(value_of(&text, "rate"), "100/s");
    assert_eq!(value_of(&text, "projects"), "web data");
    assert_eq!(value_of(&text, "domains"), "development");
    let changed = json(&server.run("key update ci --no-allow-from --rate 5/m --output json"));
    assert_eq!((&changed["allow_from"], &changed["rate"]), (&json!([]), &json!("5/m")));
    assert_eq!(changed["projects"], json!(["web", "data"]));
    let lifted =
        json(&server.run("key update ci --no-rate --no-projects --no-domains --output json"));
    assert_eq!((&lifted["rate"], &lifted["projects"]), (&Value::Null, &json!([])));
    assert_eq!(lifted["domains"], json!([]));
    let set = json(&server.run(
        "key update ci --allow-from 10.1.0.0/16 --rate 7/s --projects web --domains staging --output json",
    ));
    assert_eq!((&set["allow_from"], &set["rate"]), (&json!(["10.1.0.0/16"]), &json!("7/s")));
    assert_eq!((&set["projects"], &set["domains"]), (&json!(["web"]), &json!(["staging"])));
    let lifted =
        json(&server.run(
            "key update ci --no-allow-from --no-rate --no-projects --no-domains --output json",
        ));
    assert_eq!((&lifted["allow_from"], &lifted["rate"]), (&json!([]), &Value::Null));
    let listed = json(&server.run("key list --output json"));
    let of_key = |key: &&Value| key["client_id"] == "ci";
    assert_eq!(listed.as_array().unwrap().iter().find(of_key), Some(&lifted));
    let stderr = fails(&server.run("key update ci --rate 5/d"), 2);
    assert!(stderr.contains("100/s"), "{stderr}");
    fails(&server.run("key update ci --rate 5/m --no-rate"), 2);
}

#[tokio::test]
async fn key_create_defaults_to_contributor() {
    let server = Server::start().await;
    stdout(&server.run("key create plain"));
    stdout(&server.run("key create bare --no-role"));
    assert_eq!(value_of(&stdout(&server.run("key get plain")), "role"), "contributor");
    assert_eq!(value_of(&stdout(&server.run("key get bare")), "role"), "none");
}

#[tokio::test]
async fn key_get_prints_no_secret() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let text = stdout(&server.run("key get ci"));
    let details = &server.admin_call("Get", json!({ "clientId": "ci" })).await["apiKey"];
    assert_eq!(value_of(&text, "client id"), "ci");
    assert_eq!(value_of(&text, "key id"), details["keyId"]);
    assert_eq!(value_of(&text, "state"), "enabled");
    assert_eq!(value_of(&text, "expires"), "never");
    assert!((now() - seconds(value_of(&text, "created"))).abs() < 60);
    assert!(
        text.lines().last().unwrap().starts_with(details["secrets"][0]["id"].as_str().unwrap()),
        "{text}"
    );
    assert!(!text.contains(&key.client_secret) && !text.contains("gk_"));
}

/// The members of a key, in every command that prints one.
pub(super) const MEMBERS: [&str; 18] = [
    "allow_from",
    "client_id",
    "client_name",
    "created_at",
    "disabled_at",
    "domains",
    "epoch",
    "expires_at",
    "grant_types",
    "key_id",
    "organization",
    "projects",
    "rate",
    "redirect_uris",
    "role",
    "secrets",
    "state",
    "updated_at",
];

pub(super) fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Asserts that a printed key is `got` with its secret, apart from what another call changes.
fn assert_with_secret(made: &Value, got: &Value) {
    assert_eq!(names(got), MEMBERS.into());
    let secret = ["ca_file", "client_secret", "encoded_credentials", "endpoint"];
    assert_eq!(names(made), MEMBERS.into_iter().chain(secret).collect());
    for member in MEMBERS.iter().filter(|member| !["secrets", "updated_at"].contains(member)) {
        assert_eq!(made[*member], got[*member], "{member}");
    }
}

#[tokio::test]
async fn every_command_prints_the_same_key() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let got = json(&server.run("key get ci --output json"));
    assert_eq!(names(&got), MEMBERS.into());
    let secret = ["created_at", "expires_at", "id", "label", "last_used_at", "not_before", "state"];
    assert_eq!(names(&got["secrets"][0]), secret.into());
    assert_eq!((&got["role"], &got["state"]), (&json!("contributor"), &json!("enabled")));
    assert!(got["grant_types"].is_array() && got["redirect_uris"].is_array(), "{got}");
    assert_eq!(json(&server.run("key get ci --details --output json")), got);
    assert_eq!(json(&server.run("key list --output json"))[1], got);
    assert_eq!(json(&server.run("key list --details --output json"))[1], got);
    let rotated = json(&server.run("key rotate ci --grace 1h --output json"));
    assert_with_secret(&rotated, &json(&server.run("key get ci --output json")));
    assert_eq!(rotated["secrets"].as_array().unwrap().len(), 2);
    let retire = format!("key retire ci {} -o json", got["secrets"][0]["id"].as_str().unwrap());
    for (words, state) in [
        (&*retire, "enabled"),
        ("key update ci --role viewer --output json", "enabled"),
        ("key disable ci --output json", "disabled"),
        ("key enable ci --output json", "enabled"),
    ] {
        let printed = json(&server.run(words));
        assert_eq!(
            (names(&printed), &printed["state"]),
            (MEMBERS.into(), &json!(state)),
            "{words}"
        );
    }
}

/// Its token stops working with the secret that fetched it.
#[tokio::test]
async fn a_self_rotation_prints_the_whole_key() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let rotate = "key rotate ci --output json";
    let rotated = json(&run_with(&mut server.process.as_client(&key), rotate));
    assert_with_secret(&rotated, &json(&server.run("key get ci --output json")));
    assert_eq!(rotated["role"], "contributor");
}

#[tokio::test]
async fn key_get_marks_expired_secrets() {
    let server = Server::start().await;
    server.create_key("ci").await;
    stdout(&server.run("key rotate ci --grace 1h"));
    let before = json(&server.run("key get ci --output json"));
    let first = before["secrets"][0]["id"].as_str().unwrap().to_owned();
    stdout(&server.run(&format!("key retire ci {first}")));
    let text = stdout(&server.run("key get ci"));
    let line = text.lines().find(|line| line.starts_with(&first));
    if let Some(line) = line {
        assert!(line.contains("expired"), "{text}");
    }
    let valid = text.lines().filter(|line| line.contains("  valid  ")).count();
    assert_eq!(valid, 1, "{text}");
}

#[tokio::test]
async fn key_list_prints_keys_by_client_id() {
    let server = Server::start().await;
    for name in ["b", "a", "c"] {
        server.create_key(name).await;
    }
    let all = json(&server.run("key list --output json"));
    let ids: Vec<_> =
        all.as_array().unwrap().iter().map(|key| key["client_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["a", "admin", "b", "c"]);
    let two = json(&server.run("key list --limit 2 --output json"));
    assert_eq!(two, Value::Array(all.as_array().unwrap()[..2].to_vec()));
    assert_eq!(json(&server.run("key list --limit 0 --output json")), json!([]));
}

#[tokio::test]
async fn key_list_prints_a_line_per_key() {
    let server = Server::start().await;
    server.create_key("ci").await;
    server.admin_call("Disable", json!({ "clientId": "ci" })).await;
    let text = stdout(&server.run("key list"));
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows[0],
        "CLIENT ID NAME ROLE STATE CREATED EXPIRES LAST USED".split(' ').collect::<Vec<_>>()
    );
    assert_eq!(rows[1][..4], ["admin", "admin", "admin", "enabled"]);
    assert_eq!(rows[2][..4], ["ci", "ci", "contributor", "disabled"]);
    assert_eq!((rows.len(), rows[2][5], rows[2][6]), (3, "never", "never"));
}

#[tokio::test]
async fn key_update_changes_only_the_named_fields() {
    let server = Server::start().await;
    stdout(&server.run("key create ci --expires-in 1d --redirect-uri https://a.example/cb"));
    let mut named = server.process.as_client(&server.admin);
    stdout(&named.args(["key", "update", "ci", "--name", "New Name"]).output().unwrap());
    let text = stdout(&server.run("key update ci --role verifier"));
    assert_eq!(value_of(&text, "name"), "New Name");
    assert_eq!(value_of(&text, "role"), "verifier");
    assert_ne!(value_of(&text, "expires"), "never");
    assert_eq!(value_of(&text, "redirect URIs"), "https://a.example/cb");
    let changed = json(&server.run(
        "key update ci --no-role --no-expiry --redirect-uri https://b.example/cb --output json",
    ));
    assert_eq!(changed["client_name"], "New Name");
    assert_eq!((&changed["role"], &changed["expires_at"]), (&Value::Null, &Value::Null));
    assert_eq!(changed["redirect_uris"], json!(["https://b.example/cb"]));
}

#[tokio::test]
async fn an_empty_key_update_lists_the_flags() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let stderr = fails(&server.run("key update ci"), 2);
    assert!(stderr.contains("--name") && stderr.contains("--role"), "{stderr}");
}

/// The old secret is revoked at once, unless a grace is given.
#[tokio::test]
async fn key_rotate_revokes_the_old_secret() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let kept =
        credentials(&json(&server.run("key rotate ci --grace 24h --label nightly --output json")));
    assert_ne!(kept.client_secret, old.client_secret);
    assert_eq!(server.http.token(&old, &[]).await.status, 200);
    assert_eq!(server.http.token(&kept, &[]).await.status, 200);
    let text = stdout(&server.run("key get ci"));
    assert!(text.contains("nightly"), "{text}");
    let text = stdout(&server.run("key rotate ci"));
    let new =
        Credentials { client_secret: value_of(&text, "client secret").to_owned(), ..old.clone() };
    assert_eq!(server.http.token(&old, &[]).await.status, 401);
    assert_eq!(server.http.token(&kept, &[]).await.status, 401);
    assert_eq!(server.http.token(&new, &[]).await.status, 200);
}

#[tokio::test]
async fn key_rotate_accepts_an_expiry() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let new = credentials(&json(&server.run("key rotate ci --expires-in 10m --output json")));
    let response = server.http.token(&new, &[]).await.json();
    let expires_in = response["expires_in"].as_i64().unwrap();
    assert!((500..=600).contains(&expires_in), "{response}");
}

#[tokio::test]
async fn key_retire_removes_one_secret() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let new = credentials(&json(&server.run("key rotate ci --grace 24h --output json")));
    let secrets = json(&server.run("key get ci --output json"))["secrets"].clone();
    let text =
        stdout(&server.run(&format!("key retire ci {}", secrets[0]["id"].as_str().unwrap())));
    assert_eq!(value_of(&text, "client id"), "ci");
    assert_eq!(server.http.token(&old, &[]).await.status, 401);
    assert_eq!(server.http.token(&new, &[]).await.status, 200);
    let stderr = fails(&server.run("key retire ci 0123456789abcdef"), 3);
    assert!(stderr.contains("0123456789abcdef"), "{stderr}");
}

#[tokio::test]
async fn a_key_can_be_disabled_and_enabled() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    assert_eq!(value_of(&stdout(&server.run("key disable ci")), "state"), "disabled");
    assert_eq!(server.http.token(&key, &[]).await.status, 401);
    let enabled = json(&server.run("key enable ci --output json"));
    assert_eq!(enabled["disabled_at"], Value::Null);
    assert_eq!(server.http.token(&key, &[]).await.status, 200);
}

#[tokio::test]
async fn a_deleted_key_is_gone() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let output = server.run("key delete ci");
    assert_eq!(stdout(&output), "", "nothing is printed");
    assert!(String::from_utf8(output.stderr).unwrap().contains("deleted ci;"));
    assert_eq!(server.http.token(&key, &[]).await.status, 401);
    fails(&server.run("key get ci"), 3);
    server.create_key("other").await;
    let deleted = json(&server.run("key delete other --output json"));
    assert_eq!(deleted, json!({ "client_id": "other", "state": "deleted" }));
}

/// The client id is derived from the name, in which nothing else needs a dash.
#[tokio::test]
async fn a_derived_client_id_ends_without_a_dash() {
    let server = Server::start().await;
    let mut create = server.process.as_client(&server.admin);
    let text = stdout(
        &create.args(["key", "create", " My CI Key!", "--role", "viewer"]).output().unwrap(),
    );
    assert_eq!(value_of(&text, "client id  "), "my-ci-key");
}

/// The error names the way out.
#[tokio::test]
async fn the_last_admin_needs_force() {
    let server = Server::start().await;
    let secret = server.admin_call("Get", json!({ "clientId": "admin" })).await;
    let secret = secret["apiKey"]["secrets"][0]["id"].as_str().unwrap().to_owned();
    for words in [
        "key update admin --role viewer",
        "key disable admin",
        &format!("key retire admin {secret}"),
        "key delete admin",
    ] {
        let output = server.run(words);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains("gatekey init"), "{words}: {stderr}");
    }
    stdout(&server.run("key delete admin --force"));
    fails(&server.run("key list"), 5);
}

#[tokio::test]
async fn the_env_output_needs_a_secret() {
    let server = Server::start().await;
    server.create_key("ci").await;
    for words in
        ["key get ci", "key list", "key delete ci", "key disable ci", "token", "whoami", "doctor"]
    {
        let stderr = fails(&server.run(&format!("{words} --output env")), 2);
        assert!(stderr.contains("[possible values: text, json, yaml]"), "{words}: {stderr}");
    }
}

#[tokio::test]
async fn token_prints_json() {
    let server = Server::start().await;
    let printed = json(&server.run("token --output json"));
    assert_eq!(decoded(printed["access_token"].as_str().unwrap()).1["sub"], "admin");
    assert_eq!(printed["token_type"], "Bearer");
}

/// The lines that Flyte's tools need, which drop a port from a key.
#[tokio::test]
async fn a_new_key_prints_lines_for_flyte() {
    let server = Server::start().await;
    let endpoint = server.process.endpoint();
    let port = endpoint.rsplit_once(':').unwrap().1;
    let data_dir = server.process.data_dir.to_str().unwrap();
    for words in [
        "key create a",
        "key rotate a",
        "key create b --output env",
        &format!("init --name c --data-dir {data_dir}"),
        &format!("init --name d --data-dir {data_dir} --output env"),
    ] {
        let text = stdout(&server.run(words));
        let warning = format!(
            "# Flyte's tools drop the port {port} from a key: use them with --endpoint {endpoint}"
        );
        let lines: Vec<_> = text.lines().filter(|line| line.contains("FLYTE_API_KEY")).collect();
        let [line] = lines[..] else { panic!("{words}: {text}") };
        assert!(text.contains(&format!("{warning}\n{line}")), "{words}: {text}");
        assert!(text.contains("export GATEKEY_API_KEY="), "{words}: {text}");
        let encoded = line.strip_prefix("export FLYTE_API_KEY=").unwrap();
        let decoded = gatekey_client::EncodedCredentials::decode(encoded).unwrap();
        assert_eq!(decoded.endpoint(), "127.0.0.1", "{words}");
        let bundle = server.process.data_dir.canonicalize().unwrap().join("ca-bundle.pem");
        assert!(text.contains(&format!("SSL_CERT_FILE={}", bundle.display())), "{words}: {text}");
    }
}

#[tokio::test]
async fn a_missing_key_has_its_own_exit_code() {
    let server = Server::start().await;
    for words in [
        "key get nope",
        "key get nope --output json",
        "key update nope --name x",
        "key rotate nope",
        "key retire nope 0123456789abcdef",
        "key disable nope",
        "key enable nope",
        "key delete nope",
    ] {
        let stderr = fails(&server.run(words), 3);
        assert!(stderr.contains("nope"), "{words}: {stderr}");
    }
}

#[tokio::test]
async fn an_existing_key_has_its_own_exit_code() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let stderr = fails(&server.run("key create ci"), 4);
    assert!(stderr.contains("ci"), "{stderr}");
}

#[tokio::test]
async fn an_invalid_value_names_field_and_rule() {
    let server = Server::start().await;
    server.create_key("ci").await;
    for (words, field) in [
        ("key create ***", "name"),
        ("key create ci2 --redirect-uri http://evil.example/cb", "redirect_uris"),
        ("key create ci2 --redirect-uri https://a.example/#fragment", "redirect_uris"),
        ("key create ci2 --expires-in 0", "expires_at"),
        ("key create ci2 --expires-in 5parsecs", "--expires-in"),
        ("key create ci2 --role king", "--role"),
        ("key create ci2 --role admin --no-role", "--no-role"),
        ("key rotate ci --grace 91d", "grace"),
        ("key get a:b", "client_id"),
        ("key update ci --redirect-uri nonsense", "redirect_uris"),
    ] {
        let stderr = fails(&server.run(words), 2);
        assert!(stderr.contains(field), "{words}: {stderr}");
    }
    let listed = json(&server.run("key list --output json"));
    assert_eq!(listed.as_array().unwrap().len(), 2, "nothing was created");
}

#[tokio::test]
async fn permission_denied_has_its_own_exit_code() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let as_key = |words: &str| run_with(&mut server.process.as_client(&key), words);
    for words in ["key list", "key create x", "key get admin", "key delete ci", "key disable ci"] {
        let stderr = fails(&as_key(words), 5);
        assert!(stderr.contains("admin"), "{words}: {stderr}");
    }
}

#[tokio::test]
async fn a_key_may_get_and_rotate_itself() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let as_key = |words: &str| run_with(&mut server.process.as_client(&key), words);
    assert_eq!(value_of(&stdout(&as_key("key get ci")), "client id"), "ci");
    let new = credentials(&json(&as_key("key rotate ci --output json")));
    assert_eq!(server.http.token(&key, &[]).await.status, 401);
    assert_eq!(server.http.token(&new, &[]).await.status, 200);
}

#[tokio::test]
async fn a_closed_pipe_is_not_a_failure() {
    let server = Server::start().await;
    for number in 0..5 {
        server.create_key(&format!("key-{number}")).await;
    }
    let script = format!("set -o pipefail; {} key list --output json | head -1", binary());
    let mut bash = Command::new("bash");
    bash.env_clear().env("PATH", "/usr/bin:/bin").env("GATEKEY_CA_FILE", server.process.ca_file());
    bash.env("GATEKEY_API_KEY", server.admin.encoded(server.process.endpoint()))
        .args(["-c", &script]);
    let output = bash.output().unwrap();
    assert_eq!(stdout(&output), "[\n");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_command_has_help() {
    let helps = helps();
    assert!(helps.len() >= 39, "{}", helps.len());
    for (command, help) in helps {
        assert!(help.contains("Usage: gatekey"), "{command}: {help}");
        assert!(help.contains("\nExamples:\n  gatekey"), "{command}: {help}");
    }
}

#[test]
fn help_lists_every_exit_code() {
    let help = stdout(&gatekey().arg("--help").output().unwrap());
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1).take(10);
    let codes: Vec<_> = codes.filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(codes, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    for variable in ["GATEKEY_API_KEY", "FLYTE_API_KEY", "UNION_API_KEY", "GATEKEY_CA_FILE"] {
        assert!(help.contains(variable), "{variable}");
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&crate::support::run(&["completions", shell]));
        for command in ["quickstart", "ledger", "restore"] {
            assert!(script.contains(command), "{shell} lacks {command}");
        }
        // clap's scripts for elvish and PowerShell complete no values.
        if !["elvish", "powershell"].contains(&shell) {
            for value in ["verifier", "yaml"] {
                assert!(script.contains(value), "{shell} does not complete {value}");
            }
        }
    }
}
