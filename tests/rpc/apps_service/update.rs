//! `AppsService.Update`.

use serde_json::json;

use crate::{
    rpc::{json::check, refused},
    support::Server,
};

#[tokio::test]
async fn update_overwrites_only_with_fields_that_are_set() {
    let server = Server::start().await;
    let made = json!({
        "clientId": "ci",
        "clientName": "CI",
        "redirectUris": ["https://ci.example.com/callback"],
        "grantTypes": ["CLIENT_CREDENTIALS"],
        "contacts": ["ops@example.com"],
        "clientUri": "https://example.com/",
        "applicationType": "NATIVE",
        "tokenEndpointAuthMethod": "CLIENT_SECRET_POST",
    });
    server.apps("Create", made.clone()).await.unwrap();
    server.apps("Update", json!({ "clientId": "ci" })).await.unwrap();
    let update =
        json!({ "clientId": "ci", "clientName": "Renamed", "logoUri": "https://example.com/logo" });
    server.apps("Update", update).await.unwrap();
    let got = server.apps("Get", json!({ "clientId": "ci" })).await.unwrap();
    let mut expected = made;
    expected["clientName"] = json!("Renamed");
    expected["logoUri"] = json!("https://example.com/logo");
    check(&expected, &got["app"]).unwrap();
    let update = json!({
        "clientId": "ci",
        "redirectUris": ["https://new.example.com/"],
        "grantTypes": ["AUTHORIZATION_CODE"],
        "responseTypes": ["TOKEN"],
        "contacts": ["dev@example.com", "ops@example.com"],
        "clientUri": "https://new.example.com/",
        "policyUri": "https://new.example.com/policy",
        "tosUri": "https://new.example.com/terms",
        "jwksUri": "https://new.example.com/keys",
        "tokenEndpointAuthMethod": "CLIENT_SECRET_BASIC",
    });
    let updated = server.apps("Update", update.clone()).await.unwrap();
    check(&update, &updated["app"]).unwrap();
    assert_eq!(updated["app"]["clientName"], "Renamed");
}

#[tokio::test]
async fn update_keeps_secret_tokens_and_role() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let before = server.shown("ci").await;
    server.apps("Update", json!({ "clientId": "ci", "clientName": "renamed" })).await.unwrap();
    assert!(server.secret_works(&key).await);
    assert!(server.accepts(&token).await);
    let after = server.shown("ci").await;
    for field in ["keyId", "role", "epoch", "secrets", "createdAt"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert_ne!(before["updatedAt"], after["updatedAt"]);
}

#[tokio::test]
async fn a_refused_update_changes_nothing() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let before = server.apps("Get", json!({ "clientId": "ci" })).await;
    for (update, field) in [
        (json!({ "clientId": "ci", "clientName": "x".repeat(201) }), "client_name"),
        (
            json!({ "clientId": "ci", "clientName": "new", "redirectUris": ["nowhere"] }),
            "redirect_uris",
        ),
        (json!({ "clientId": "ci", "clientName": "new", "contacts": ["a", "a"] }), "contacts"),
        (json!({ "clientId": "ci", "clientName": "new", "grantTypes": [0, 0] }), "grant_types"),
        (
            json!({ "clientId": "ci", "clientName": "new", "applicationType": 7 }),
            "application_type",
        ),
    ] {
        refused(&server.apps("Update", update).await, "invalid_argument", &[field]);
    }
    assert_eq!(server.apps("Get", json!({ "clientId": "ci" })).await, before);
}

#[tokio::test]
async fn a_key_without_client_credentials_fetches_no_token() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let update = json!({ "clientId": "ci", "grantTypes": ["AUTHORIZATION_CODE"] });
    server.apps("Update", update).await.unwrap();
    let response = server.http.token(&key, &[]).await;
    assert_eq!(response.json()["error"], "unauthorized_client");
}
