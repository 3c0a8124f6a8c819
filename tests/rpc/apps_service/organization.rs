//! The organization that a server serves.

use http::Method;
use serde_json::{Value, json};

use crate::{
    rpc::{outcome, refused},
    support::{PUBLIC_URL, Server},
};

#[tokio::test]
async fn the_servers_names_are_echoed() {
    // The public Terraform provider sends the first DNS label of the public URL.
    let server = Server::with_flags(&["--organization", "acme", "--public-url", PUBLIC_URL]).await;
    for (number, organization) in ["", "acme", "keys"].into_iter().enumerate() {
        let id = format!("key-{number}");
        let of = |field: &str, value: &str| {
            let mut request = json!({ "organization": organization });
            request[field] = json!(value);
            request
        };
        let created = server.apps("Create", of("clientId", &id)).await.unwrap();
        let got = server.apps("Get", of("clientId", &id)).await.unwrap();
        let updated = server.apps("Update", of("clientId", &id)).await.unwrap();
        let listed = server.apps("List", json!({ "organization": organization })).await.unwrap();
        for app in [&created["app"], &got["app"], &updated["app"], &listed["apps"][0]] {
            assert_eq!(app["organization"].as_str().unwrap_or_default(), organization, "{app}");
        }
        assert_eq!(server.shown(&id).await["organization"], "acme");
        server.apps("Delete", of("clientId", &id)).await.unwrap();
    }
    let info = server
        .call(&server.admin_token, "/flyteidl2.auth.IdentityService/UserInfo", json!({}))
        .await
        .unwrap();
    assert_eq!(info["additionalClaims"]["userhandle"], "acme");
}

/// `NOT_FOUND` would make Terraform drop every key from its state.
#[tokio::test]
async fn any_other_organization_is_denied() {
    let server = Server::with_flags(&["--organization", "acme"]).await;
    server.create_key("ci").await;
    for organization in ["globex", "Acme", "acme ", "a", "acme.example.com"] {
        for method in ["Create", "Get", "Update", "Delete", "List"] {
            for client_id in ["ci", "new", ""] {
                let mut request = json!({ "organization": organization });
                if method != "List" {
                    request["clientId"] = json!(client_id);
                }
                let outcome = server.apps(method, request).await;
                refused(&outcome, "permission_denied", &[organization, "not served here"]);
            }
        }
    }
    assert!(server.apps("Get", json!({ "clientId": "ci" })).await.is_ok());
    refused(&server.apps("Get", json!({ "clientId": "new" })).await, "not_found", &[]);
}

#[tokio::test]
async fn plain_http_denies_any_other_organization() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let ci = "/oauth_app/api/v1/ci";
    let body = json!({ "organization": "globex", "clientId": "ci", "clientName": "ci" });
    for (method, path, body) in [
        (Method::GET, format!("{ci}?organization=globex"), Value::Null),
        (Method::DELETE, format!("{ci}?organization=globex"), Value::Null),
        (Method::GET, "/oauth_app/api/v1?organization=globex".to_owned(), Value::Null),
        (Method::PUT, ci.to_owned(), body.clone()),
        (Method::POST, "/oauth_app/api/v1".to_owned(), body),
    ] {
        let bearer = format!("Bearer {}", server.admin_token);
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let response = server.http.send(method, &path, &headers, body).await;
        assert_eq!(response.status, 403, "{path}: {}", response.text());
        refused(&outcome(&response), "permission_denied", &["globex"]);
    }
}

#[tokio::test]
async fn the_active_organization_header_counts_as_the_field() {
    let server = Server::with_flags(&["--organization", "acme"]).await;
    server.create_key("ci").await;
    let ci = json!({ "clientId": "ci" });
    for served in ["acme", ""] {
        let got =
            server.apps_with(&[("x-user-active-org", served)], "Get", ci.clone()).await.unwrap();
        assert_eq!(got["app"]["clientId"], "ci");
    }
    let other = [("x-user-active-org", "globex")];
    for method in ["Create", "Get", "Update", "Delete", "List"] {
        let request = if method == "List" { json!({}) } else { ci.clone() };
        let outcome = server.apps_with(&other, method, request).await;
        refused(&outcome, "permission_denied", &["globex"]);
    }
    for (method, request) in [
        ("Create", json!({ "name": "new" })),
        ("Get", ci.clone()),
        ("List", json!({})),
        ("Update", ci.clone()),
        ("RotateSecret", ci.clone()),
        ("RetireSecret", ci.clone()),
        ("Disable", ci.clone()),
        ("Enable", ci.clone()),
        ("Delete", ci.clone()),
    ] {
        let path = format!("/gatekey.v1.ApiKeyService/{method}");
        let outcome = server.call_with(&other, &path, request).await;
        refused(&outcome, "permission_denied", &["globex"]);
    }
    let twice = [("x-user-active-org", "acme"), ("x-user-active-org", "globex")];
    refused(&server.apps_with(&twice, "Get", ci).await, "permission_denied", &["globex"]);
}

#[tokio::test]
async fn a_long_organization_is_truncated_in_the_error() {
    let server = Server::start().await;
    let outcome = server.apps("List", json!({ "organization": "o".repeat(100_000) })).await;
    refused(&outcome, "permission_denied", &["ooo"]);
    assert!(outcome.unwrap_err().message.len() < 200);
}
