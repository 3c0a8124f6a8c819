//! `/oauth2/introspect` (RFC 7662).

use serde_json::json;

use super::refused;
use crate::support::{Credentials, Server, basic, decoded};

const PATH: &str = "/oauth2/introspect";

#[tokio::test]
async fn a_key_sees_all_of_its_token() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let (_, claims) = decoded(&token);
    assert_eq!(
        server.introspect(&key, &token).await,
        json!({
            "active": true,
            "token_type": "Bearer",
            "scope": "all",
            "client_id": "ci",
            "username": "ci",
            "sub": "ci",
            "iss": claims["iss"],
            "aud": claims["aud"],
            "exp": claims["exp"],
            "iat": claims["iat"],
            "nbf": claims["nbf"],
            "jti": claims["jti"],
            "org": "",
            "role": "contributor",
        })
    );
}

#[tokio::test]
async fn a_contributor_cannot_introspect_another_keys_token() {
    let server = Server::start().await;
    let (key, other) = (server.create_key("ci").await, server.create_key("other").await);
    let token = server.token(&other).await;
    assert_eq!(server.introspect(&key, &token).await, json!({ "active": false }));
}

/// Covers a key without a role, too.
#[tokio::test]
async fn a_viewer_cannot_introspect_another_keys_token() {
    let server = Server::start().await;
    for body in [json!({ "role": "ROLE_VIEWER" }), json!({ "withoutRole": true })] {
        let key = server.create_key_with(&format!("k{}", body.to_string().len()), body).await;
        assert_eq!(server.introspect(&key, &server.admin_token).await, json!({ "active": false }));
        let own = server.token(&key).await;
        assert_eq!(server.introspect(&key, &own).await["active"], true);
    }
}

#[tokio::test]
async fn admins_and_verifiers_can_introspect_every_token() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let verifier = server.create_key_with("gate", json!({ "role": "ROLE_VERIFIER" })).await;
    let token = server.token(&key).await;
    let own = server.introspect(&key, &token).await;
    assert_eq!(server.introspect(&server.admin, &token).await, own);
    assert_eq!(server.introspect(&verifier, &token).await, own);
}

#[tokio::test]
async fn introspection_omits_a_missing_role() {
    let server = Server::start().await;
    let key = server.create_key_with("bare", json!({ "withoutRole": true })).await;
    let introspection = server.introspect(&key, &server.token(&key).await).await;
    assert_eq!((&introspection["active"], &introspection["scope"]), (&json!(true), &json!("")));
    assert!(introspection.get("role").is_none(), "{introspection}");
}

#[tokio::test]
async fn introspection_returns_the_current_role() {
    let server = Server::start().await;
    let key = server.create_key_with("ci", json!({ "role": "ROLE_VIEWER" })).await;
    let token = server.token(&key).await;
    let update =
        json!({ "apiKey": { "clientId": "ci", "role": "ROLE_CONTRIBUTOR" }, "updateMask": "role" });
    server.admin_call("Update", update).await;
    assert_eq!(server.introspect(&key, &token).await["role"], "contributor");
}

#[tokio::test]
async fn a_malformed_token_is_inactive() {
    let server = Server::start().await;
    let own = &server.admin_token;
    for token in ["x", "a.b.c", "..", &own[..own.len() - 1], &format!("{own}x"), &"x".repeat(9000)]
    {
        assert_eq!(server.introspect(&server.admin, token).await, json!({ "active": false }));
    }
}

#[tokio::test]
async fn a_secret_sent_as_token_is_inactive() {
    let server = Server::start().await;
    let introspection = server.introspect(&server.admin, &server.admin.client_secret).await;
    assert_eq!(introspection, json!({ "active": false }));
}

#[tokio::test]
async fn introspection_requires_the_token_parameter() {
    let server = Server::start().await;
    for body in ["", "token=", "token_type_hint=access_token"] {
        let headers = [("authorization", &*server.admin.basic())];
        let description =
            refused(&server.http.form(PATH, &headers, body).await, 400, "invalid_request");
        assert!(description.contains("parameter token"), "{description}");
    }
}

#[tokio::test]
async fn the_caller_must_authenticate() {
    let server = Server::start().await;
    let body = format!("token={}", server.admin_token);
    for headers in [vec![], vec![("authorization", basic("admin", "wrong"))]] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let response = server.http.form(PATH, &headers, &body).await;
        refused(&response, 401, "invalid_client");
        assert!(response.header("www-authenticate").starts_with("Basic realm="));
    }
}

#[tokio::test]
async fn the_caller_may_authenticate_with_a_token() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let (token, other) = (server.token(&key).await, server.admin_token.clone());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    let own = server.http.form(PATH, &headers, &format!("token={token}")).await;
    assert_eq!(own.json()["active"], true);
    let foreign = server.http.form(PATH, &headers, &format!("token={other}")).await;
    assert_eq!(foreign.json(), json!({ "active": false }));
}

#[tokio::test]
async fn a_revoked_token_does_not_authenticate_the_caller() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.admin_call("Disable", json!({ "clientId": "ci" })).await;
    let bearer = format!("Bearer {token}");
    let response =
        server.http.form(PATH, &[("authorization", &bearer)], &format!("token={token}")).await;
    refused(&response, 401, "invalid_client");
}

#[tokio::test]
async fn a_token_and_a_secret_together_are_refused() {
    let server = Server::start().await;
    let Credentials { client_id, client_secret } = &server.admin;
    let token = &server.admin_token;
    let body = format!("token={token}&client_id={client_id}&client_secret={client_secret}");
    let bearer = format!("Bearer {token}");
    let description = refused(
        &server.http.form(PATH, &[("authorization", &bearer)], &body).await,
        400,
        "invalid_request",
    );
    assert!(description.contains("client_secret"), "{description}");
}

#[tokio::test]
async fn a_secret_in_the_body_authenticates_the_caller() {
    let server = Server::start().await;
    let Credentials { client_id, client_secret } = &server.admin;
    let token = &server.admin_token;
    let body = format!("token={token}&client_id={client_id}&client_secret={client_secret}");
    assert_eq!(server.http.form(PATH, &[], &body).await.json()["active"], true);
}

#[tokio::test]
async fn introspection_is_never_cached() {
    let server = Server::start().await;
    let headers = [("authorization", &*server.admin.basic())];
    let response = server.http.form(PATH, &headers, &format!("token={}", server.admin_token)).await;
    assert_eq!(response.header("cache-control"), "no-store");
    assert_eq!(response.header("content-type"), "application/json");
}
