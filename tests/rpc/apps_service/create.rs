//! `AppsService.Create`.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};

use crate::{
    rpc::{
        credentials,
        json::{check, is_secret},
        refused,
    },
    support::{Credentials, Server},
};

#[tokio::test]
async fn an_empty_client_id_is_derived_from_name() {
    let server = Server::start().await;
    for (name, client_id) in [
        ("ci", "ci"),
        ("CI Pipeline", "ci-pipeline"),
        ("a__b..c", "a-b-c"),
        ("Prüfung (nightly)", "pr-fung-nightly-"),
        ("-lead", "-lead"),
    ] {
        let created = server.apps("Create", json!({ "clientName": name })).await.unwrap();
        assert_eq!(created["app"]["clientId"], client_id, "{name}");
        assert_eq!(created["app"]["clientName"], name);
    }
}

#[tokio::test]
async fn an_empty_name_defaults_to_the_client_id() {
    let server = Server::start().await;
    let created = server.apps("Create", json!({ "clientId": "EAGER_API_KEY" })).await.unwrap();
    assert_eq!(created["app"]["clientName"], "EAGER_API_KEY");
}

/// The message suggests a fix.
#[tokio::test]
async fn a_name_without_letters_or_digits_is_refused() {
    let server = Server::start().await;
    for name in ["***", "ключ", "-"] {
        let outcome = server.apps("Create", json!({ "clientName": name })).await;
        refused(
            &outcome,
            "invalid_argument",
            &["client_name", "letter or digit", "derive the client id"],
        );
    }
    refused(&server.apps("Create", json!({})).await, "invalid_argument", &["client_name", "empty"]);
}

/// Terraform compares what it sent with what comes back.
#[tokio::test]
async fn unset_lists_come_back_unset() {
    let server = Server::start().await;
    let created = server.apps("Create", json!({ "clientId": "plain" })).await.unwrap();
    let got = server.apps("Get", json!({ "clientId": "plain" })).await.unwrap();
    let listed = server.apps("List", json!({})).await.unwrap();
    let listed = listed["apps"].as_array().unwrap();
    let listed = listed.iter().find(|app| app["clientId"] == "plain").unwrap();
    for app in [&created["app"], &got["app"], listed] {
        for field in ["redirectUris", "grantTypes", "responseTypes", "tokenEndpointAuthMethod"] {
            assert_eq!(app[field], Value::Null, "{field}");
        }
    }
    assert_eq!(server.shown("plain").await["role"], "ROLE_CONTRIBUTOR");
}

#[tokio::test]
async fn a_key_without_grants_fetches_tokens() {
    let server = Server::start().await;
    let created = server.apps("Create", json!({ "clientId": "plain" })).await.unwrap();
    let key = credentials(&created["app"], &created["app"]);
    assert!(server.secret_works(&key).await);
    let update = json!({ "clientId": "plain", "grantTypes": ["DEVICE_CODE"] });
    server.apps("Update", update).await.unwrap();
    assert_eq!(server.http.token(&key, &[]).await.json()["error"], "unauthorized_client");
    server.apps("Update", json!({ "clientId": "plain" })).await.unwrap();
    assert!(server.secret_works(&key).await);
}

#[tokio::test]
async fn every_authentication_method_comes_back() {
    let server = Server::start().await;
    for method in ["NONE", "CLIENT_SECRET_BASIC", "CLIENT_SECRET_POST"] {
        let request =
            json!({ "clientName": format!("by {method}"), "tokenEndpointAuthMethod": method });
        let created = server.apps("Create", request).await.unwrap();
        let kept = created["app"]["tokenEndpointAuthMethod"].as_str().unwrap_or("NONE");
        assert_eq!(kept, method);
        let key = credentials(&created["app"], &created["app"]);
        assert!(server.secret_works(&key).await, "{method}, by Basic");
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            key.client_id, key.client_secret
        );
        let posted = server.http.form("/oauth2/token", &[], &body).await;
        assert_eq!(posted.status, 200, "{method}, in the body: {}", posted.text());
    }
}

#[tokio::test]
async fn every_field_of_an_app_is_stored() {
    let server = Server::start().await;
    let given = json!({
        "clientId": "whole",
        "clientName": "Whole \u{1f511}",
        "redirectUris": ["https://ci.example.com/callback", "http://127.0.0.1:1/", "com.example.app:/back"],
        "responseTypes": ["CODE", "ID_TOKEN"],
        "grantTypes": ["AUTHORIZATION_CODE", "CLIENT_CREDENTIALS", "REFRESH_TOKEN", "DEVICE_CODE"],
        "applicationType": "NATIVE",
        "contacts": ["ops@example.com"],
        "logoUri": "https://example.com/logo.png",
        "clientUri": "https://example.com/",
        "policyUri": "https://example.com/policy",
        "tosUri": "https://example.com/terms",
        "jwksUri": "https://example.com/keys",
        "tokenEndpointAuthMethod": "CLIENT_SECRET_POST",
    });
    let created = server.apps("Create", given.clone()).await.unwrap();
    let got = server.apps("Get", json!({ "clientId": "whole" })).await.unwrap();
    for app in [&created["app"], &got["app"]] {
        check(&given, app).unwrap();
    }
}

