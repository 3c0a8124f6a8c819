//! Tokens as credentials: `/me`, `/oauth2/userinfo`, and the headers that may carry one (RFC 6750).

use serde_json::json;

use super::refused;
use crate::support::World;

const ADVERTISED: &str = r#"authorization_metadata_key = "flyte-authorization""#;

#[tokio::test]
async fn me_tells_who_calls_in_the_words_of_flyte_1() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let answer = world.get_as("/me", &world.token(&key).await).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let me = answer.json();
    assert_eq!(
        (&me["subject"], &me["name"], &me["preferred_username"]),
        (&json!("ci"), &json!("ci"), &json!("ci"))
    );
    assert_eq!(me["additional_claims"]["role"], "contributor");
}

#[tokio::test]
async fn userinfo_tells_who_calls_by_get_and_by_post() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let bearer = format!("Bearer {}", world.token(&key).await);
    let headers = [("authorization", &*bearer)];
    let get = world.http.get("/oauth2/userinfo", &headers).await;
    assert_eq!(get.status, 200);
    assert_eq!((&get.json()["sub"], &get.json()["name"]), (&json!("ci"), &json!("ci")));
    let post = world.http.send(http::Method::POST, "/oauth2/userinfo", &headers, "").await;
    assert_eq!(post.json(), get.json());
}

#[tokio::test]
async fn the_name_is_told_as_it_is_now() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    let update =
        json!({ "apiKey": { "clientId": "ci", "clientName": "New name" }, "updateMask": "clientName" });
    world.admin("Update", update).await;
    assert_eq!(world.get_as("/me", &token).await.json()["name"], "New name");
}

#[tokio::test]
async fn without_a_token_there_is_a_challenge() {
    let world = World::start().await;
    for path in ["/me", "/oauth2/userinfo"] {
        let answer = world.http.get(path, &[]).await;
        refused(&answer, 401, "invalid_token");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("Bearer realm="), "{challenge}");
        // RFC 6750 section 3.1: no error code for who sent no credential at all.
        assert!(!challenge.contains("error"), "{challenge}");
    }
}

#[tokio::test]
async fn a_bad_token_is_told_so_in_the_challenge() {
    let world = World::start().await;
    for path in ["/me", "/oauth2/userinfo"] {
        let answer = world.get_as(path, "nonsense").await;
        refused(&answer, 401, "invalid_token");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("Bearer ") && challenge.contains(r#"error="invalid_token""#));
    }
}

#[tokio::test]
async fn a_secret_is_no_credential_for_these() {
    let world = World::start().await;
    for header in [world.admin.basic(), format!("Bearer {}", world.admin.client_secret)] {
        for path in ["/me", "/oauth2/userinfo"] {
            let answer = world.http.get(path, &[("authorization", &header)]).await;
            refused(&answer, 401, "invalid_token");
        }
    }
}

#[tokio::test]
async fn the_advertised_header_carries_a_token_as_well_as_authorization() {
    let world = World::configured(ADVERTISED).await;
    let bearer = format!("Bearer {}", world.admin_token);
    for header in ["flyte-authorization", "authorization"] {
        assert_eq!(world.http.get("/me", &[(header, &bearer)]).await.status, 200, "{header}");
        let headers = [(header, &*bearer), ("content-type", "application/json")];
        let list = "/gatekey.v1.ApiKeyService/List";
        let answer = world.http.send(http::Method::POST, list, &headers, "{}").await;
        assert_eq!(answer.status, 200, "{header}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_header_that_is_not_advertised_carries_nothing() {
    let world = World::start().await;
    let bearer = format!("Bearer {}", world.admin_token);
    let answer = world.http.get("/me", &[("flyte-authorization", &bearer)]).await;
    let said = refused(&answer, 401, "invalid_token");
    assert_eq!(said, "no credential was sent");
}

#[tokio::test]
async fn two_different_credentials_at_once_are_refused() {
    let world = World::configured(ADVERTISED).await;
    let key = world.key("ci").await;
    let one = format!("Bearer {}", world.admin_token);
    let two = format!("Bearer {}", world.token(&key).await);
    for headers in [
        [("authorization", &one), ("flyte-authorization", &two)],
        [("authorization", &one), ("authorization", &two)],
        [("flyte-authorization", &one), ("flyte-authorization", &two)],
    ] {
        let headers = headers.map(|(name, value)| (name, value.as_str()));
        let answer = world.http.get("/me", &headers).await;
        let said = refused(&answer, 401, "invalid_token");
        assert!(said.contains("more than one credential"), "{said}");
        let all = [&headers[..], &[("content-type", "application/json")]].concat();
        let list = "/gatekey.v1.ApiKeyService/List";
        let answer = world.http.send(http::Method::POST, list, &all, "{}").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (401, &json!("unauthenticated")));
    }
}

#[tokio::test]
async fn the_same_credential_in_both_headers_is_one() {
    let world = World::configured(ADVERTISED).await;
    let bearer = format!("Bearer {}", world.admin_token);
    let headers = [("authorization", &*bearer), ("flyte-authorization", &*bearer)];
    assert_eq!(world.http.get("/me", &headers).await.status, 200);
}

#[tokio::test]
async fn a_token_in_the_url_or_the_body_counts_for_nothing() {
    let world = World::start().await;
    let path = format!("/me?access_token={}", world.admin_token);
    assert_eq!(world.http.get(&path, &[]).await.status, 401);
    let body = format!("access_token={}", world.admin_token);
    assert_eq!(world.http.form("/oauth2/userinfo", &[], &body).await.status, 401);
}

#[tokio::test]
async fn what_is_no_bearer_token_is_refused() {
    let world = World::start().await;
    let token = &world.admin_token;
    for header in [token.clone(), format!("Token {token}"), format!("Bearer{token}"), "Bearer".to_owned()] {
        let answer = world.http.get("/me", &[("authorization", &header)]).await;
        let said = refused(&answer, 401, "invalid_token");
        assert!(said.contains("Bearer"), "{said}");
    }
    let lower = format!("bearer {token}");
    assert_eq!(world.http.get("/me", &[("authorization", &lower)]).await.status, 200, "any case will do");
}
