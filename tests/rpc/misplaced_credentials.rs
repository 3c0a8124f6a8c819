//! A credential in a field for something else. People paste credentials into the wrong fields, and
//! what a key shows is listed, logged and recorded.

use http::Method;
use serde_json::{Value, json};

use crate::support::{Response, Server};

const APPS: &str = "/cloudidl.identity.AppsService";
const OWN: &str = "/gatekey.v1.ApiKeyService";

/// A server with a key, and each form of a credential.
async fn with_credentials() -> (Server, Vec<String>) {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let encoded = key.encoded(server.process.endpoint());
    let credentials = vec![key.client_secret, token, encoded];
    (server, credentials)
}

/// Asserts that a request is refused because of its credential, without repeating it.
fn assert_refused(response: &Response, credential: &str, what: &str) {
    let text = response.text();
    assert!(response.status.is_client_error(), "{what}: {} {text}", response.status);
    assert!(!text.contains(credential), "{what}: {text}");
}

impl Server {
    /// Asserts that nothing at rest contains a credential, nor does the log.
    async fn assert_never_recorded(&mut self, credentials: &[String]) {
        let ledger = format!("{:?}", self.ledger().await);
        assert!(self.process.stop().await.success());
        let log = format!("{:?}", self.process.log());
        for credential in credentials {
            assert!(!ledger.contains(credential) && !log.contains(credential), "{credential}");
        }
    }
}

#[tokio::test]
async fn no_text_field_accepts_a_credential() {
    let (mut server, credentials) = with_credentials().await;
    for credential in &credentials {
        let uri = format!("https://example.com/{credential}");
        let app = |field: &str, value: Value| {
            let mut app = json!({ "clientId": "x", "clientName": "x" });
            app[field] = value;
            app
        };
        let mut calls = vec![];
        for (field, value) in [
            ("organization", json!(credential)),
            ("clientId", json!(credential)),
            ("clientName", json!(credential)),
            ("clientName", json!(format!("my {credential}"))),
            ("contacts", json!([credential])),
            ("redirectUris", json!([uri])),
            ("logoUri", json!(uri)),
            ("clientUri", json!(uri)),
            ("policyUri", json!(uri)),
            ("tosUri", json!(uri)),
            ("jwksUri", json!(uri)),
        ] {
            calls.push((APPS, "Create", app(field, value.clone())));
            let mut update = app(field, value);
            update["clientId"] = json!(if field == "clientId" { credential } else { "ci" });
            calls.push((APPS, "Update", update));
        }
        let filter = |field: &str, value: &str| json!({ "request": { "filters": [{ "field": field, "function": "EQUAL", "values": [value] }] } });
        for (service, method, body) in [
            (APPS, "List", filter("client_name", credential)),
            (APPS, "List", filter("client_id", credential)),
            (APPS, "List", filter("role", credential)),
            (APPS, "List", filter(credential, "x")),
            (APPS, "List", json!({ "organization": credential })),
            (APPS, "List", json!({ "request": { "token": credential } })),
            (APPS, "List", json!({ "request": { "sortBy": { "key": credential } } })),
            (APPS, "Get", json!({ "clientId": credential })),
            (APPS, "Get", json!({ "clientId": "ci", "organization": credential })),
            (APPS, "Delete", json!({ "clientId": credential })),
            (APPS, "Delete", json!({ "clientId": "ci", "organization": credential })),
            (OWN, "List", json!({ "pageToken": credential })),
            (OWN, "Create", json!({ "clientId": "x", "secretLabel": credential })),
            (OWN, "Create", json!({ "clientId": credential })),
            (OWN, "RotateSecret", json!({ "clientId": "ci", "secretLabel": credential })),
            (OWN, "RotateSecret", json!({ "clientId": credential })),
            (OWN, "RetireSecret", json!({ "clientId": "ci", "secretId": credential })),
            (OWN, "Disable", json!({ "clientId": credential })),
            (OWN, "Enable", json!({ "clientId": credential })),
        ] {
            calls.push((service, method, body));
        }
        for (service, method, body) in calls {
            let procedure = format!("{service}/{method}");
            let response = server.http.connect_json(&procedure, &server.admin_token, &body).await;
            assert_refused(&response, credential, &format!("{method} {body}"));
        }
    }
    server.assert_never_recorded(&credentials).await;
}

#[tokio::test]
async fn plain_json_repeats_no_credential() {
    let (mut server, credentials) = with_credentials().await;
    let authorization = format!("Bearer {}", server.admin_token);
    let headers = [("authorization", &*authorization), ("content-type", "application/json")];
    for credential in &credentials {
        let mut unknown = json!({ "name": "x" });
        unknown[credential] = json!(1);
        let padded = format!("{}{credential}", "x".repeat(40));
        for body in [
            json!({ "name": "x", "role": credential }),
            json!({ "name": "x", "role": padded }),
            unknown,
        ] {
            let body = body.to_string();
            let sent = server.http.send(Method::POST, "/gatekey/v1/keys", &headers, body);
            let response = sent.await;
            assert_refused(&response, &credential[..20], "create");
        }
    }
    server.assert_never_recorded(&credentials).await;
}

#[tokio::test]
async fn the_organization_header_accepts_no_credential() {
    let (mut server, credentials) = with_credentials().await;
    let authorization = format!("Bearer {}", server.admin_token);
    for credential in &credentials {
        for (method, body) in [
            ("Create", json!({ "clientId": "x", "clientName": "x" })),
            ("Get", json!({ "clientId": "ci" })),
            ("Delete", json!({ "clientId": "ci" })),
        ] {
            let headers = [
                ("authorization", &*authorization),
                ("content-type", "application/json"),
                ("x-user-active-org", credential),
            ];
            let path = format!("{APPS}/{method}");
            let response = server.http.send(Method::POST, &path, &headers, body.to_string()).await;
            assert_refused(&response, credential, method);
        }
    }
    server.assert_never_recorded(&credentials).await;
}
