//! What the server says of itself (RFC 8414), and that it is true.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::support::Server;

async fn document(server: &Server, path: &str) -> Value {
    let response = server.http.get(path, &[]).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), "application/json");
    response.json()
}

/// What both metadata documents say.
fn served(url: &str) -> Value {
    let methods = json!(["client_secret_basic", "client_secret_post"]);
    json!({
        "issuer": url,
        "token_endpoint": format!("{url}/oauth2/token"),
        "jwks_uri": format!("{url}/oauth2/jwks"),
        "introspection_endpoint": format!("{url}/oauth2/introspect"),
        "revocation_endpoint": format!("{url}/oauth2/revoke"),
        "userinfo_endpoint": format!("{url}/oauth2/userinfo"),
        "response_types_supported": [],
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["all"],
        "token_endpoint_auth_methods_supported": methods,
        "introspection_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_methods_supported": methods,
    })
}

#[tokio::test]
async fn the_metadata_names_what_is_served_and_nothing_else() {
    let server = Server::start().await;
    let metadata = document(&server, "/.well-known/oauth-authorization-server").await;
    assert_eq!(metadata, served(&server.process.url));
}

#[tokio::test]
async fn the_openid_document_says_the_same_and_what_openid_asks_for() {
    let server = Server::start().await;
    let mut expected = served(&server.process.url);
    expected["subject_types_supported"] = json!(["public"]);
    expected["id_token_signing_alg_values_supported"] = json!(["ES256"]);
    assert_eq!(document(&server, "/.well-known/openid-configuration").await, expected);
}

#[tokio::test]
async fn the_documents_are_about_the_public_url() {
    let server = Server::with_public_url().await;
    let metadata = document(&server, "/.well-known/oauth-authorization-server").await;
    assert_eq!(metadata, served("https://keys.example.com"));
}

#[tokio::test]
async fn what_flytes_clients_ask_for_is_told() {
    let server = Server::start().await;
    let config = document(&server, "/config/v1/flyte_client").await;
    assert_eq!(
        config,
        json!({
            "client_id": "",
            "redirect_uri": "http://localhost:53593/callback",
            "scopes": ["all"],
            "authorization_metadata_key": "authorization",
            "service_http_endpoint": server.process.url,
            "audience": "",
        })
    );
}

#[tokio::test]
async fn the_configured_header_is_told() {
    let server = Server::with_config(r#"authorization_metadata_key = "flyte-authorization""#).await;
    let config = document(&server, "/config/v1/flyte_client").await;
    assert_eq!(config["authorization_metadata_key"], "flyte-authorization");
    let rpc = "/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig";
    let rpc = server.http.connect_json(rpc, "", &json!({})).await.json();
    assert_eq!(rpc["authorizationMetadataKey"], "flyte-authorization");
}

#[tokio::test]
async fn the_rpcs_tell_the_same_as_the_documents() {
    let server = Server::start().await;
    let metadata = document(&server, "/.well-known/oauth-authorization-server").await;
    let config = document(&server, "/config/v1/flyte_client").await;
    for package in ["flyteidl2.auth", "flyteidl.service"] {
        let told = async |method: &str| {
            let procedure = format!("/{package}.AuthMetadataService/{method}");
            let response = server.http.connect_json(&procedure, "", &json!({})).await;
            assert_eq!(response.status, 200, "{}", response.text());
            response.json()
        };
        let rpc = told("GetOAuth2Metadata").await;
        assert_eq!(rpc["issuer"], metadata["issuer"]);
        assert_eq!(rpc["tokenEndpoint"], metadata["token_endpoint"]);
        assert_eq!(rpc["jwksUri"], metadata["jwks_uri"]);
        assert_eq!(rpc["grantTypesSupported"], metadata["grant_types_supported"]);
        let rpc = told("GetPublicClientConfig").await;
        assert_eq!(rpc["scopes"], config["scopes"]);
        assert_eq!(rpc["redirectUri"], config["redirect_uri"]);
        assert_eq!(rpc["authorizationMetadataKey"], config["authorization_metadata_key"]);
    }
}

#[tokio::test]
async fn every_advertised_url_is_served() {
    let server = Server::start().await;
    let mut urls = BTreeSet::new();
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        for (name, value) in document(&server, path).await.as_object().unwrap() {
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            if name.ends_with("_endpoint") || name.ends_with("_uri") {
                let path = value.as_str().unwrap().strip_prefix(&server.process.url);
                urls.insert(path.expect("below the public URL").to_owned());
            }
        }
    }
    assert_eq!(urls.len(), 5);
    for path in urls {
        let get = server.http.get(&path, &[]).await.status.as_u16();
        let post = server.http.send(Method::POST, &path, &[], "").await.status.as_u16();
        assert!(get != 404 && post != 404 && (get != 405 || post != 405), "{path}: {get} {post}");
    }
}

#[tokio::test]
async fn the_documents_may_be_kept_for_a_while() {
    let server = Server::start().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/config/v1/flyte_client",
        "/oauth2/jwks",
    ] {
        let response = server.http.get(path, &[]).await;
        assert_eq!(response.header("cache-control"), "public, max-age=300", "{path}");
    }
}

#[tokio::test]
async fn a_bad_credential_does_not_hide_how_to_log_in() {
    let server = Server::start().await;
    for path in ["/.well-known/oauth-authorization-server", "/config/v1/flyte_client", "/oauth2/jwks"] {
        let response = server.http.get(path, &[("authorization", "Bearer expired")]).await;
        assert_eq!(response.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_path_that_is_not_served_says_so_in_json() {
    let server = Server::start().await;
    for path in ["/", "/oauth2/authorize", "/oauth2/token/", "/.well-known/", "/%00", "//oauth2/jwks"] {
        let response = server.http.get(path, &[]).await;
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json()["error"], "not_found");
        assert_eq!(response.header("cache-control"), "no-store");
    }
}
