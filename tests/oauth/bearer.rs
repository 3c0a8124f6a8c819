//! Tokens as credentials: `/me`, `/oauth2/userinfo`, and the headers that may carry one (RFC 6750).

use serde_json::json;

use super::refused;
use crate::support::Server;

const ADVERTISED: &str = r#"tokens.authorization_metadata_key = "flyte-authorization""#;

#[tokio::test]
async fn me_returns_the_caller_as_flyte_1_expects() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let response = server.get_as("/me", &server.token(&key).await).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("cache-control"), "no-store");
    let me = response.json();
    assert_eq!(
        (&me["subject"], &me["name"], &me["preferred_username"]),
        (&json!("ci"), &json!("ci"), &json!("ci"))
    );
    assert_eq!(me["additional_claims"]["role"], "contributor");
}

#[tokio::test]
async fn userinfo_answers_get_and_post() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let bearer = format!("Bearer {}", server.token(&key).await);
    let headers = [("authorization", &*bearer)];
    let get = server.http.get("/oauth2/userinfo", &headers).await;
    assert_eq!(get.status, 200);
    assert_eq!((&get.json()["sub"], &get.json()["name"]), (&json!("ci"), &json!("ci")));
    let post = server.http.send(http::Method::POST, "/oauth2/userinfo", &headers, "").await;
    assert_eq!(post.json(), get.json());
}

#[tokio::test]
async fn me_returns_the_current_name() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let update = json!({ "apiKey": { "clientId": "ci", "clientName": "New name" }, "updateMask": "clientName" });
    server.admin_call("Update", update).await;
    assert_eq!(server.get_as("/me", &token).await.json()["name"], "New name");
}

#[tokio::test]
async fn a_missing_token_is_challenged() {
    let server = Server::start().await;
    for path in ["/me", "/oauth2/userinfo"] {
        let response = server.http.get(path, &[]).await;
        refused(&response, 401, "invalid_token");
        let challenge = response.header("www-authenticate");
        assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        // RFC 6750 section 3.1: no error code if no credential was sent.
        assert!(!challenge.contains("error"), "{challenge}");
    }
}

#[tokio::test]
async fn an_invalid_token_is_named_in_the_challenge() {
    let server = Server::start().await;
    for path in ["/me", "/oauth2/userinfo"] {
        let response = server.get_as(path, "nonsense").await;
        refused(&response, 401, "invalid_token");
        let challenge = response.header("www-authenticate");
        assert!(challenge.starts_with("Bearer ") && challenge.contains(r#"error="invalid_token""#));
    }
}

#[tokio::test]
async fn a_secret_does_not_authenticate_userinfo() {
    let server = Server::start().await;
    for header in [server.admin.basic(), format!("Bearer {}", server.admin.client_secret)] {
        for path in ["/me", "/oauth2/userinfo"] {
            let response = server.http.get(path, &[("authorization", &header)]).await;
            refused(&response, 401, "invalid_token");
        }
    }
}

/// `authorization` still carries one, too.
#[tokio::test]
async fn the_advertised_header_may_carry_the_token() {
    let server = Server::with_config(ADVERTISED).await;
    let bearer = format!("Bearer {}", server.admin_token);
    for header in ["flyte-authorization", "authorization"] {
        assert_eq!(server.http.get("/me", &[(header, &bearer)]).await.status, 200, "{header}");
        let headers = [(header, &*bearer), ("content-type", "application/json")];
        let list = "/gatekey.v1.ApiKeyService/List";
        let response = server.http.send(http::Method::POST, list, &headers, "{}").await;
        assert_eq!(response.status, 200, "{header}: {}", response.text());
    }
}

#[tokio::test]
async fn an_unadvertised_header_is_ignored() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_token);
    let response = server.http.get("/me", &[("flyte-authorization", &bearer)]).await;
    let description = refused(&response, 401, "invalid_token");
    assert_eq!(description, "no credential was sent");
}

#[tokio::test]
async fn two_different_credentials_are_refused() {
    let server = Server::with_config(ADVERTISED).await;
    let key = server.create_key("ci").await;
    let one = format!("Bearer {}", server.admin_token);
    let two = format!("Bearer {}", server.token(&key).await);
    for headers in [
        [("authorization", &one), ("flyte-authorization", &two)],
        [("authorization", &one), ("authorization", &two)],
        [("flyte-authorization", &one), ("flyte-authorization", &two)],
    ] {
        let headers = headers.map(|(name, value)| (name, value.as_str()));
        let response = server.http.get("/me", &headers).await;
        let description = refused(&response, 401, "invalid_token");
        assert!(description.contains("more than one credential"), "{description}");
        let all = [&headers[..], &[("content-type", "application/json")]].concat();
        let list = "/gatekey.v1.ApiKeyService/List";
        let response = server.http.send(http::Method::POST, list, &all, "{}").await;
        assert_eq!(
            (response.status.as_u16(), &response.json()["code"]),
            (401, &json!("unauthenticated"))
        );
    }
}

#[tokio::test]
async fn the_same_credential_twice_is_accepted() {
    let server = Server::with_config(ADVERTISED).await;
    let bearer = format!("Bearer {}", server.admin_token);
    let headers = [("authorization", &*bearer), ("flyte-authorization", &*bearer)];
    assert_eq!(server.http.get("/me", &headers).await.status, 200);
}

#[tokio::test]
async fn a_token_in_url_or_body_is_ignored() {
    let server = Server::start().await;
    let path = format!("/me?access_token={}", server.admin_token);
    assert_eq!(server.http.get(&path, &[]).await.status, 401);
    let body = format!("access_token={}", server.admin_token);
    assert_eq!(server.http.form("/oauth2/userinfo", &[], &body).await.status, 401);
}

/// The scheme is case-insensitive.
#[tokio::test]
async fn only_the_bearer_scheme_is_accepted() {
    let server = Server::start().await;
    let token = &server.admin_token;
    for header in
        [token.clone(), format!("Token {token}"), format!("Bearer{token}"), "Bearer".to_owned()]
    {
        let response = server.http.get("/me", &[("authorization", &header)]).await;
        let description = refused(&response, 401, "invalid_token");
        assert!(description.contains("Bearer"), "{description}");
    }
    let lower = format!("bearer {token}");
    assert_eq!(
        server.http.get("/me", &[("authorization", &lower)]).await.status,
        200,
        "the scheme is case-insensitive"
    );
}
