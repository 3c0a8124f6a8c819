//! When keys are fetched, and which documents are refused.

use std::sync::Arc;

use gatekey_credentials::jwt::{Algorithm, InvalidToken};
use gatekey_issuers::Refused;
use serde_json::json;
use tokio::net::TcpListener;

use crate::provider::{DISCOVERY, Provider, key, verify};

/// Requests for discovery and keys.
const BOTH: usize = 2;

#[tokio::test]
async fn an_unknown_kid_fetches_once_a_minute() {
    let (first, second) = (key("1", Algorithm::ES256), key("2", Algorithm::ES256));
    let provider = Provider::with_key(&first).await;
    let issuers = provider.issuers();
    assert!(verify(&issuers, &provider.token(&first)).await.is_ok());
    provider.publish(&[&second]);
    for _ in 0..10 {
        let refused = verify(&issuers, &provider.token(&second)).await.unwrap_err();
        assert_eq!(refused, InvalidToken::UnknownKey.into());
    }
    assert_eq!(provider.requests(), BOTH);
    provider.clock.advance(60);
    assert!(verify(&issuers, &provider.token(&second)).await.is_ok());
    assert_eq!(provider.requests(), BOTH * 2);
    // The issuer withdrew the first key.
    let refused = verify(&issuers, &provider.token(&first)).await.unwrap_err();
    assert_eq!(refused, InvalidToken::UnknownKey.into());
}

#[tokio::test]
async fn concurrent_callers_fetch_keys_once() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let issuers = Arc::new(provider.issuers());
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (issuers, token) = (issuers.clone(), provider.token(&key));
            tokio::spawn(async move { verify(&issuers, &token).await.is_ok() })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap());
    }
    assert_eq!(provider.requests(), BOTH);
}

#[tokio::test]
async fn keys_outlive_an_outage_of_a_day() {
    let (known, unknown) = (key("k", Algorithm::ES256), key("u", Algorithm::ES256));
    let provider = Provider::with_key(&known).await;
    let issuers = provider.issuers();
    let token = provider.token(&known);
    assert!(verify(&issuers, &token).await.is_ok());
    provider.fail();
    provider.clock.advance(24 * 3600 - 1);
    assert!(verify(&issuers, &token).await.is_ok());
    // Whether the issuer has the key now is not known.
    let refused = verify(&issuers, &provider.token(&unknown)).await.unwrap_err();
    assert_eq!(refused, Refused::Unavailable);
    provider.clock.advance(1);
    assert_eq!(verify(&issuers, &token).await.unwrap_err(), Refused::Unavailable);
}

#[tokio::test]
async fn keys_are_available_soon_after_a_failure() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::start().await;
    let issuers = provider.issuers();
    for _ in 0..10 {
        let refused = verify(&issuers, &provider.token(&key)).await.unwrap_err();
        assert_eq!(refused, Refused::Unavailable);
    }
    assert_eq!(provider.requests(), 1);
    let jwks_uri = format!("{}/jwks", provider.url);
    provider.serve_json(DISCOVERY, &json!({ "issuer": provider.url, "jwks_uri": jwks_uri }));
    provider.publish(&[&key]);
    provider.clock.advance(5);
    assert!(verify(&issuers, &provider.token(&key)).await.is_ok());
}

#[tokio::test]
async fn a_discovery_document_names_its_own_issuer() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let jwks_uri = format!("{}/jwks", provider.url);
    for document in [
        json!({ "issuer": "https://other.example.com", "jwks_uri": jwks_uri }),
        json!({ "issuer": format!("{}/", provider.url), "jwks_uri": jwks_uri }),
        json!({ "issuer": provider.url, "jwks_uri": "http://192.0.2.1/jwks" }),
        json!({ "issuer": provider.url, "jwks_uri": "file:///etc/passwd" }),
        json!({ "issuer": provider.url }),
    ] {
        provider.serve_json(DISCOVERY, &document);
        let refused = verify(&provider.issuers(), &provider.token(&key)).await.unwrap_err();
        assert_eq!(refused, Refused::Unavailable, "{document}");
    }
}

#[tokio::test]
async fn redirects_to_keys_are_not_followed() {
    let key = key("k", Algorithm::ES256);
    let (provider, target) = (Provider::with_key(&key).await, Provider::with_key(&key).await);
    for status in ["301 Moved", "302 Found", "307 Temporary", "204 No Content", "500 Error"] {
        let location = format!("{}/jwks", target.url);
        let response =
            format!("HTTP/1.1 {status}\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        provider.serve("/jwks", response);
        let refused = verify(&provider.issuers(), &provider.token(&key)).await.unwrap_err();
        assert_eq!(refused, Refused::Unavailable, "{status}");
    }
    assert_eq!(target.requests(), 0);
}

#[tokio::test]
async fn a_large_document_is_refused() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let jwks = |padding: usize| json!({ "keys": [key.jwk()], "padding": "x".repeat(padding) });
    provider.serve_json("/jwks", &jwks(200 * 1024));
    assert!(verify(&provider.issuers(), &provider.token(&key)).await.is_ok());
    provider.serve_json("/jwks", &jwks(256 * 1024));
    let refused = verify(&provider.issuers(), &provider.token(&key)).await.unwrap_err();
    assert_eq!(refused, Refused::Unavailable);
}

/// Time passes at once, because everyone waits.
#[tokio::test(start_paused = true)]
async fn a_silent_issuer_is_unavailable() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::start().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", silent.local_addr().unwrap());
    let mut settings = provider.settings();
    settings.issuer.clone_from(&issuer);
    let mut claims = provider.claims();
    claims["iss"] = json!(issuer);
    let issuers = provider.issuers_with(vec![settings]);
    let token = key.sign(&claims).unwrap();
    assert_eq!(verify(&issuers, &token).await.unwrap_err(), Refused::Unavailable);
}
