//! `AppsService.Delete`.

use serde_json::json;

use crate::{
    rpc::{credentials, refused},
    support::Server,
};

#[tokio::test]
async fn a_deleted_keys_tokens_are_revoked_at_once() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.apps("Delete", json!({ "clientId": "ci" })).await.unwrap();
    assert!(!server.accepts(&token).await);
    assert!(!server.secret_works(&key).await);
    let again = server.apps("Delete", json!({ "clientId": "ci" })).await;
    refused(&again, "not_found", &["ci", "does not exist"]);
}

#[tokio::test]
async fn a_recreated_key_is_a_different_key() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let (old_token, old_key) = (server.token(&old).await, server.shown("ci").await);
    server.apps("Delete", json!({ "clientId": "ci" })).await.unwrap();
    let new = server.create_key("ci").await;
    assert!(server.secret_works(&new).await);
    assert!(!server.secret_works(&old).await);
    assert!(!server.accepts(&old_token).await);
    let new_key = server.shown("ci").await;
    assert_ne!(old_key["keyId"], new_key["keyId"]);
    assert_eq!(new_key["secrets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_admin_that_deletes_itself_loses_access() {
    let server = Server::start().await;
    let created =
        server.keys("Create", json!({ "clientId": "other", "role": "ROLE_ADMIN" })).await.unwrap();
    let other = server.token(&credentials(&created, &created["apiKey"])).await;
    server.apps_as(&other, "Delete", json!({ "clientId": "other" })).await.unwrap();
    refused(&server.apps_as(&other, "List", json!({})).await, "unauthenticated", &[]);
}
