//! The metadata documents (RFC 8414), compared with what is served.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::support::{Server, ServerProcess};

async fn document(server: &Server, path: &str) -> Value {
    let response = server.http.get(path, &[]).await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), "application/json");
    response.json()
}

/// The members that both metadata documents share.
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

/// Pages that show or check tokens fetch these documents from other origins.
#[tokio::test]
async fn public_documents_are_readable_by_any_origin() {
    let server = Server::start().await;
    let origin = ("origin", "https://console.example.com");
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/config/v1/flyte_client",
        "/oauth2/jwks",
        "/openapi.json",
    ] {
        let document = server.http.get(path, &[origin]).await;
        assert_eq!(document.status, 200, "{path}");
        assert_eq!(document.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(document.header("access-control-allow-credentials"), "", "{path}");
        let asked = [
            origin,
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "x-requested-with"),
        ];
        let preflight = server.http.send(Method::OPTIONS, path, &asked, "").await;
        assert_eq!(preflight.status, 204, "{path}");
        assert_eq!(preflight.header("access-control-allow-origin"), "*", "{path}");
        assert_eq!(preflight.header("access-control-allow-methods"), "GET, HEAD", "{path}");
        assert_eq!(preflight.header("access-control-allow-headers"), "*, authorization", "{path}");
    }
    for path in ["/oauth2/token", "/oauth2/userinfo", "/me", "/gatekey.v1.ApiKeyService/List"] {
        for method in [Method::OPTIONS, Method::POST] {
            let response = server.http.send(method, path, &[origin], "").await;
            assert_eq!(response.header("access-control-allow-origin"), "", "{path}");
        }
    }
}

/// HSTS would lock browsers out of other services on localhost.
#[tokio::test]
async fn only_a_public_name_demands_https() {
    let public = ServerProcess::start_with(&["--public-url", "https://keys.example.com"]);
    let local = ServerProcess::start_with(&["--public-url", "https://localhost"]);
    let address = ServerProcess::start_with(&[]);
    for (server, expected) in [(public, "max-age=31536000"), (local, ""), (address, "")] {
        for path in ["/oauth2/jwks", "/nothing"] {
            let response = server.http().get(path, &[]).await;
            assert_eq!(response.header("strict-transport-security"), expected, "{path}");
            assert_eq!(response.header("x-content-type-options"), "nosniff", "{path}");
        }
    }
}

#[tokio::test]
async fn the_metadata_lists_exactly_what_is_served() {
    let server = Server::start().await;
    let metadata = document(&server, "/.well-known/oauth-authorization-server").await;
    assert_eq!(metadata, served(&server.process.url));
}

#[tokio::test]
async fn the_openid_document_adds_its_required_members() {
    let server = Server::start().await;
    let mut expected = served(&server.process.url);
    expected["subject_types_supported"] = json!(["public"]);
    expected["id_token_signing_alg_values_supported"] = json!(["ES256"]);
    assert_eq!(document(&server, "/.well-known/openid-configuration").await, expected);
}

#[tokio::test]
async fn the_documents_use_the_public_url() {
    let server = Server::with_public_url().await;
    let metadata = document(&server, "/.well-known/oauth-authorization-server").await;
    assert_eq!(metadata, served("https://keys.example.com"));
}

#[tokio::test]
async fn the_flyte_client_configuration_is_served() {
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
async fn the_configured_header_is_advertised() {
    let server =
        Server::with_config(r#"tokens.authorization_metadata_key = "flyte-authorization""#).await;
    let config = document(&server, "/config/v1/flyte_client").await;
    assert_eq!(config["authorization_metadata_key"], "flyte-authorization");
    let rpc = "/flyteidl2.auth.AuthMetadataService/GetPublicClientConfig";
    let rpc = server.http.connect_json(rpc, "", &json!({})).await.json();
    assert_eq!(rpc["authorizationMetadataKey"], "flyte-authorization");
}

#[tokio::test]
async fn the_rpcs_agree_with_the_documents() {
    let server = Server::start().await;
    let metadata = document(&server, "/.well-known/oauth-authorization-server").await;
    let config = document(&server, "/config/v1/flyte_client").await;
    for package in ["flyteidl2.auth", "flyteidl.service"] {
        let call = async |method: &str| {
            let procedure = format!("/{package}.AuthMetadataService/{method}");
            let response = server.http.connect_json(&procedure, "", &json!({})).await;
            assert_eq!(response.status, 200, "{}", response.text());
            response.json()
        };
        let rpc = call("GetOAuth2Metadata").await;
        assert_eq!(rpc["issuer"], metadata["issuer"]);
        assert_eq!(rpc["tokenEndpoint"], metadata["token_endpoint"]);
        assert_eq!(rpc["jwksUri"], metadata["jwks_uri"]);
        assert_eq!(rpc["grantTypesSupported"], metadata["grant_types_supported"]);
        let rpc = call("GetPublicClientConfig").await;
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
async fn the_documents_may_be_cached_briefly() {
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

/// A client whose token has expired must still find out how to log in.
#[tokio::test]
async fn login_metadata_ignores_an_invalid_credential() {
    let server = Server::start().await;
    for path in
        ["/.well-known/oauth-authorization-server", "/config/v1/flyte_client", "/oauth2/jwks"]
    {
        let response = server.http.get(path, &[("authorization", "Bearer expired")]).await;
        assert_eq!(response.status, 200, "{path}");
    }
}

#[tokio::test]
async fn an_unknown_path_returns_a_json_error() {
    let server = Server::start().await;
    for path in
        ["/", "/oauth2/authorize", "/oauth2/token/", "/.well-known/", "/%00", "//oauth2/jwks"]
    {
        let response = server.http.get(path, &[]).await;
        assert_eq!(response.status, 404, "{path}");
        assert_eq!(response.json()["error"], "not_found");
        assert_eq!(response.header("cache-control"), "no-store");
    }
}
