//! The lifetime of a token: limited by the configuration, its key, and the secret that fetched it.

use std::time::Duration;

use serde_json::json;

use super::GRANT;
use crate::support::{Credentials, Server, decoded, eventually, in_future, run};

impl Server {
    /// `expires_in` of a new token, and the token.
    async fn lifetime(&self, key: &Credentials) -> (i64, String) {
        let response = self.request_token(key, GRANT).await;
        assert_eq!(response.status, 200, "{}", response.text());
        let body = response.json();
        let token = body["access_token"].as_str().unwrap().to_owned();
        let expires_in = body["expires_in"].as_i64().expect("a whole number of seconds");
        let (_, claims) = decoded(&token);
        let issued = claims["iat"].as_i64().unwrap() + 5;
        assert_eq!(claims["exp"].as_i64().unwrap(), issued + expires_in);
        (expires_in, token)
    }
}

/// This is the default; it can be configured.
#[tokio::test]
async fn a_token_is_valid_for_an_hour() {
    let server = Server::start().await;
    assert_eq!(server.lifetime(&server.admin).await.0, 3600);
}

#[tokio::test]
async fn the_configured_lifetime_applies() {
    let server = Server::with_config("tokens.lifetime_seconds = 86400").await;
    assert_eq!(server.lifetime(&server.admin).await.0, 86400);
}

#[tokio::test]
async fn a_lifetime_out_of_bounds_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatekey.toml");
    for seconds in [59, 86401] {
        std::fs::write(&file, format!("tokens.lifetime_seconds = {seconds}")).unwrap();
        let data_dir = directory.path().join("data");
        let output = run(&[
            "serve",
            "--data-dir",
            data_dir.to_str().unwrap(),
            "--listen",
            "127.0.0.1:0",
            "--config",
            file.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(2));
        let description = String::from_utf8(output.stderr).unwrap();
        assert!(
            description.contains("tokens.lifetime_seconds must be a whole number from 60 to 86400"),
            "{description}"
        );
        assert!(!data_dir.exists(), "an invalid setting creates no data directory");
    }
}

#[tokio::test]
async fn no_token_outlives_its_key() {
    let server = Server::start().await;
    let key = server
        .create_key_with("short", json!({ "expiresAt": in_future(Duration::from_secs(100)) }))
        .await;
    let (expires_in, _) = server.lifetime(&key).await;
    assert!((50..=100).contains(&expires_in), "{expires_in}");
}

#[tokio::test]
async fn no_token_outlives_its_secret() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let expires_at = in_future(Duration::from_secs(100));
    let short = server.rotate(&key, json!({ "expiresAt": expires_at, "grace": "3600s" })).await;
    let (expires_in, _) = server.lifetime(&short).await;
    assert!((50..=100).contains(&expires_in), "{expires_in}");
}

#[tokio::test]
async fn a_new_expiry_ends_issued_tokens() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let (expires_in, token) = server.lifetime(&key).await;
    assert_eq!(expires_in, 3600);
    let expires_at = in_future(Duration::from_secs(1));
    let update = json!({ "apiKey": { "clientId": "ci", "expiresAt": expires_at }, "updateMask": "expiresAt" });
    server.admin_call("Update", update).await;
    server.wait_until_expired(&token).await;
    assert_eq!(server.request_token(&key, GRANT).await.status, 401);
}

#[tokio::test]
async fn no_token_is_valid_below_one_second() {
    let server = Server::start().await;
    let key = server
        .create_key_with("short", json!({ "expiresAt": in_future(Duration::from_secs(2)) }))
        .await;
    eventually("the key expires", async || {
        let response = server.request_token(&key, GRANT).await;
        let body = response.json();
        assert!(response.status == 401 || body["expires_in"].as_i64().unwrap() >= 1, "{body}");
        response.status == 401
    })
    .await;
}

#[tokio::test]
async fn tokens_fetched_in_a_grace_end_with_it() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let (_, before) = server.lifetime(&old).await;
    let new = server.rotate(&old, json!({ "grace": "100s" })).await;
    let (expires_in, during) = server.lifetime(&old).await;
    assert!((50..=100).contains(&expires_in), "{expires_in}");
    assert!(
        server.accepts(&before).await && server.accepts(&during).await,
        "the grace keeps tokens"
    );
    let (expires_in, _) = server.lifetime(&new).await;
    assert_eq!(expires_in, 3600);
}

#[tokio::test]
async fn earlier_tokens_end_with_the_grace() {
    let server = Server::start().await;
    let old = server.create_key("ci").await;
    let (_, before) = server.lifetime(&old).await;
    let new = server.rotate(&old, json!({ "grace": "1s" })).await;
    server.wait_until_expired(&before).await;
    assert_eq!(server.request_token(&old, GRANT).await.status, 401);
    assert!(server.accepts(&server.token(&new).await).await);
}
