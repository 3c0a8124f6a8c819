//! `gatekey.v1` as plain HTTP, below `/gatekey/v1/keys`.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{APPS, KEYS};
use crate::{
    rpc::{outcome, refused},
    support::Server,
};

#[tokio::test]
async fn every_feature_of_a_key_has_plain_http() {
    let server = Server::start().await;
    let expiry = "2040-01-01T00:00:00Z";
    let body =
        json!({ "clientId": "ci", "clientName": "CI", "role": "viewer", "expiresAt": expiry });
    let created = server.plain(Method::POST, KEYS, body).await;
    assert_eq!(created.status, StatusCode::OK, "{}", created.text());
    let created = created.json();
    assert!(created["clientSecret"].as_str().unwrap().starts_with("gk_"));
    assert!(created["encodedCredentials"].is_string());
    assert_eq!(created["apiKey"]["role"], "viewer");
    assert_eq!(created["apiKey"]["grantTypes"][0], "client_credentials");
    assert_eq!(created["apiKey"]["expiresAt"], expiry);

    let one = format!("{KEYS}/ci");
    let got = server.plain(Method::GET, &one, Value::Null).await.json();
    assert_eq!(got["apiKey"], created["apiKey"]);
    let listed =
        server.plain(Method::GET, &format!("{KEYS}?page_size=1"), Value::Null).await.json();
    assert_eq!(listed["apiKeys"][0]["clientId"], "admin");
    assert_eq!(listed["apiKeys"][0]["role"], "admin");
    let token = listed["nextPageToken"].as_str().unwrap();
    let path = format!("{KEYS}?pageSize=9&pageToken={token}");
    let rest = server.plain(Method::GET, &path, Value::Null).await.json();
    assert_eq!(rest["apiKeys"][0]["clientId"], "ci");

    let rotate = json!({ "grace": "3600s", "secretLabel": "spring" });
    let rotated = server.plain(Method::POST, &format!("{one}/rotate"), rotate).await.json();
    assert_ne!(rotated["clientSecret"], created["clientSecret"]);
    let secrets = rotated["apiKey"]["secrets"].as_array().unwrap();
    assert_eq!(secrets.len(), 2);
    let old =
        secrets.iter().find(|secret| secret["label"] != "spring").unwrap()["id"].as_str().unwrap();
    let path = format!("{one}/secrets/{old}");
    let retired = server.plain(Method::DELETE, &path, Value::Null).await;
    assert_eq!(retired.status, StatusCode::OK, "{}", retired.text());

    let disabled = server.plain(Method::POST, &format!("{one}/disable"), Value::Null).await.json();
    assert!(disabled["apiKey"]["disabledAt"].is_string(), "{disabled}");
    let enabled = server.plain(Method::POST, &format!("{one}/enable"), Value::Null).await.json();
    assert_eq!(enabled["apiKey"]["disabledAt"], Value::Null);
    let deleted = server.plain(Method::DELETE, &one, Value::Null).await;
    assert_eq!((deleted.status, deleted.json()), (StatusCode::OK, json!({})));
    let gone = server.plain(Method::GET, &one, Value::Null).await;
    refused(&outcome(&gone), "not_found", &["ci"]);
}

/// Without a mask, the members of the body are changed, and null removes (RFC 7396).
#[tokio::test]
async fn a_patch_changes_only_its_members() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let one = format!("{KEYS}/ci");
    let patch = async |query: &str, body: Value| {
        let path = format!("{one}{query}");
        let response = server.plain(Method::PATCH, &path, body).await;
        assert_eq!(response.status, StatusCode::OK, "{}", response.text());
        response.json()["apiKey"].clone()
    };
    let key =
        patch("", json!({ "role": "ROLE_VERIFIER", "expires_at": "2040-01-01T00:00:00Z" })).await;
    assert_eq!((&key["role"], &key["clientName"]), (&json!("verifier"), &json!("ci")));
    let key = patch("", json!({ "clientName": "CI", "clientId": "other" })).await;
    assert_eq!((&key["clientId"], &key["clientName"]), (&json!("ci"), &json!("CI")));
    assert_eq!(key["expiresAt"], "2040-01-01T00:00:00Z");
    let key = patch("", json!({ "expiresAt": null })).await;
    assert_eq!(key["expiresAt"], Value::Null);
    for mask in ["updateMask=clientName", "update_mask=client_name"] {
        let key = patch(&format!("?{mask}"), json!({ "clientName": mask, "role": "viewer" })).await;
        assert_eq!((&key["clientName"], &key["role"]), (&json!(mask), &json!("verifier")));
    }
    for (query, body, words) in [
        ("", json!({}), &["update_mask"][..]),
        ("", json!({ "epoch": "7" }), &["update_mask", "client_name"]),
        ("?apiKey.role=viewer", json!({}), &["apiKey.role", "body"]),
        ("?updateMask=role&updateMask=role", json!({}), &["updateMask", "twice"]),
    ] {
        let response = server.plain(Method::PATCH, &format!("{one}{query}"), body).await;
        refused(&outcome(&response), "invalid_argument", words);
    }
}

