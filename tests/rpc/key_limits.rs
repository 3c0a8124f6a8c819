//! What limits a key beside its roles: networks, rate, projects and domains.

use gatekey_core::ledger::NewEntry;
use serde_json::{Value, json};

use super::refused;
use crate::support::Server;

const FIELDS: [&str; 4] = ["allowFrom", "rate", "projects", "domains"];

fn limits() -> Value {
    json!({
        "allowFrom": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"],
        "rate": "100/s",
        "projects": ["flytesnacks", "web"],
        "domains": ["development"],
    })
}

fn limited(client_id: &str) -> Value {
    let mut request = limits();
    request["clientId"] = client_id.into();
    request
}

#[tokio::test]
async fn limits_are_kept_until_they_are_lifted() {
    let server = Server::start().await;
    server.create_key_from(limited("ci")).await;
    let mut expected = limits();
    for lifted in FIELDS {
        let shown = server.shown("ci").await;
        for field in FIELDS {
            assert_eq!(shown[field], expected[field], "{field} before {lifted} is lifted");
        }
        let update = json!({ "apiKey": { "clientId": "ci" }, "updateMask": lifted });
        let updated = server.keys("Update", update).await.unwrap();
        assert_eq!(updated["apiKey"][lifted], Value::Null, "{lifted}");
        expected[lifted] = Value::Null;
    }
    let mut key = limits();
    key["clientId"] = "ci".into();
    let together = json!({ "apiKey": key, "updateMask": FIELDS.join(",") });
    server.keys("Update", together).await.unwrap();
    let shown = server.shown("ci").await;
    for field in FIELDS {
        assert_eq!(shown[field], limits()[field], "{field}");
    }
}

#[tokio::test]
async fn a_limit_has_one_spelling() {
    let server = Server::start().await;
    let written = json!({ "clientId": "ci", "allowFrom": ["::ffff:10.1.2.3/104", "192.0.2.9/32"] });
    server.create_key_from(written).await;
    assert_eq!(server.shown("ci").await["allowFrom"], json!(["10.0.0.0/8", "192.0.2.9"]));
}

#[tokio::test]
async fn an_invalid_limit_is_refused() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let many = |entry: &dyn Fn(usize) -> String| (0..33).map(entry).collect::<Vec<_>>();
    for (field, value, words) in [
        ("allowFrom", json!(["10.0.0.0/33"]), ["allow_from", "10.42.0.0/16"]),
        ("allowFrom", json!(["office"]), ["allow_from", "10.42.0.0/16"]),
        ("allowFrom", json!(["10.0.0.1/8", "10.0.0.0/8"]), ["allow_from", "twice"]),
        ("allowFrom", json!(many(&|n| format!("10.0.0.{n}"))), ["allow_from", "32"]),
        ("rate", json!("0/s"), ["rate", "100/s"]),
        ("rate", json!("5/d"), ["rate", "100/s"]),
        ("projects", json!(["Web"]), ["projects", "a-z"]),
        ("projects", json!([""]), ["projects", "a-z"]),
        ("projects", json!(many(&|n| format!("p{n}"))), ["projects", "32"]),
        ("domains", json!(["dev", "dev"]), ["domains", "twice"]),
    ] {
        let made = server.keys("Create", json!({ "clientId": "new", field: value })).await;
        refused(&made, "invalid_argument", &words);
        let key = json!({ "clientId": "ci", field: value });
        let updated = server.keys("Update", json!({ "apiKey": key, "updateMask": field })).await;
        refused(&updated, "invalid_argument", &words);
    }
}

#[tokio::test]
async fn the_public_api_keeps_limits() {
    let server = Server::start().await;
    server.create_key_from(limited("ci")).await;
    let update = json!({ "clientId": "ci", "clientName": "Renamed" });
    let procedure = "/cloudidl.identity.AppsService/Update";
    server.call(&server.admin_token, procedure, update).await.unwrap();
    let shown = server.shown("ci").await;
    assert_eq!(shown["clientName"], "Renamed");
    for field in FIELDS {
        assert_eq!(shown[field], limits()[field], "{field}");
    }
}

#[tokio::test]
async fn only_an_admin_changes_limits() {
    let server = Server::start().await;
    let key = server.create_key_from(json!({ "clientId": "ci", "projects": ["web"] })).await;
    let token = server.token(&key).await;
    let update = json!({ "apiKey": { "clientId": "ci" }, "updateMask": "projects" });
    refused(&server.keys_as(&token, "Update", update).await, "permission_denied", &["admin"]);
    let rotate = json!({ "clientId": "ci", "currentSecret": key.client_secret });
    let rotated = server.keys_as(&token, "RotateSecret", rotate).await.unwrap();
    assert_eq!(rotated["apiKey"]["projects"], json!(["web"]));
}

#[tokio::test]
async fn the_ledger_tells_the_changed_limits() {
    let server = Server::start().await;
    server.create_key_from(limited("ci")).await;
    let key = json!({ "clientId": "ci", "rate": "5/h" });
    let update = json!({ "apiKey": key, "updateMask": "rate,projects" });
    server.keys("Update", update).await.unwrap();
    let entries = server.ledger().await;
    let detail = |action: &str| {
        let of_key = |entry: &&NewEntry| entry.target == "ci" && entry.action == action;
        entries.iter().rfind(of_key).unwrap().detail.clone()
    };
    let made = detail("api_key.create");
    let words = "role=contributor allow_from=10.0.0.0/8,192.0.2.7,2001:db8::/32 rate=100/s \
                 projects=flytesnacks,web domains=development";
    assert!(made.ends_with(words), "{made}");
    assert_eq!(detail("api_key.update"), "fields=rate,projects rate=5/h projects=any");
}
