//! People who log in with an identity provider.

use axum::http::HeaderValue;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_authn::Refusal;
use gatekey_core::{api_key::Scope, token::TokenRefusal};
use gatekey_credentials::{
    Role,
    jwt::{Algorithm, InvalidToken},
};
use gatekey_issuers::{IssuerSettings, Refused};
use gatekey_telemetry::Record;
use serde_json::{Value, json};

use crate::{
    provider::{NOW, Provider, key},
    server::Server,
};

fn claims(authorization: &HeaderValue) -> Value {
    let claims = authorization.to_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&BASE64URL.decode(claims).unwrap()).unwrap()
}

#[tokio::test]
async fn a_subject_has_the_role_of_its_group() {
    let key = key("k", Algorithm::RS256);
    let provider = Provider::with_key(&key).await;
    let server = Server::start().await.trusting(provider.issuers());
    for _ in 0..2 {
        let record = Record::default();
        let caller = server.present_as(&record, &provider.token(&key)).await.unwrap();
        assert_eq!((caller.user(), caller.scope()), ("sso|alice", Scope::All));
        assert_eq!(caller.roles(), Role::Contributor.into());
        assert_eq!(caller.actor().to_string(), "subject:sso|alice");
        assert_eq!(record.caller_name(), Some("sso|alice"));
        assert!(record.client_id().is_none() && caller.key().is_none());
    }
}

#[tokio::test]
async fn keys_and_subjects_call_side_by_side() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let server = Server::start().await.trusting(provider.issuers());
    let secret = server.create("ci", Role::Viewer).await;
    let ours = server.token("ci", &secret);
    assert_eq!(server.present(&ours).await.unwrap().user(), "ci");
    assert_eq!(server.present(&provider.token(&key)).await.unwrap().user(), "sso|alice");
    let stranger = Provider::with_key(&key).await;
    let refused = server.present(&stranger.token(&key)).await.unwrap_err();
    assert_eq!(refused, Refusal::Token(TokenRefusal::Invalid(InvalidToken::UnknownKey)));
}

/// Even if another issuer has a key with the same `kid`, and claims this server's issuer.
#[tokio::test]
async fn another_issuer_cannot_sign_for_this_server() {
    let other = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&other).await;
    let server = Server::start().await.trusting(provider.issuers());
    let secret = server.create("ci", Role::Admin).await;
    let ours = server.token("ci", &secret);
    let part = |place: usize| -> Value {
        let part = ours.split('.').nth(place).unwrap();
        serde_json::from_slice(&BASE64URL.decode(part).unwrap()).unwrap()
    };
    let kid = part(0)["kid"].as_str().unwrap().to_owned();
    let forger = key(&kid, Algorithm::ES256);
    provider.publish(&[&forger]);
    let refused = server.present(&forger.sign(&part(1)).unwrap()).await.unwrap_err();
    assert_eq!(refused, Refusal::Token(TokenRefusal::Invalid(InvalidToken::BadSignature)));
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_no_refusal() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::start().await;
    let server = Server::start().await.trusting(provider.issuers());
    let refused = server.present(&provider.token(&key)).await.unwrap_err();
    assert_eq!(refused, Refusal::Unavailable);
}

#[tokio::test]
async fn a_subject_is_refused_for_the_reason() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let audiences = vec!["another".to_owned()];
    let settings = IssuerSettings { audiences, ..provider.settings() };
    let server = Server::start().await.trusting(provider.issuers_with(vec![settings]));
    let refused = server.present(&provider.token(&key)).await.unwrap_err();
    assert_eq!(refused, Refusal::Foreign(Refused::Audience));
}

#[tokio::test]
async fn a_subject_is_refused_when_its_token_expires() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let server = Server::start().await.trusting(provider.issuers());
    let mut claims = provider.claims();
    claims["exp"] = json!(NOW + 100);
    let token = key.sign(&claims).unwrap();
    let caller = server.present(&token).await.unwrap();
    server.clock.advance(159);
    assert!(server.authenticator.present_again(&caller).is_ok());
    server.clock.advance(1);
    let expired = Refusal::Foreign(Refused::Invalid(InvalidToken::Expired));
    assert_eq!(server.authenticator.present_again(&caller).unwrap_err(), expired);
}

#[tokio::test]
async fn an_upstream_token_names_a_subject() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let server = Server::start().await.trusting(provider.issuers());
    let tokens = server.upstream_tokens();
    let authorization = async |change: Value| {
        let mut claims = provider.claims();
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let caller = server.present(&key.sign(&claims).unwrap()).await.unwrap();
        tokens.authorization(&caller, "https://flyte.example.com").await.unwrap()
    };
    let full = json!({ "given_name": "Alice", "family_name": "A", "email": "alice@example.com" });
    for (sent, given, family, email) in [
        (full, "Alice", "A", "alice@example.com"),
        (json!({}), "sso|alice", "(sso)", "sso|alice@gatekey.invalid"),
    ] {
        let claims = claims(&authorization(sent).await);
        assert_eq!((&claims["sub"], &claims["scp"]), (&json!("sso|alice"), &json!(["all"])));
        let person = ["given_name", "family_name", "email"].map(|name| claims[name].clone());
        assert_eq!(person, [given, family, email]);
    }
    let soon = authorization(json!({ "exp": NOW + 100 })).await;
    assert_eq!(claims(&soon)["exp"], NOW + 160, "with the leeway");
}