/// A role or an expiry that is dropped makes a key stronger than it was meant to be.
#[tokio::test]
async fn an_unknown_field_is_refused() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let before = server.shown("ci").await;
    for (method, path, body, words) in [
        (
            Method::POST,
            APPS,
            json!({ "clientId": "made", "role": "viewer" }),
            &["role", "/gatekey/v1/keys"][..],
        ),
        (
            Method::POST,
            APPS,
            json!({ "clientId": "made", "expiresAt": "2040-01-01T00:00:00Z" }),
            &["expiresAt", "/gatekey/v1/keys"],
        ),
        (
            Method::POST,
            APPS,
            json!({ "clientId": "made", "clientLabel": "x" }),
            &["clientLabel", "clientName"],
        ),
        (
            Method::POST,
            APPS,
            json!({ "clientId": "made", "client_id": "other" }),
            &["clientId", "twice"],
        ),
        (
            Method::POST,
            APPS,
            json!({ "clientId": "made", "grantTypes": ["SIDEWAYS"] }),
            &["SIDEWAYS", "CLIENT_CREDENTIALS"],
        ),
        (Method::PUT, "/oauth_app/api/v1/ci", json!({ "role": "admin" }), &["role"]),
        (Method::POST, KEYS, json!({ "clientId": "made", "rôle": "viewer" }), &["rôle", "role"]),
        (
            Method::POST,
            KEYS,
            json!({ "clientId": "made", "role": "reader" }),
            &["reader", "admin, contributor, viewer, verifier"],
        ),
        (
            Method::POST,
            KEYS,
            json!({ "clientId": "made", "role": "Viewer" }),
            &["Viewer", "viewer"],
        ),
        (Method::PATCH, "/gatekey/v1/keys/ci", json!({ "state": "disabled" }), &["state"]),
        (
            Method::POST,
            "/gatekey/v1/keys/ci/rotate",
            json!({ "gracePeriod": "1s" }),
            &["gracePeriod", "grace"],
        ),
        (Method::POST, "/gatekey/v1/keys/ci/disable", json!({ "until": "1s" }), &["until"]),
    ] {
        let response = server.plain(method.clone(), path, body.clone()).await;
        assert_eq!(
            response.status,
            StatusCode::BAD_REQUEST,
            "{method} {path} {body}: {}",
            response.text()
        );
        refused(&outcome(&response), "invalid_argument", words);
    }
    assert_eq!(server.shown("ci").await, before);
    let made = server.plain(Method::GET, "/gatekey/v1/keys/made", Value::Null).await;
    assert_eq!(made.status, StatusCode::NOT_FOUND);
    // Connect ignores unknown fields, as protobuf does.
    server.admin_call("Create", json!({ "clientId": "made", "later": 1 })).await;
}

#[tokio::test]
async fn a_repeated_json_member_is_refused() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let json = [("content-type", "application/json")];
    for (method, path, body) in [
        (Method::POST, KEYS, r#"{"clientId":"made","role":"viewer","role":"admin"}"#),
        (Method::POST, KEYS, r#"{"clientId":"made","role":"viewer","r\u006fle":"admin"}"#),
        (Method::POST, APPS, r#"{"clientId":"made","clientId":"other"}"#),
        (Method::PATCH, "/gatekey/v1/keys/ci", r#"{"role":"viewer","role":"admin"}"#),
        (Method::POST, "/gatekey/v1/keys/ci/rotate", r#"{"grace":"1s","grace":"9s"}"#),
    ] {
        let response = server.plain_with(&json, method, path, body).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{body}: {}", response.text());
        refused(&outcome(&response), "invalid_argument", &["twice"]);
    }
}

#[tokio::test]
async fn plain_keys_need_the_same_access() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    for (method, path, own) in [
        (Method::POST, "/gatekey/v1/keys", false),
        (Method::GET, "/gatekey/v1/keys", false),
        (Method::GET, "/gatekey/v1/keys/admin", false),
        (Method::PATCH, "/gatekey/v1/keys/ci", false),
        (Method::DELETE, "/gatekey/v1/keys/ci", false),
        (Method::POST, "/gatekey/v1/keys/admin/rotate", false),
        (Method::POST, "/gatekey/v1/keys/ci/disable", false),
        (Method::POST, "/gatekey/v1/keys/ci/enable", false),
        (Method::DELETE, "/gatekey/v1/keys/ci/secrets/x", false),
        (Method::GET, "/gatekey/v1/keys/ci", true),
    ] {
        let response = server.plain_as("", method.clone(), path, &Value::Null).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        let response = server.plain_as(&token, method.clone(), path, &Value::Null).await;
        let expected = if own { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(response.status, expected, "{method} {path}: {}", response.text());
    }
    let large = json!({ "secretLabel": "x".repeat(17_000) });
    let rotate = "/gatekey/v1/keys/ci/rotate";
    let response = server.plain_as(&token, Method::POST, rotate, &large).await;
    refused(&outcome(&response), "resource_exhausted", &["16384"]);
}
