//! What kills tokens at once: disable, delete, rotate and retire.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::GRANT;
use crate::support::{Server, connection, decoded};

#[tokio::test]
async fn disabling_a_key_kills_its_tokens_at_once_and_enabling_revives_none() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    assert!(server.accepts(&token).await);
    server.admin_call("Disable", json!({ "clientId": "ci" })).await;
    assert!(!server.accepts(&token).await);
    assert_eq!(server.request_token(&key, GRANT).await.status, 401);
    server.admin_call("Enable", json!({ "clientId": "ci" })).await;
    assert!(!server.accepts(&token).await, "enabling revives no token");
    assert!(server.accepts(&server.token(&key).await).await, "the secret is good again");
}

#[tokio::test]
async fn deleting_a_key_kills_its_tokens_at_once() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.admin_call("Delete", json!({ "clientId": "ci" })).await;
    assert!(!server.accepts(&token).await);
    assert_eq!(server.request_token(&key, GRANT).await.status, 401);
}

#[tokio::test]
async fn a_key_made_again_does_not_revive_the_tokens_of_the_first() {
    let server = Server::start().await;
    let first = server.create_key("ci").await;
    let token = server.token(&first).await;
    server.admin_call("Delete", json!({ "clientId": "ci" })).await;
    let second = server.create_key("ci").await;
    assert_ne!(first.client_secret, second.client_secret);
    assert!(!server.accepts(&token).await);
    assert_eq!(server.request_token(&first, GRANT).await.status, 401);
    assert!(server.accepts(&server.token(&second).await).await);
}

#[tokio::test]
async fn rotating_without_grace_kills_the_old_secret_and_every_token() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let token = server.token(&old).await;
    let new = server.rotate(&old, json!({})).await;
    assert!(!server.accepts(&token).await);
    assert_eq!(server.request_token(&old, GRANT).await.status, 401);
    assert!(server.accepts(&server.token(&new).await).await);
}

#[tokio::test]
async fn rotating_with_a_grace_keeps_secret_and_tokens() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let token = server.token(&old).await;
    let new = server.rotate(&old, json!({ "grace": "86400s" })).await;
    assert!(server.accepts(&token).await);
    assert!(server.accepts(&server.token(&old).await).await);
    assert!(server.accepts(&server.token(&new).await).await);
}

#[tokio::test]
async fn retiring_a_secret_kills_the_tokens_that_it_fetched_alone() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let new = server.rotate(&old, json!({ "grace": "86400s" })).await;
    let (of_old, of_new) = (server.token(&old).await, server.token(&new).await);
    let key = server.admin_call("Get", json!({ "clientId": "ci" })).await["apiKey"].clone();
    let retire = json!({ "clientId": "ci", "secretId": key["secrets"][0]["id"] });
    server.admin_call("RetireSecret", retire).await;
    assert!(!server.accepts(&of_old).await);
    assert!(server.accepts(&of_new).await);
    assert_eq!(server.request_token(&old, GRANT).await.status, 401);
}

#[tokio::test]
async fn another_role_is_the_right_of_tokens_that_are_out_as_well() {
    let server = Server::start().await;
    let key = server.create_key_with("second", json!({ "role": "ROLE_ADMIN" })).await;
    let token = server.token(&key).await;
    let list = "/gatekey.v1.ApiKeyService/List";
    assert_eq!(server.http.connect_json(list, &token, &json!({})).await.status, 200);
    let update = json!({ "apiKey": { "clientId": "second", "role": "ROLE_VIEWER" }, "updateMask": "role" });
    server.admin_call("Update", update).await;
    assert_eq!(server.http.connect_json(list, &token, &json!({})).await.status, 403);
    assert!(server.accepts(&token).await, "the token itself is still good");
}

#[tokio::test]
async fn taking_the_role_away_kills_the_tokens_that_say_all() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.admin_call("Update", json!({ "apiKey": { "clientId": "ci" }, "updateMask": "role" })).await;
    assert!(!server.accepts(&token).await);
    let token = server.token(&key).await;
    assert!(server.accepts(&token).await);
    assert_eq!(decoded(&token).1["scp"], json!([]));
}

#[tokio::test]
async fn a_key_that_goes_while_its_request_arrives_is_refused() {
    let server = Server::start().await;
    for (path, content_type, body) in [
        ("/gatekey.v1.ApiKeyService/List", "application/json", "{}".to_owned()),
        ("/oauth2/introspect", "application/x-www-form-urlencoded", format!("token={}", server.admin_token)),
    ] {
        let name = format!("slow{}", body.len());
        let key = server.create_key_with(&name, json!({ "role": "ROLE_ADMIN" })).await;
        let authorization = format!("authorization: Bearer {}", server.token(&key).await);
        let content_type = format!("content-type: {content_type}");
        let headers = [&*authorization, &content_type, "connection: close"];
        // Whoever calls was found good.
        let mut stream = connection::begin(&server.process, path, &headers, body.len()).await;
        server.admin_call("Disable", json!({ "clientId": name })).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 401 "), "{path}: {response}");
    }
}

#[tokio::test]
async fn what_was_killed_stays_dead_after_kill_9() {
    let mut server = Server::with_public_url().await;
    let (disabled, deleted, rotated) = (
        server.create_key("disabled").await,
        server.create_key("deleted").await,
        server.create_key("rotated").await,
    );
    let mut dead = Vec::new();
    for key in [&disabled, &deleted, &rotated] {
        dead.push(server.token(key).await);
    }
    server.admin_call("Disable", json!({ "clientId": "disabled" })).await;
    server.admin_call("Delete", json!({ "clientId": "deleted" })).await;
    server.rotate(&rotated, json!({})).await;
    server.kill_and_restart();
    for token in dead {
        assert!(!server.accepts(&token).await);
    }
    for key in [&disabled, &deleted, &rotated] {
        assert_eq!(server.request_token(key, GRANT).await.status, 401);
    }
}

#[tokio::test]
async fn a_token_issued_before_a_restart_works_after_it() {
    let mut server = Server::with_public_url().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.restart().await;
    assert!(server.accepts(&token).await);
    server.kill_and_restart();
    assert!(server.accepts(&token).await);
    assert!(server.accepts(&server.token(&key).await).await);
}
