//! `/oauth2/revoke` (RFC 7009).

use super::refused;
use crate::support::{World, basic};

const PATH: &str = "/oauth2/revoke";

#[tokio::test]
async fn a_revoked_token_dies_at_once_everywhere_and_its_siblings_live_on() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let (revoked, sibling) = (world.token(&key).await, world.token(&key).await);
    assert!(world.lives(&revoked).await);
    let answer = world.revoke(&key, &revoked).await;
    assert_eq!((answer.status.as_u16(), answer.text()), (200, String::new()));
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!world.lives(&revoked).await);
    assert!(world.lives(&sibling).await);
    assert!(world.lives(&world.token(&key).await).await);
}

#[tokio::test]
async fn revoking_twice_is_no_error() {
    let world = World::start().await;
    let key = world.key("ci").await;
    let token = world.token(&key).await;
    assert_eq!(world.revoke(&key, &token).await.status, 200);
    assert_eq!(world.revoke(&key, &token).await.status, 200);
    assert!(!world.lives(&token).await);
}

#[tokio::test]
async fn another_keys_token_may_not_be_revoked() {
    let world = World::start().await;
    let (key, other) = (world.key("ci").await, world.key("other").await);
    let token = world.token(&other).await;
    for asking in [&key, &world.admin] {
        let said = refused(&world.revoke(asking, &token).await, 400, "unauthorized_client");
        assert!(said.contains("another API key"), "{said}");
        assert!(world.lives(&token).await);
    }
}

#[tokio::test]
async fn what_is_no_token_is_no_error() {
    let world = World::start().await;
    for token in ["x", "a.b.c", &world.admin.client_secret, &"x".repeat(9000)] {
        assert_eq!(world.revoke(&world.admin, token).await.status, 200);
    }
    assert!(world.lives(&world.admin_token).await);
}

#[tokio::test]
async fn a_hint_of_any_kind_is_ignored() {
    let world = World::start().await;
    let key = world.key("ci").await;
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let token = world.token(&key).await;
        let body = format!("token={token}&token_type_hint={hint}");
        let answer = world.http.form(PATH, &[("authorization", &key.basic())], &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(!world.lives(&token).await);
    }
}

#[tokio::test]
async fn a_missing_token_is_named() {
    let world = World::start().await;
    let headers = [("authorization", &*world.admin.basic())];
    let said = refused(&world.http.form(PATH, &headers, "").await, 400, "invalid_request");
    assert!(said.contains("parameter token"), "{said}");
}

#[tokio::test]
async fn whoever_revokes_must_prove_to_be_the_key() {
    let world = World::start().await;
    let body = format!("token={}", world.admin_token);
    let (wrong, bearer) = (basic("admin", "wrong"), format!("Bearer {}", world.admin_token));
    for headers in [&[][..], &[("authorization", &*wrong)], &[("authorization", &*bearer)]] {
        let answer = world.http.form(PATH, headers, &body).await;
        refused(&answer, 401, "invalid_client");
    }
    assert!(world.lives(&world.admin_token).await);
}

#[tokio::test]
async fn a_revocation_survives_restart_and_kill_9() {
    let mut world = World::lasting().await;
    let key = world.key("ci").await;
    let (first, second, sibling) =
        (world.token(&key).await, world.token(&key).await, world.token(&key).await);
    assert_eq!(world.revoke(&key, &first).await.status, 200);
    world.restart().await;
    assert!(!world.lives(&first).await);
    assert_eq!(world.revoke(&key, &second).await.status, 200);
    world.kill_and_restart();
    for (token, alive) in [(first, false), (second, false), (sibling, true)] {
        assert_eq!(world.lives(&token).await, alive);
    }
}
