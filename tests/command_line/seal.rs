//! Changes to the database of a stopped server that are made without the root key.

use std::{path::Path, process::Output};

use serde_json::json;

use super::{fails, stdout, tamper};
use crate::support::{Credentials, PUBLIC_URL, Server, gatekey, run};

fn run_on(data_dir: &Path, words: &[&str]) -> Output {
    run(&[words, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

/// Starts a server that must refuse to serve, and returns what it says.
fn refuses_to_serve(data_dir: &Path) -> String {
    let mut serve = gatekey();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--public-url", PUBLIC_URL, "--data-dir"]);
    let output = serve.arg(data_dir).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A stopped server with a viewer and a key without a role.
async fn stopped() -> (Server, Credentials, Credentials) {
    let mut server = Server::with_public_url().await;
    let viewer = server.create_key_with("viewer", json!({ "role": "ROLE_VIEWER" })).await;
    let nobody = server.create_key_with("nobody", json!({})).await;
    let token = server.token(&viewer).await;
    let revoked = server
        .http
        .form("/oauth2/revoke", &[("authorization", &*viewer.basic())], &format!("token={token}"))
        .await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert!(server.process.stop().await.success());
    (server, viewer, nobody)
}

fn assert_named(data_dir: &Path, expected: &str) {
    let verified = fails(&run_on(data_dir, &["ledger", "verify"]), 8);
    assert!(verified.contains(expected), "{verified}");
    let checked = run_on(data_dir, &["doctor", "store"]);
    assert_eq!(checked.status.code(), Some(8));
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&checked).contains(&words(expected)), "{checked}");
}

#[tokio::test]
async fn a_role_raised_in_the_database_is_refused() {
    let (mut server, viewer, nobody) = stopped().await;
    let data_dir = server.process.data_dir.clone();
    tamper(&data_dir, "UPDATE api_key SET role = 'admin' WHERE client_id = 'nobody'");
    assert_named(&data_dir, "refused: nobody");
    server.restart_stopped();
    assert_eq!(server.http.token(&nobody, &[]).await.status, 401);
    server.token(&viewer).await;
    assert_named(&data_dir, "refused: nobody");
}

#[tokio::test]
async fn a_secret_moved_in_the_database_is_refused() {
    let (mut server, viewer, _) = stopped().await;
    let data_dir = server.process.data_dir.clone();
    tamper(
        &data_dir,
        "UPDATE secret SET mac = (SELECT mac FROM secret WHERE client_id = 'viewer')
         WHERE client_id = 'admin'",
    );
    assert_named(&data_dir, "refused: admin");
    server.restart_stopped();
    let forged = Credentials { client_id: "admin".to_owned(), ..viewer };
    assert_eq!(server.http.token(&forged, &[]).await.status, 401);
}

#[tokio::test]
async fn a_removed_row_prevents_the_start() {
    for (change, expected) in [
        ("DELETE FROM denial", "0 sealed revoked tokens instead of 1"),
        (
            "DELETE FROM secret WHERE client_id = 'nobody';
             DELETE FROM api_key WHERE client_id = 'nobody'",
            "missing: nobody",
        ),
    ] {
        let (server, ..) = stopped().await;
        let data_dir = server.process.data_dir.clone();
        tamper(&data_dir, change);
        let stderr = refuses_to_serve(&data_dir);
        assert!(stderr.contains(expected) && stderr.contains("restore a backup"), "{stderr}");
        assert_named(&data_dir, expected);
    }
}

#[tokio::test]
async fn rows_put_back_prevent_the_start() {
    let (mut server, ..) = stopped().await;
    let data_dir = server.process.data_dir.clone();
    tamper(
        &data_dir,
        "CREATE TABLE old_key AS SELECT * FROM api_key; CREATE TABLE old_secret AS SELECT * FROM secret;",
    );
    server.restart_stopped();
    server.admin_call("Disable", json!({ "clientId": "viewer" })).await;
    assert!(server.process.stop().await.success());
    let database = rusqlite::Connection::open(data_dir.join("gatekey.db")).unwrap();
    let put_back = "PRAGMA foreign_keys = OFF;
        DELETE FROM api_key; INSERT INTO api_key SELECT * FROM old_key;
        DELETE FROM secret; INSERT INTO secret SELECT * FROM old_secret";
    database.execute_batch(put_back).unwrap();
    let stderr = refuses_to_serve(&data_dir);
    assert!(stderr.contains("without later changes: viewer"), "{stderr}");
    assert_named(&data_dir, "without later changes: viewer");
}

/// Changes the database of a running server.
fn change_rows(data_dir: &Path, statements: &str) {
    let database = rusqlite::Connection::open(data_dir.join("gatekey.db")).unwrap();
    database.execute_batch(&format!("PRAGMA foreign_keys = OFF; {statements}")).unwrap();
}

#[tokio::test]
async fn a_role_put_back_while_serving_is_refused() {
    let server = Server::with_public_url().await;
    let data_dir = &server.process.data_dir;
    let boss = server.create_key_with("boss", json!({ "role": "ROLE_ADMIN" })).await;
    change_rows(data_dir, "CREATE TABLE old_key AS SELECT * FROM api_key WHERE client_id = 'boss'");
    let demoted = json!({ "clientId": "boss", "role": "ROLE_VIEWER" });
    server.admin_call("Update", json!({ "apiKey": demoted, "updateMask": "role" })).await;
    change_rows(data_dir, "REPLACE INTO api_key SELECT * FROM old_key");
    let named = json!({ "clientId": "boss", "clientName": "Boss" });
    let update = json!({ "apiKey": named, "updateMask": "clientName" });
    let response = server
        .http
        .connect_json("/gatekey.v1.ApiKeyService/Update", &server.admin_token, &update)
        .await;
    let error = response.json();
    assert_eq!(error["code"], "data_loss", "{error}");
    assert!(error["message"].as_str().unwrap().contains("API key boss was changed"), "{error}");
    let token = server.token(&boss).await;
    let list = "/gatekey.v1.ApiKeyService/List";
    let listed = server.http.connect_json(list, &token, &json!({})).await;
    assert_eq!(listed.json()["code"], "permission_denied", "{}", listed.text());
    server.admin_call("Delete", json!({ "clientId": "boss" })).await;
    assert_eq!(server.http.token(&boss, &[]).await.status, 401);
}

#[tokio::test]
async fn a_role_raised_while_serving_is_not_shown() {
    let server = Server::with_public_url().await;
    let data_dir = &server.process.data_dir;
    server.create_key_with("nobody", json!({})).await;
    change_rows(data_dir, "UPDATE api_key SET role = 'admin' WHERE client_id = 'nobody'");
    for (method, body) in [("Get", json!({ "clientId": "nobody" })), ("List", json!({}))] {
        let procedure = format!("/gatekey.v1.ApiKeyService/{method}");
        let response = server.http.connect_json(&procedure, &server.admin_token, &body).await;
        let error = response.json();
        assert_eq!(error["code"], "data_loss", "{method}: {error}");
        assert!(error["message"].as_str().unwrap().contains("API key nobody"), "{error}");
    }
}

/// The number of rows that are not sealed under a version of the root key.
fn sealed_otherwise(data_dir: &Path, version: u8) -> u32 {
    let database = rusqlite::Connection::open(data_dir.join("gatekey.db")).unwrap();
    let rows = "SELECT seal FROM api_key UNION ALL SELECT seal FROM denial UNION ALL SELECT seal FROM signing_key";
    let count = format!(
        "SELECT count(*) FROM ({rows}) WHERE seal IS NULL OR hex(substr(seal, 2, 4)) <> '{version:08X}'"
    );
    database.query_row(&count, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_root_key_rotation_seals_all_rows_again() {
    let (mut server, viewer, nobody) = stopped().await;
    let data_dir = server.process.data_dir.clone();
    assert_eq!(sealed_otherwise(&data_dir, 1), 0);
    server.restart_stopped();
    let key = server.create_key("later").await;
    stdout(&run_on(&data_dir, &["root-key", "rotate"]));
    for key in [&viewer, &nobody, &key, &server.admin] {
        server.token(key).await;
    }
    stdout(&run_on(&data_dir, &["root-key", "retire", "1"]));
    server.restart().await;
    assert_eq!(sealed_otherwise(&data_dir, 2), 0);
    for key in [&viewer, &nobody, &key] {
        server.token(key).await;
    }
    stdout(&run_on(&data_dir, &["ledger", "verify"]));
}
