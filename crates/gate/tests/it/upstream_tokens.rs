//! The tokens that upstreams get in place of the credential.

use std::time::Duration;

use axum::http::HeaderValue;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_authn::{Presented, Refusal};
use gatekey_core::{ApiKeyPatch, Caller, token::TokenRefusal};
use gatekey_credentials::{Role, jwt::InvalidToken};
use gatekey_gate::token::UpstreamTokens;
use serde_json::{Value, json};

use crate::server::{ISSUER, Server};

const AUDIENCE: &str = "https://flyte.example.com";

async fn minted(tokens: &UpstreamTokens, caller: &Presented, audience: &str) -> HeaderValue {
    tokens.authorization(caller, audience).await.unwrap()
}

fn part(authorization: &HeaderValue, place: usize) -> Value {
    let token = authorization.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let part = token.split('.').nth(place).unwrap();
    serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap()
}

fn claims(authorization: &HeaderValue) -> Value {
    part(authorization, 1)
}

#[tokio::test]
async fn an_upstream_token_names_the_caller() {
    let server = Server::start().await;
    let secret = server.create("ci", Role::Viewer).await;
    let caller = server.present(&server.token("ci", &secret)).await.unwrap();
    let authorization = minted(&server.upstream_tokens(), &caller, AUDIENCE).await;
    assert!(authorization.is_sensitive());
    assert_eq!(part(&authorization, 0)["typ"], "upstream+jwt");
    let claims = claims(&authorization);
    let now = server.env.now().as_seconds();
    for (name, value) in [
        ("iss", json!(ISSUER)),
        ("sub", json!("ci")),
        ("client_id", json!("ci")),
        ("aud", json!([AUDIENCE])),
        ("exp", json!(now + 300)),
        ("scope", json!("all")),
        ("scp", json!(["all"])),
        ("org", json!("acme")),
        ("given_name", json!("ci key")),
        ("family_name", json!("(API key)")),
        ("email", json!("ci@gatekey.invalid")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert!(claims["iat"].as_i64().unwrap() <= now && claims["nbf"] == claims["iat"]);
}

#[tokio::test]
async fn an_upstream_token_is_refused_by_its_issuer() {
    let server = Server::start().await;
    let encoded = server.encoded("ci").await;
    let caller = server.present(&encoded).await.unwrap();
    // Even with an audience that the configuration refuses.
    let authorization = minted(&server.upstream_tokens(), &caller, ISSUER).await;
    let token = authorization.to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let malformed = TokenRefusal::Invalid(InvalidToken::Malformed);
    assert_eq!(server.present(token).await.unwrap_err(), Refusal::Token(malformed));
    assert_eq!(server.tokens.verify(token).unwrap_err(), malformed);
    let facts = caller.key().unwrap();
    assert!(server.tokens.introspect(facts, token).unwrap().is_none());
    // RFC 7009 section 2.2: an invalid token is answered as if it was revoked.
    let itself = Caller { actor: caller.actor(), ..server.caller.clone() };
    server.tokens.revoke(&itself, facts, token).await.unwrap();
    assert!(server.present(&encoded).await.is_ok());
}

#[tokio::test]
async fn an_upstream_token_is_cached_by_audience() {
    let server = Server::start().await;
    let (one, other) = (server.encoded("one").await, server.encoded("other").await);
    let tokens = server.upstream_tokens();
    let one = server.present(&one).await.unwrap();
    let other = server.present(&other).await.unwrap();
    let first = minted(&tokens, &one, AUDIENCE).await;
    assert_eq!(minted(&tokens, &one, AUDIENCE).await, first);
    assert_eq!(claims(&minted(&tokens, &one, "another").await)["aud"], json!(["another"]));
    assert_eq!(claims(&minted(&tokens, &other, AUDIENCE).await)["sub"], "other");
    assert_eq!(minted(&tokens, &one, AUDIENCE).await, first);
}

#[tokio::test]
async fn an_upstream_token_is_replaced_before_it_expires() {
    let server = Server::start().await;
    let encoded = server.encoded("ci").await;
    let tokens = server.upstream_tokens();
    let present = async |seconds| {
        server.clock.advance(seconds);
        minted(&tokens, &server.present(&encoded).await.unwrap(), AUDIENCE).await
    };
    let first = present(0).await;
    assert_eq!(present(239).await, first);
    let second = present(1).await;
    assert_ne!(second, first);
    assert_eq!(claims(&second)["exp"], server.env.now().as_seconds() + 300);
}

#[tokio::test]
async fn an_upstream_token_ends_with_the_credential() {
    let server = Server::start().await;
    let secret = server.create("ci", Role::Contributor).await;
    let token = server.token("ci", &secret);
    let tokens = server.upstream_tokens();
    server.clock.advance(3400);
    let first = minted(&tokens, &server.present(&token).await.unwrap(), AUDIENCE).await;
    let ends = server.env.now().as_seconds() + 200;
    assert_eq!(claims(&first)["exp"], ends, "the access token's own");
    server.clock.advance(199);
    // Another one could not end later.
    assert_eq!(minted(&tokens, &server.present(&token).await.unwrap(), AUDIENCE).await, first);

    let fresh = server.token("ci", &secret);
    let soon = server.env.now().after(Duration::from_secs(100));
    let expiring = ApiKeyPatch { expires_at: Some(Some(soon)), ..ApiKeyPatch::default() };
    server.update("ci", expiring).await;
    let caller = server.present(&fresh).await.unwrap();
    let exp = claims(&minted(&tokens, &caller, AUDIENCE).await)["exp"].clone();
    assert_eq!(exp, soon.as_seconds(), "the key's");
}

#[tokio::test]
async fn a_changed_key_gets_another_upstream_token() {
    let server = Server::start().await;
    let encoded = server.encoded("ci").await;
    let tokens = server.upstream_tokens();
    minted(&tokens, &server.present(&encoded).await.unwrap(), AUDIENCE).await;
    let renamed = ApiKeyPatch { client_name: Some("Other".to_owned()), ..ApiKeyPatch::default() };
    server.update("ci", renamed).await;
    let caller = server.present(&encoded).await.unwrap();
    assert_eq!(claims(&minted(&tokens, &caller, AUDIENCE).await)["given_name"], "Other");
}
