//! `gatekey init`: creates the first admin key, or restores a lost one.

use std::{fs, path::Path, process::Output};

use serde_json::{Value, json};

use super::{
    assert_secret, fails, json,
    keys::{MEMBERS, names},
    stdout, value_of,
};
use crate::support::{Credentials, Server, ServerProcess, run};

fn init(data_dir: &Path, flags: &[&str]) -> Output {
    run(&[&["init", "--data-dir", data_dir.to_str().unwrap()], flags].concat())
}

fn credentials(json: &Value) -> Credentials {
    Credentials {
        client_id: json["client_id"].as_str().unwrap().to_owned(),
        client_secret: json["client_secret"].as_str().unwrap().to_owned(),
    }
}

async fn is_admin(server: &ServerProcess, key: &Credentials) -> bool {
    let token = server.token(key).await;
    let list = "/gatekey.v1.ApiKeyService/List";
    server.http().connect_json(list, &token, &json!({})).await.status == 200
}

#[tokio::test]
async fn an_admin_can_be_created_offline() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let made = json(&init(&data_dir, &["--output", "json"]));
    let server = ServerProcess::start_on(&data_dir, &[]);
    assert!(is_admin(&server, &credentials(&made)).await);
}

#[tokio::test]
async fn an_admin_created_online_works_at_once() {
    let server = ServerProcess::start();
    let made = json(&init(&server.data_dir, &["--name", "Second Admin", "--output", "json"]));
    assert_eq!(made["client_id"], "second-admin");
    assert!(is_admin(&server, &credentials(&made)).await);
}

#[tokio::test]
async fn init_prints_the_key_as_json() {
    let server = ServerProcess::start();
    let made = json(&init(&server.data_dir, &["--output", "json"]));
    let secret = ["ca_file", "client_secret", "encoded_credentials", "endpoint"];
    assert_eq!(names(&made), MEMBERS.into_iter().chain(secret).collect());
    assert_eq!(made["endpoint"], server.url);
    assert_eq!((&made["role"], &made["state"]), (&json!("admin"), &json!("enabled")));
    assert_eq!(made["allow_from"], json!([]));
    assert_eq!(made["client_id"], "admin");
    assert_secret(made["client_secret"].as_str().unwrap());
    assert_eq!(made["encoded_credentials"], credentials(&made).encoded(server.endpoint()));
    assert_eq!(made["ca_file"], server.ca_file().to_str().unwrap());
}

#[test]
fn the_secret_is_printed_with_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let output = init(directory.path(), &[]);
    let text = stdout(&output);
    assert_eq!(value_of(&text, "client id  "), "admin");
    assert_secret(value_of(&text, "client secret"));
    assert_eq!(value_of(&text, "endpoint"), "https://127.0.0.1:8443");
    assert_eq!(
        value_of(&text, "CA certificate"),
        directory.path().canonicalize().unwrap().join("ca.pem").to_str().unwrap()
    );
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.contains("shown only once"), "{warning}");
}

#[tokio::test]
async fn init_online_refuses_an_existing_name() {
    let server = ServerProcess::start();
    let admin = server.init();
    let stderr = fails(&init(&server.data_dir, &[]), 4);
    assert!(stderr.contains("admin already exists") && stderr.contains("--rotate"), "{stderr}");
    assert!(is_admin(&server, &admin).await, "the secret still works");
}

#[test]
fn init_offline_refuses_an_existing_name() {
    let directory = tempfile::tempdir().unwrap();
    stdout(&init(directory.path(), &[]));
    let stderr = fails(&init(directory.path(), &[]), 4);
    assert!(stderr.contains("admin already exists") && stderr.contains("--rotate"), "{stderr}");
}

#[tokio::test]
async fn init_refuses_an_invalid_name() {
    let server = ServerProcess::start();
    let stderr = fails(&init(&server.data_dir, &["--name", "***"]), 2);
    assert!(stderr.contains("client_name") && stderr.contains("letter or digit"), "{stderr}");
}

#[tokio::test]
async fn init_rotate_replaces_all_secrets() {
    let server = Server::start().await;
    let made = json(&init(&server.process.data_dir, &["--rotate", "--output", "json"]));
    let new = credentials(&made);
    assert_eq!(new.client_id, "admin");
    assert_ne!(new.client_secret, server.admin.client_secret);
    assert!(is_admin(&server.process, &new).await);
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 401);
    let bearer = format!("Bearer {}", server.admin_token);
    assert_eq!(server.http.get("/me", &[("authorization", &bearer)]).await.status, 401);
}

#[tokio::test]
async fn an_offline_init_rotate_applies_at_startup() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let old = credentials(&json(&init(&data_dir, &["--output", "json"])));
    let new = credentials(&json(&init(&data_dir, &["--rotate", "--output", "json"])));
    let server = ServerProcess::start_on(&data_dir, &[]);
    assert!(is_admin(&server, &new).await);
    assert_eq!(server.http().token(&old, &[]).await.status, 401);
}