/// A redirect URI is https, http to loopback, or of a private scheme that contains a dot.
#[tokio::test]
async fn an_unsafe_redirect_uri_is_refused() {
    let server = Server::start().await;
    let create = async |name: &str, uri: &str| {
        server.apps("Create", json!({ "clientName": name, "redirectUris": [uri] })).await
    };
    for (number, uri) in [
        "https://ci.example.com/callback?tenant=1",
        "http://localhost/",
        "http://127.0.0.1:53593/callback",
        "http://[::1]:53593/callback",
        "com.example.app:/callback",
    ]
    .into_iter()
    .enumerate()
    {
        let created = create(&format!("good {number}"), uri).await.unwrap();
        assert_eq!(created["app"]["redirectUris"], json!([uri]));
    }
    for (uri, rule) in [
        ("", "entries of 1 to 2048 bytes"),
        ("/callback", "absolute"),
        ("https://ci.example.com/#part", "fragment"),
        ("http://ci.example.com/callback", "https"),
        ("http://localhost.example.com/", "https"),
        ("https://ci@example.com/", "user name"),
        ("https://*.example.com/", "wildcards"),
        ("javascript:alert(1)", "private-use scheme"),
        ("app:/callback", "private-use scheme"),
        ("https://ci.exämple.com/", "printable ASCII"),
        ("https://ci.example.com/ callback", "printable ASCII"),
        ("https://ci.example.com/\u{0}", "control characters"),
    ] {
        refused(&create("bad", uri).await, "invalid_argument", &["redirect_uris", rule]);
    }
    let long = format!("https://ci.example.com/{}", "a".repeat(2048));
    refused(&create("bad", &long).await, "invalid_argument", &["redirect_uris", "2048 bytes"]);
}

#[tokio::test]
async fn all_invalid_fields_are_named_at_once() {
    let server = Server::start().await;
    let request = json!({
        "clientId": "a b",
        "clientName": "bell \u{7}",
        "redirectUris": ["ftp://example.com/"],
        "tosUri": "terms",
    });
    let outcome = server.apps("Create", request).await;
    refused(
        &outcome,
        "invalid_argument",
        &["client_id", "client_name", "redirect_uris", "tos_uri"],
    );
}

#[tokio::test]
async fn only_the_create_response_contains_the_secret() {
    let server = Server::start().await;
    let created = server.apps("Create", json!({ "clientId": "ci" })).await.unwrap();
    let secret = created["app"]["clientSecret"].as_str().unwrap();
    assert!(is_secret(secret), "{secret}");
    for response in [
        server.apps("Get", json!({ "clientId": "ci" })).await,
        server.apps("List", json!({})).await,
        server.apps("Update", json!({ "clientId": "ci", "clientName": "renamed" })).await,
        server.keys("Get", json!({ "clientId": "ci" })).await,
        server.keys("List", json!({})).await,
        server.keys("Disable", json!({ "clientId": "ci" })).await,
        server.keys("Enable", json!({ "clientId": "ci" })).await,
    ] {
        let response = response.unwrap().to_string();
        assert!(response.contains("\"ci\""), "{response}");
        assert!(!response.contains("gk_") && !response.contains("clientSecret"), "{response}");
    }
}

