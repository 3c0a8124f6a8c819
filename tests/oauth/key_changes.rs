//! Changes to a key that revoke tokens at once: disable, delete, rotate and retire.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::GRANT;
use crate::support::{Server, connection, decoded};

/// Enabling it again restores none of them.
#[tokio::test]
async fn disabling_a_key_revokes_its_tokens() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    assert!(server.accepts(&token).await);
    server.admin_call("Disable", json!({ "clientId": "ci" })).await;
    assert!(!server.accepts(&token).await);
    assert_eq!(server.request_token(&key, GRANT).await.status, 401);
    server.admin_call("Enable", json!({ "clientId": "ci" })).await;
    assert!(!server.accepts(&token).await, "enabling restores no token");
    assert!(server.accepts(&server.token(&key).await).await, "the secret is valid again");
}

#[tokio::test]
async fn deleting_a_key_revokes_its_tokens() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.admin_call("Delete", json!({ "clientId": "ci" })).await;
    assert!(!server.accepts(&token).await);
    assert_eq!(server.request_token(&key, GRANT).await.status, 401);
}

#[tokio::test]
async fn a_recreated_key_restores_no_tokens() {
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
async fn rotation_without_grace_revokes_secret_and_tokens() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let token = server.token(&old).await;
    let new = server.rotate(&old, json!({})).await;
    assert!(!server.accepts(&token).await);
    assert_eq!(server.request_token(&old, GRANT).await.status, 401);
    assert!(server.accepts(&server.token(&new).await).await);
}

#[tokio::test]
async fn rotation_with_grace_keeps_secret_and_tokens() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let token = server.token(&old).await;
    let new = server.rotate(&old, json!({ "grace": "86400s" })).await;
    assert!(server.accepts(&token).await);
    assert!(server.accepts(&server.token(&old).await).await);
    assert!(server.accepts(&server.token(&new).await).await);
}

#[tokio::test]
async fn retiring_a_secret_revokes_only_its_tokens() {
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
async fn a_role_change_applies_to_issued_tokens() {
    let server = Server::start().await;
    let key = server.create_key_with("second", json!({ "role": "ROLE_ADMIN" })).await;
    let token = server.token(&key).await;
    let list = "/gatekey.v1.ApiKeyService/List";
    assert_eq!(server.http.connect_json(list, &token, &json!({})).await.status, 200);
    let update = json!({ "apiKey": { "clientId": "second", "role": "ROLE_CONTRIBUTOR" }, "updateMask": "role" });
    server.admin_call("Update", update).await;
    assert_eq!(server.http.connect_json(list, &token, &json!({})).await.status, 403);
    assert!(server.accepts(&token).await, "the token itself is still valid");
}

#[tokio::test]
async fn narrowing_the_scope_revokes_tokens() {
    let server = Server::start().await;
    for (number, (before, after, kept)) in [
        ("ROLE_ADMIN", "ROLE_CONTRIBUTOR", true),
        ("ROLE_ADMIN", "ROLE_VIEWER", false),
        ("ROLE_CONTRIBUTOR", "ROLE_ADMIN", true),
        ("ROLE_CONTRIBUTOR", "ROLE_VIEWER", false),
        ("ROLE_CONTRIBUTOR", "ROLE_VERIFIER", false),
        ("ROLE_VIEWER", "ROLE_CONTRIBUTOR", true),
        ("ROLE_VIEWER", "ROLE_VERIFIER", false),
        ("ROLE_VIEWER", "ROLE_UNSPECIFIED", false),
        ("ROLE_VERIFIER", "ROLE_UNSPECIFIED", true),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("key-{number}");
        let key = server.create_key_with(&name, json!({ "role": before })).await;
        let token = server.token(&key).await;
        let key = json!({ "clientId": name, "role": after });
        server.admin_call("Update", json!({ "apiKey": key, "updateMask": "role" })).await;
        assert_eq!(server.accepts(&token).await, kept, "{before} {after}");
    }
}

#[tokio::test]
async fn removing_the_role_revokes_tokens_with_scopes() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server
        .admin_call("Update", json!({ "apiKey": { "clientId": "ci" }, "updateMask": "role" }))
        .await;
    assert!(!server.accepts(&token).await);
    let token = server.token(&key).await;
    assert!(server.accepts(&token).await);
    assert_eq!(decoded(&token).1["scp"], json!([]));
}

#[tokio::test]
async fn a_key_disabled_during_its_request_is_refused() {
    let server = Server::start().await;
    for (path, content_type, body) in [
        ("/gatekey.v1.ApiKeyService/List", "application/json", "{}".to_owned()),
        (
            "/oauth2/introspect",
            "application/x-www-form-urlencoded",
            format!("token={}", server.admin_token),
        ),
    ] {
        let name = format!("slow{}", body.len());
        let key = server.create_key_with(&name, json!({ "role": "ROLE_ADMIN" })).await;
        let authorization = format!("authorization: Bearer {}", server.token(&key).await);
        let content_type = format!("content-type: {content_type}");
        let headers = [&*authorization, &content_type, "connection: close"];
        // The caller has been authenticated.
        let mut stream = connection::begin(&server.process, path, &headers, body.len()).await;
        server.admin_call("Disable", json!({ "clientId": name })).await;
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 401 "), "{path}: {response}");
    }
}

#[tokio::test]
async fn revocations_survive_kill_9() {
    let mut server = Server::with_public_url().await;
    let (disabled, deleted, rotated) = (
        server.create_key("disabled").await,
        server.create_key("deleted").await,
        server.create_key("rotated").await,
    );
    let mut revoked = Vec::new();
    for key in [&disabled, &deleted, &rotated] {
        revoked.push(server.token(key).await);
    }
    server.admin_call("Disable", json!({ "clientId": "disabled" })).await;
    server.admin_call("Delete", json!({ "clientId": "deleted" })).await;
    server.rotate(&rotated, json!({})).await;
    server.kill_and_restart();
    for token in revoked {
        assert!(!server.accepts(&token).await);
    }
    for key in [&disabled, &deleted, &rotated] {
        assert_eq!(server.request_token(key, GRANT).await.status, 401);
    }
}

#[tokio::test]
async fn a_token_survives_a_restart() {
    let mut server = Server::with_public_url().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.restart().await;
    assert!(server.accepts(&token).await);
    server.kill_and_restart();
    assert!(server.accepts(&token).await);
    assert!(server.accepts(&server.token(&key).await).await);
}