/// Also restores its role, and lifts its limits.
#[tokio::test]
async fn init_rotate_restores_a_disabled_admin() {
    let server = Server::start().await;
    server.create_key_with("other", json!({ "role": "ROLE_ADMIN" })).await;
    let update = json!({ "apiKey": { "clientId": "other" }, "updateMask": "role" });
    server.admin_call("Update", update).await;
    server.admin_call("Disable", json!({ "clientId": "other" })).await;
    let key = json!({ "clientId": "other", "allowFrom": ["192.0.2.7"] });
    server.admin_call("Update", json!({ "apiKey": key, "updateMask": "allowFrom" })).await;
    let output =
        init(&server.process.data_dir, &["--name", "other", "--rotate", "--output", "json"]);
    let made = json(&output);
    assert_eq!((&made["role"], &made["state"]), (&json!("admin"), &json!("enabled")));
    assert!(is_admin(&server.process, &credentials(&made)).await);
}

#[tokio::test]
async fn init_rotate_creates_a_missing_key() {
    let server = ServerProcess::start();
    let made = json(&init(&server.data_dir, &["--rotate", "--output", "json"]));
    assert!(is_admin(&server, &credentials(&made)).await);
}

#[test]
fn init_accepts_the_public_url() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--public-url", "https://keys.example.com", "--output", "json"];
    assert_eq!(json(&init(directory.path(), &flags))["endpoint"], "https://keys.example.com");
}

#[tokio::test]
async fn init_remembers_the_last_public_url() {
    let mut server = Server::with_public_url().await;
    let running = json(&init(&server.process.data_dir, &["--name", "a", "--output", "json"]));
    assert!(server.process.stop().await.success());
    let stopped = json(&init(&server.process.data_dir, &["--name", "b", "--output", "json"]));
    for made in [running, stopped] {
        assert_eq!(made["endpoint"], "https://keys.example.com");
        assert_eq!(
            made["ca_file"],
            server.process.ca_file().canonicalize().unwrap().to_str().unwrap()
        );
    }
}

#[tokio::test]
async fn init_says_that_the_address_is_guessed() {
    let warning = |flags: &[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let output = init(&directory.path().join("data"), flags);
        stdout(&output);
        String::from_utf8(output.stderr).unwrap()
    };
    for flags in [&[][..], &["--listen", "127.0.0.1:0"], &["--plaintext"]] {
        let stderr = warning(flags);
        let named = if flags.contains(&"--listen") { ":0" } else { "127.0.0.1:8443" };
        assert!(stderr.contains("no server was started") && stderr.contains(named), "{stderr}");
    }
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(&config, "[server]\npublic_url = \"https://keys.example.com\"").unwrap();
    for flags in [
        &["--public-url", "https://keys.example.com"][..],
        &["--listen", "127.0.0.1:9443"],
        &["--config", config.path().to_str().unwrap()],
    ] {
        let stderr = warning(flags);
        assert!(!stderr.contains("no server was started"), "{stderr}");
    }
    let server = ServerProcess::start();
    let output = init(&server.data_dir, &[]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("no server was started"));
}

/// Paths that are too long for the address of a socket.
#[tokio::test]
async fn the_control_socket_works_below_long_paths() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("long".repeat(40));
    let server = ServerProcess::start_on(&data_dir, &[]);
    assert!(is_admin(&server, &server.init()).await);
}

#[tokio::test]
async fn concurrent_inits_create_one_admin() {
    let server = ServerProcess::start();
    let data_dir = server.data_dir.clone();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            let data_dir = data_dir.clone();
            std::thread::spawn(move || init(&data_dir, &["--output", "json"]))
        })
        .collect();
    let codes: Vec<_> = runs.into_iter().map(|run| run.join().unwrap().status.code()).collect();
    assert_eq!(codes.iter().filter(|code| **code == Some(0)).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == Some(4)).count(), 3, "{codes:?}");
}

#[tokio::test]
async fn a_reset_revokes_secrets_before_granting_admin() {
    let server = Server::start().await;
    let leaked = server.create_key_with("leaked", json!({ "role": "ROLE_VIEWER" })).await;
    server.admin_call("Disable", json!({ "clientId": "leaked" })).await;
    let data_dir = server.process.data_dir.to_str().unwrap().to_owned();
    let reset = crate::support::run(&[
        "init",
        "--data-dir",
        &data_dir,
        "--name",
        "leaked",
        "--rotate",
        "-o",
        "json",
    ]);
    assert!(reset.status.success(), "{}", String::from_utf8_lossy(&reset.stderr));
    // The order matters: the old secret is revoked before the key is an enabled admin.
    let entries = server.ledger().await.into_iter().filter(|entry| entry.target == "leaked");
    let actions: Vec<String> = entries.map(|entry| entry.action).collect();
    let reset = ["api_key.rotate_secret", "api_key.update", "api_key.enable"];
    assert!(actions.ends_with(&reset.map(str::to_owned)), "{actions:?}");
    assert_eq!(server.http.token(&leaked, &[]).await.status, 401);
}
