//! `AppsService.Update`.

use serde_json::{Value, json};

use crate::{
    rpc::{json::check, refused},
    support::Server,
};

/// The lists and the method that an update of a public client always contains.
const ALWAYS_SENT: [&str; 4] =
    ["redirectUris", "responseTypes", "grantTypes", "tokenEndpointAuthMethod"];

fn full() -> Value {
    json!({
        "clientId": "ci",
        "clientName": "CI",
        "redirectUris": ["https://ci.example.com/callback"],
        "responseTypes": ["CODE", "ID_TOKEN"],
        "grantTypes": ["CLIENT_CREDENTIALS", "REFRESH_TOKEN"],
        "contacts": ["ops@example.com"],
        "logoUri": "https://example.com/logo",
        "clientUri": "https://example.com/",
        "policyUri": "https://example.com/policy",
        "tosUri": "https://example.com/terms",
        "jwksUri": "https://example.com/keys",
        "applicationType": "NATIVE",
        "tokenEndpointAuthMethod": "CLIENT_SECRET_POST",
    })
}

#[tokio::test]
async fn update_keeps_what_an_empty_field_names() {
    let server = Server::start().await;
    server.apps("Create", full()).await.unwrap();
    let mut update = full();
    for field in
        ["clientName", "contacts", "logoUri", "clientUri", "policyUri", "tosUri", "jwksUri"]
    {
        update.as_object_mut().unwrap().remove(field);
    }
    update.as_object_mut().unwrap().remove("applicationType");
    let updated = server.apps("Update", update).await.unwrap();
    check(&full(), &updated["app"]).unwrap();
}

#[tokio::test]
async fn update_replaces_lists_and_method() {
    let server = Server::start().await;
    server.apps("Create", full()).await.unwrap();
    let update = json!({
        "clientId": "ci",
        "redirectUris": ["https://new.example.com/"],
        "grantTypes": ["AUTHORIZATION_CODE"],
        "responseTypes": ["TOKEN"],
        "contacts": ["dev@example.com", "ops@example.com"],
        "clientUri": "https://new.example.com/",
        "tokenEndpointAuthMethod": "CLIENT_SECRET_BASIC",
    });
    let updated = server.apps("Update", update.clone()).await.unwrap();
    check(&update, &updated["app"]).unwrap();
    assert_eq!(updated["app"]["clientName"], "CI");
}

/// A list that is left out, or emptied, in Terraform would otherwise never converge.
#[tokio::test]
async fn update_empties_each_list_and_method() {
    let server = Server::start().await;
    server.apps("Create", full()).await.unwrap();
    for cleared in ALWAYS_SENT {
        let mut update = full();
        update.as_object_mut().unwrap().remove(cleared);
        let mut expected = update.clone();
        expected[cleared] = Value::Null;
        for response in [
            server.apps("Update", update).await.unwrap(),
            server.apps("Get", json!({ "clientId": "ci" })).await.unwrap(),
        ] {
            check(&expected, &response["app"]).unwrap();
        }
    }
    let cleared = server.apps("Update", json!({ "clientId": "ci" })).await.unwrap();
    for field in ALWAYS_SENT {
        assert_eq!(cleared["app"][field], Value::Null, "{field}");
    }
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
