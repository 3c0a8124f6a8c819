//! Replays of `AppsService.Create`, by clients that lost the response.

use serde_json::{Value, json};

use crate::{
    rpc::{Outcome, credentials, outcome, refused},
    support::{Credentials, Server},
};

impl Server {
    async fn create_named(&self, request_id: &str, request: Value) -> Outcome {
        self.apps_with(&[("x-request-id", request_id)], "Create", request).await
    }
}

fn ci() -> Value {
    json!({ "clientId": "ci", "clientName": "CI" })
}

fn key(created: &Value) -> Credentials {
    credentials(&created["app"], &created["app"])
}

/// Both secrets are valid.
#[tokio::test]
async fn a_repeated_create_returns_an_additional_secret() {
    let server = Server::start().await;
    let first = key(&server.create_named("call-1", ci()).await.unwrap());
    let key_id = server.shown("ci").await["keyId"].clone();
    let token = server.token(&first).await;
    let second = key(&server.create_named("call-1", ci()).await.unwrap());
    assert_ne!(first.client_secret, second.client_secret);
    assert!(server.secret_works(&first).await);
    assert!(server.secret_works(&second).await);
    assert!(server.accepts(&token).await);
    assert_eq!(server.shown("ci").await["keyId"], key_id);
}

#[tokio::test]
async fn a_create_is_replayed_at_most_three_times() {
    let server = Server::start().await;
    for _ in 0..4 {
        server.create_named("call-1", ci()).await.unwrap();
    }
    refused(&server.create_named("call-1", ci()).await, "already_exists", &["ci"]);
    assert_eq!(server.shown("ci").await["secrets"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn concurrent_replays_are_counted_individually() {
    let server = Server::start().await;
    let outcomes =
        futures::future::join_all((0..8).map(|_| server.create_named("call-1", ci()))).await;
    let (made, refusals): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 4);
    for refusal in &refusals {
        refused(refusal, "already_exists", &["ci"]);
    }
    for created in made {
        assert!(server.secret_works(&key(&created.unwrap())).await);
    }
}

#[tokio::test]
async fn a_different_call_is_not_a_replay() {
    let server = Server::start().await;
    let made = server.create_named("call-1", ci()).await.unwrap();
    refused(&server.create_named("call-2", ci()).await, "already_exists", &["ci"]);
    refused(&server.apps("Create", ci()).await, "already_exists", &["ci"]);
    for (field, value) in [
        ("clientName", json!("Another")),
        ("redirectUris", json!(["https://ci.example.com/"])),
        ("grantTypes", json!(["CLIENT_CREDENTIALS"])),
        ("skipDefaultPolicyAssignments", json!(true)),
    ] {
        let mut changed = ci();
        changed[field] = value;
        refused(&server.create_named("call-1", changed).await, "already_exists", &["ci"]);
    }
    let other =
        server.create_key_from(json!({ "clientId": "other-admin", "role": "ROLE_ADMIN" })).await;
    let bearer = format!("Bearer {}", server.token(&other).await);
    let headers = [
        ("content-type", "application/json"),
        ("authorization", &*bearer),
        ("x-request-id", "call-1"),
    ];
    let path = "/cloudidl.identity.AppsService/Create";
    let response = server.http.send(http::Method::POST, path, &headers, ci().to_string()).await;
    refused(&outcome(&response), "already_exists", &["ci"]);
    assert_eq!(server.shown("ci").await["secrets"].as_array().unwrap().len(), 1);
    assert!(server.secret_works(&key(&made)).await);
}

#[tokio::test]
async fn a_replay_returns_no_other_calls_secret() {
    let server = Server::start().await;
    let first = key(&server.create_named("call-1", ci()).await.unwrap());
    server.apps("Delete", json!({ "clientId": "ci" })).await.unwrap();
    let second = key(&server.create_named("call-2", ci()).await.unwrap());
    refused(&server.create_named("call-1", ci()).await, "already_exists", &["ci"]);
    assert!(!server.secret_works(&first).await);
    assert!(server.secret_works(&second).await);
    assert_eq!(server.shown("ci").await["secrets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn after_a_deletion_a_replay_creates_another_key() {
    let server = Server::start().await;
    let first = key(&server.create_named("call-1", ci()).await.unwrap());
    let key_id = server.shown("ci").await["keyId"].clone();
    server.apps("Delete", json!({ "clientId": "ci" })).await.unwrap();
    let second = key(&server.create_named("call-1", ci()).await.unwrap());
    assert!(!server.secret_works(&first).await);
    assert!(server.secret_works(&second).await);
    assert_ne!(server.shown("ci").await["keyId"], key_id);
}

#[tokio::test]
async fn a_replay_does_not_enable_a_disabled_key() {
    let server = Server::start().await;
    server.create_named("call-1", ci()).await.unwrap();
    server.keys("Disable", json!({ "clientId": "ci" })).await.unwrap();
    refused(&server.create_named("call-1", ci()).await, "already_exists", &["ci"]);
    assert!(server.shown("ci").await["disabledAt"].is_string());
}

#[tokio::test]
async fn the_api_key_service_recognizes_a_replay() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_token);
    let headers = [
        ("content-type", "application/json"),
        ("authorization", &*bearer),
        ("x-request-id", "call-1"),
    ];
    let mut secrets = Vec::new();
    for _ in 0..2 {
        let path = "/gatekey.v1.ApiKeyService/Create";
        let body = json!({ "clientId": "ci" }).to_string();
        let response = server.http.send(http::Method::POST, path, &headers, body).await;
        let created = outcome(&response).unwrap();
        secrets.push(credentials(&created, &created["apiKey"]));
    }
    assert_ne!(secrets[0].client_secret, secrets[1].client_secret);
    assert!(server.secret_works(&secrets[0]).await && server.secret_works(&secrets[1]).await);
}

/// A rotation shows every secret that is valid then.
#[tokio::test]
async fn a_changed_key_is_not_replayed() {
    let server = Server::start().await;
    let client_id = json!({ "clientId": "ci" });
    let update = |change: Value| json!({ "apiKey": { "clientId": "ci", "role": change }, "updateMask": "role" });
    for (number, (method, request)) in [
        ("RotateSecret", client_id.clone()),
        ("RotateSecret", json!({ "clientId": "ci", "grace": "60s" })),
        ("Disable", client_id.clone()),
        ("Update", update(json!("ROLE_ADMIN"))),
        ("Update", update(json!("ROLE_CONTRIBUTOR"))),
    ]
    .into_iter()
    .enumerate()
    {
        let call = format!("call-{number}");
        server.create_named(&call, ci()).await.unwrap();
        server.create_named(&call, ci()).await.unwrap();
        server.keys(method, request).await.unwrap();
        refused(&server.create_named(&call, ci()).await, "already_exists", &["ci"]);
        server.keys("Delete", client_id.clone()).await.unwrap();
    }
}
