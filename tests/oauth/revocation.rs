//! `/oauth2/revoke` (RFC 7009).

use super::refused;
use crate::support::{Server, basic};

const PATH: &str = "/oauth2/revoke";

/// Other tokens of the same key stay valid.
#[tokio::test]
async fn a_revoked_token_is_refused_everywhere_at_once() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let (revoked, sibling) = (server.token(&key).await, server.token(&key).await);
    assert!(server.accepts(&revoked).await);
    let response = server.revoke(&key, &revoked).await;
    assert_eq!((response.status.as_u16(), response.text()), (200, String::new()));
    assert_eq!(response.header("cache-control"), "no-store");
    assert!(!server.accepts(&revoked).await);
    assert!(server.accepts(&sibling).await);
    assert!(server.accepts(&server.token(&key).await).await);
}

#[tokio::test]
async fn revoking_twice_succeeds() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    assert_eq!(server.revoke(&key, &token).await.status, 200);
    assert_eq!(server.revoke(&key, &token).await.status, 200);
    assert!(!server.accepts(&token).await);
}

/// This includes admins.
#[tokio::test]
async fn a_key_cannot_revoke_another_keys_token() {
    let server = Server::start().await;
    let (key, other) = (server.create_key("ci").await, server.create_key("other").await);
    let token = server.token(&other).await;
    for asking in [&key, &server.admin] {
        let description = refused(&server.revoke(asking, &token).await, 400, "unauthorized_client");
        assert!(description.contains("another API key"), "{description}");
        assert!(server.accepts(&token).await);
    }
}

#[tokio::test]
async fn revoking_a_malformed_token_succeeds() {
    let server = Server::start().await;
    for token in ["x", "a.b.c", &server.admin.client_secret, &"x".repeat(9000)] {
        assert_eq!(server.revoke(&server.admin, token).await.status, 200);
    }
    assert!(server.accepts(&server.admin_token).await);
}

#[tokio::test]
async fn the_token_type_hint_is_ignored() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    for hint in ["access_token", "refresh_token", "nonsense"] {
        let token = server.token(&key).await;
        let body = format!("token={token}&token_type_hint={hint}");
        let response = server.http.form(PATH, &[("authorization", &key.basic())], &body).await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert!(!server.accepts(&token).await);
    }
}

#[tokio::test]
async fn revocation_requires_the_token_parameter() {
    let server = Server::start().await;
    let headers = [("authorization", &*server.admin.basic())];
    let description = refused(&server.http.form(PATH, &headers, "").await, 400, "invalid_request");
    assert!(description.contains("parameter token"), "{description}");
}

#[tokio::test]
async fn revocation_requires_client_authentication() {
    let server = Server::start().await;
    let body = format!("token={}", server.admin_token);
    let (wrong, bearer) = (basic("admin", "wrong"), format!("Bearer {}", server.admin_token));
    for headers in [&[][..], &[("authorization", &*wrong)], &[("authorization", &*bearer)]] {
        let response = server.http.form(PATH, headers, &body).await;
        refused(&response, 401, "invalid_client");
    }
    assert!(server.accepts(&server.admin_token).await);
}

#[tokio::test]
async fn a_revocation_survives_restart_and_kill_9() {
    let mut server = Server::with_public_url().await;
    let key = server.create_key("ci").await;
    let (first, second, sibling) =
        (server.token(&key).await, server.token(&key).await, server.token(&key).await);
    assert_eq!(server.revoke(&key, &first).await.status, 200);
    server.restart().await;
    assert!(!server.accepts(&first).await);
    assert_eq!(server.revoke(&key, &second).await.status, 200);
    server.kill_and_restart();
    for (token, valid) in [(first, false), (second, false), (sibling, true)] {
        assert_eq!(server.accepts(&token).await, valid);
    }
}

/// A revocation that could not be stored was reported as done in `ory/fosite` (CVE-2020-15223).
#[tokio::test]
async fn a_failed_revocation_is_reported() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.process.limit_files("0");
    let response = server.revoke(&key, &token).await;
    refused(&response, 503, "temporarily_unavailable");
    assert!(server.accepts(&token).await, "it was not revoked, and the response did not claim so");
    server.process.limit_files("unlimited");
    assert_eq!(server.revoke(&key, &token).await.status, 200);
    assert!(!server.accepts(&token).await);
}

/// Each has an entry in the ledger, which keeps it: 6,000 of them took 18 MB.
#[tokio::test]
async fn a_key_cannot_revoke_without_limit() {
    let server = Server::start().await;
    let (key, other) = (server.create_key("ci").await, server.create_key("other").await);
    let mut tokens = Vec::new();
    for _ in 0..12 {
        tokens.push(server.token(&key).await);
    }
    let mut statuses = Vec::new();
    for token in &tokens {
        let response = server.revoke(&key, token).await;
        statuses.push(response.status.as_u16());
        if response.status == 429 {
            assert_eq!(response.json()["error"], "slow_down");
            assert!(response.header("retry-after").parse::<u64>().unwrap() > 0);
            assert!(server.accepts(token).await, "it was refused");
        }
    }
    assert_eq!(&statuses[..10], [200; 10]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(server.revoke(&key, &tokens[0]).await.status, 200, "it is revoked already");
    let token = server.token(&other).await;
    assert_eq!(server.revoke(&other, &token).await.status, 200);
}