#[tokio::test]
async fn a_response_with_a_secret_is_not_cached() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_token);
    for (path, content_type, body) in [
        (
            "/cloudidl.identity.AppsService/Create",
            "application/json",
            &br#"{"clientId": "one"}"#[..],
        ),
        ("/gatekey.v1.ApiKeyService/Create", "application/json", br#"{"clientId": "two"}"#),
        ("/gatekey.v1.ApiKeyService/RotateSecret", "application/json", br#"{"clientId": "two"}"#),
        // CreateAppRequest.client_id is field 2.
        ("/cloudidl.identity.AppsService/Create", "application/proto", b"\x12\x05three"),
        ("/cloudidl.identity.AppsService/Create", "application/grpc", b"\0\0\0\0\x06\x12\x04four"),
        (
            "/cloudidl.identity.AppsService/Create",
            "application/grpc-web",
            b"\0\0\0\0\x06\x12\x04five",
        ),
    ] {
        let headers =
            [("content-type", content_type), ("authorization", &*bearer), ("te", "trailers")];
        let response = server.http.send(Method::POST, path, &headers, body).await;
        assert!(response.text().contains("gk_"), "{content_type}: {}", response.text());
        assert_eq!(response.header("cache-control"), "no-store", "{content_type}");
    }
}

/// Its tokens have no scope.
#[tokio::test]
async fn a_key_without_default_policies_has_no_role() {
    let server = Server::start().await;
    let request = json!({ "clientId": "bare", "skipDefaultPolicyAssignments": true });
    let created = server.apps("Create", request).await.unwrap();
    assert_eq!(server.shown("bare").await["role"], Value::Null);
    let bare = credentials(&created["app"], &created["app"]);
    let ordinary = server.create_key("ordinary").await;
    for (key, scope, scopes) in [(bare, "", json!([])), (ordinary, "all", json!(["all"]))] {
        let response = server.http.token(&key, &[("scope", "all")]).await.json();
        assert_eq!(response["scope"], scope);
        let claims = response["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: Value =
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
        assert_eq!(claims["scp"], scopes);
    }
}

#[tokio::test]
async fn concurrent_creates_create_one_key() {
    let server = Server::start().await;
    let create = || server.apps("Create", json!({ "clientId": "contested" }));
    let outcomes = futures::future::join_all((0..8).map(|_| create())).await;
    let (made, refusals): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1);
    for refusal in &refusals {
        refused(refusal, "already_exists", &["contested"]);
    }
}

/// Public clients log in again when a message contains certain words.
#[tokio::test]
async fn only_authentication_errors_trigger_a_new_login() {
    let server = Server::start().await;
    let named = json!({ "clientId": "unauthorized-thing", "clientName": "Unauthenticated" });
    server.apps("Create", named.clone()).await.unwrap();
    let roleless = server.create_key_from(json!({ "clientId": "bare", "withoutRole": true })).await;
    let roleless = server.token(&roleless).await;
    let unknown = json!({ "clientId": "UNAUTHENTICATED.unauthorized" });
    let wrong = json!({ "organization": "unauthorized" });
    let filter =
        json!({ "function": "EQUAL", "field": "unauthorized", "values": ["unauthorized"] });
    for (outcome, code) in [
        (server.apps("Create", named.clone()).await, "already_exists"),
        (server.keys("Create", named.clone()).await, "already_exists"),
        (server.apps("Get", unknown.clone()).await, "not_found"),
        (server.apps("Delete", unknown.clone()).await, "not_found"),
        (server.keys("RotateSecret", unknown.clone()).await, "not_found"),
        (
            server
                .keys(
                    "RetireSecret",
                    json!({ "clientId": "unauthorized-thing", "secretId": "unauthorized" }),
                )
                .await,
            "not_found",
        ),
        (server.apps("Create", wrong.clone()).await, "permission_denied"),
        (server.apps("List", wrong).await, "permission_denied"),
        (
            server.apps("List", json!({ "request": { "filters": [filter] } })).await,
            "invalid_argument",
        ),
        (
            server.apps("Create", json!({ "grantTypes": ["unauthorized"] })).await,
            "invalid_argument",
        ),
        (server.apps("Create", json!("unauthorized")).await, "invalid_argument"),
        (server.apps("Unauthorized", json!({})).await, "unimplemented"),
        (server.apps_as(&roleless, "Get", named).await, "permission_denied"),
        (server.apps_as(&roleless, "List", json!({})).await, "permission_denied"),
    ] {
        refused(&outcome, code, &[]);
        let message = outcome.unwrap_err().message.to_lowercase();
        assert!(
            !message.contains("unauthorized") && !message.contains("unauthenticated"),
            "{message}"
        );
    }
}

/// A server that fetches any URL lets callers reach what is behind its firewall: CVE-2020-10770.
#[tokio::test]
async fn no_url_in_a_key_is_fetched() {
    let server = Server::start().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = json!({
        "clientId": "lure", "logoUri": url, "clientUri": url, "policyUri": url, "tosUri": url, "jwksUri": url,
        "redirectUris": [url],
    });
    let apps = "/cloudidl.identity.AppsService";
    let created =
        server.http.connect_json(&format!("{apps}/Create"), &server.admin_token, &app).await;
    assert_eq!(created.status, 200, "{}", created.text());
    let key = Credentials {
        client_id: "lure".to_owned(),
        client_secret: created.json()["app"]["clientSecret"].as_str().unwrap().to_owned(),
    };
    let token = server.token(&key).await;
    assert!(server.accepts(&token).await);
    for method in ["Get", "List", "Update", "Delete"] {
        server.http.connect_json(&format!("{apps}/{method}"), &server.admin_token, &app).await;
    }
    let nobody = listener.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(nobody, Err(std::io::ErrorKind::WouldBlock));
}
