//! Which requests pass, and what the upstream learns of their callers.

use serde_json::json;

use super::{ADMIN, Gated, READ, WRITE};

#[tokio::test]
async fn nothing_passes_without_a_credential() {
    let gated = Gated::start().await;
    for path in [READ, WRITE, ADMIN, "/unknown"] {
        let refused = gated.call(path, "").await;
        assert_eq!(refused.status, 401, "{path}: {}", refused.text());
        assert_eq!(refused.header("www-authenticate"), r#"Bearer realm="gatekey""#);
        let refused = gated.call(path, "wrong").await;
        assert_eq!(refused.status, 401, "{path}: {}", refused.text());
    }
    assert!(gated.upstream.received().is_empty());
}

#[tokio::test]
async fn a_role_passes_what_it_permits() {
    let gated = Gated::start().await;
    let (viewer, contributor) =
        (gated.token_of("viewer").await, gated.token_of("contributor").await);
    let tokens = [&viewer, &contributor, &gated.server.admin_token];
    for (path, statuses) in
        [(READ, [200, 200, 200]), (WRITE, [403, 200, 200]), (ADMIN, [403, 403, 200])]
    {
        for (token, status) in tokens.iter().zip(statuses) {
            let answered = gated.call(path, token).await;
            assert_eq!(answered.status, status, "{path}: {}", answered.text());
        }
    }
}

#[tokio::test]
async fn the_upstream_never_sees_the_credential() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    for http in [&gated.server.http, &gated.over_http1()] {
        let seen = http.connect_json(READ, &token, &json!({})).await;
        assert_eq!(seen.status, 200, "{}", seen.text());
        assert!(!seen.text().contains(&token), "{}", seen.text());
        assert_eq!(seen.json()["headers"]["x-auth-request-user"], json!(["viewer"]));
        assert_eq!(seen.json()["headers"]["x-auth-request-roles"], json!(["viewer"]));
        assert_eq!(seen.json()["headers"]["authorization"], json!(null));
    }
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once() {
    let gated = Gated::start().await;
    let key = gated.key_of("viewer").await;
    let token = gated.server.token(&key).await;
    assert_eq!(gated.call(READ, &token).await.status, 200);
    gated.server.admin_call("Disable", json!({ "clientId": key.client_id })).await;
    assert_eq!(gated.call(READ, &token).await.status, 401);
}
