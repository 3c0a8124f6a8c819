//! `/oauth2/introspect` (RFC 7662).

use serde_json::json;

use super::refused;
use crate::support::{Credentials, World, basic, decoded};

const PATH: &str = "/oauth2/introspect";

#[tokio::test]
async fn a_key_learns_everything_of_its_own_token() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    let (_, claims) = decoded(&token);
    assert_eq!(
        world.introspect(&key, &token).await,
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
async fn a_contributor_learns_nothing_of_another_keys_token() {
    let world = World::start().await;
    let (key, other) = (world.key("ci").await, world.key("other").await);
    let token = world.token(&other).await;
    assert_eq!(world.introspect(&key, &token).await, json!({ "active": false }));
}

#[tokio::test]
async fn a_viewer_and_a_key_without_a_role_learn_nothing_of_another_keys_token() {
    let world = World::start().await;
    for body in [json!({ "role": "ROLE_VIEWER" }), json!({ "withoutRole": true })] {
        let key = world.key_with(&format!("k{}", body.to_string().len()), body).await;
        assert_eq!(world.introspect(&key, &world.admin_token).await, json!({ "active": false }));
        let own = world.token(&key).await;
        assert_eq!(world.introspect(&key, &own).await["active"], true);
    }
}

#[tokio::test]
async fn an_admin_and_a_verifier_learn_everything_of_every_token() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let verifier = world.key_with("gate", json!({ "role": "ROLE_VERIFIER" })).await;
    let token = world.token(&key).await;
    let own = world.introspect(&key, &token).await;
    assert_eq!(world.introspect(&world.admin, &token).await, own);
    assert_eq!(world.introspect(&verifier, &token).await, own);
}

#[tokio::test]
async fn a_token_of_a_key_without_a_role_names_none() {
    let world = World::start().await;
    let key = world.key_with("bare", json!({ "withoutRole": true })).await;
    let told = world.introspect(&key, &world.token(&key).await).await;
    assert_eq!((&told["active"], &told["scope"]), (&json!(true), &json!("")));
    assert!(told.get("role").is_none(), "{told}");
}

#[tokio::test]
async fn the_role_is_told_as_it_is_now() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    let update = json!({ "apiKey": { "clientId": "ci", "role": "ROLE_VIEWER" }, "updateMask": "role" });
    world.admin("Update", update).await;
    assert_eq!(world.introspect(&key, &token).await["role"], "viewer");
}

#[tokio::test]
async fn what_is_no_token_is_inactive() {
    let world = World::start().await;
    let own = &world.admin_token;
    for token in ["x", "a.b.c", "..", &own[..own.len() - 1], &format!("{own}x"), &"x".repeat(9000)] {
        assert_eq!(world.introspect(&world.admin, token).await, json!({ "active": false }));
    }
}

#[tokio::test]
async fn a_secret_is_no_token() {
    let world = World::start().await;
    let told = world.introspect(&world.admin, &world.admin.client_secret).await;
    assert_eq!(told, json!({ "active": false }));
}

#[tokio::test]
async fn a_missing_token_is_named() {
    let world = World::start().await;
    for body in ["", "token=", "token_type_hint=access_token"] {
        let headers = [("authorization", &*world.admin.basic())];
        let said = refused(&world.http.form(PATH, &headers, body).await, 400, "invalid_request");
        assert!(said.contains("parameter token"), "{said}");
    }
}

#[tokio::test]
async fn whoever_asks_must_authenticate() {
    let world = World::start().await;
    let body = format!("token={}", world.admin_token);
    for headers in [vec![], vec![("authorization", basic("admin", "wrong"))]] {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = world.http.form(PATH, &headers, &body).await;
        refused(&answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").starts_with("Basic realm="));
    }
}

#[tokio::test]
async fn whoever_asks_may_authenticate_with_a_token() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let (token, other) = (world.token(&key).await, world.admin_token.clone());
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    let own = world.http.form(PATH, &headers, &format!("token={token}")).await;
    assert_eq!(own.json()["active"], true);
    let foreign = world.http.form(PATH, &headers, &format!("token={other}")).await;
    assert_eq!(foreign.json(), json!({ "active": false }));
}

#[tokio::test]
async fn a_dead_token_does_not_authenticate_who_asks() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    world.admin("Disable", json!({ "clientId": "ci" })).await;
    let bearer = format!("Bearer {token}");
    let answer = world.http.form(PATH, &[("authorization", &bearer)], &format!("token={token}")).await;
    refused(&answer, 401, "invalid_client");
}

#[tokio::test]
async fn a_token_and_a_secret_at_once_are_refused() {
    let world = World::start().await;
    let Credentials { client_id, client_secret } = &world.admin;
    let token = &world.admin_token;
    let body = format!("token={token}&client_id={client_id}&client_secret={client_secret}");
    let bearer = format!("Bearer {token}");
    let said =
        refused(&world.http.form(PATH, &[("authorization", &bearer)], &body).await, 400, "invalid_request");
    assert!(said.contains("client_secret"), "{said}");
}

#[tokio::test]
async fn a_secret_in_the_body_authenticates_who_asks() {
    let world = World::start().await;
    let Credentials { client_id, client_secret } = &world.admin;
    let token = &world.admin_token;
    let body = format!("token={token}&client_id={client_id}&client_secret={client_secret}");
    assert_eq!(world.http.form(PATH, &[], &body).await.json()["active"], true);
}

#[tokio::test]
async fn what_is_told_is_never_kept_by_a_cache() {
    let world = World::start().await;
    let headers = [("authorization", &*world.admin.basic())];
    let answer = world.http.form(PATH, &headers, &format!("token={}", world.admin_token)).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
}
