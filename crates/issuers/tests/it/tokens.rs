//! Which tokens are accepted.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_credentials::jwt::{Algorithm, InvalidToken, SigningKey};
use gatekey_issuers::{IssuerSettings, Refused};
use serde_json::{Value, json};

use crate::provider::{Provider, key, verify};

/// A token with another header, signed by the key's own `sign` over the changed text if possible.
fn with_header(token: &str, header: &Value) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", BASE64URL.encode(header.to_string()))
}

#[tokio::test]
async fn every_algorithm_of_an_issuer_is_accepted() {
    for algorithm in Algorithm::ALL {
        let key = key("k", algorithm);
        let provider = Provider::with_key(&key).await;
        let issuers = provider.issuers();
        for _ in 0..2 {
            let subject = verify(&issuers, &provider.token(&key)).await.unwrap();
            assert_eq!(subject.name, "sso|alice", "{algorithm}");
        }
    }
}

#[tokio::test]
async fn keys_are_found_by_address_or_discovery() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    assert!(verify(&provider.issuers(), &provider.token(&key)).await.is_ok());
    assert_eq!(provider.requests(), 2);
    let jwks_url = Some(format!("{}/jwks", provider.url).parse().unwrap());
    let direct = provider.issuers_with(vec![IssuerSettings { jwks_url, ..provider.settings() }]);
    assert!(verify(&direct, &provider.token(&key)).await.is_ok());
    assert_eq!(provider.requests(), 3);
}

/// Keys cached by `kid` only would let one issuer sign for another (CVE-2025-59936).
#[tokio::test]
async fn one_kid_at_two_issuers_is_two_keys() {
    let (one, other) = (key("same", Algorithm::ES256), key("same", Algorithm::ES256));
    let (first, second) = (Provider::with_key(&one).await, Provider::with_key(&other).await);
    let settings = IssuerSettings { alias: "second".to_owned(), ..second.settings() };
    let issuers = first.issuers_with(vec![first.settings(), settings]);
    assert_eq!(verify(&issuers, &first.token(&one)).await.unwrap().name, "sso|alice");
    assert_eq!(verify(&issuers, &second.token(&other)).await.unwrap().name, "second|alice");
    for forged in [first.token(&other), second.token(&one)] {
        let refused = verify(&issuers, &forged).await.unwrap_err();
        assert_eq!(refused, InvalidToken::BadSignature.into());
    }
}

#[tokio::test]
async fn an_unconfigured_issuer_is_nobodys() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let stranger = Provider::with_key(&key).await;
    let issuers = provider.issuers();
    assert!(issuers.verify(&stranger.token(&key)).await.is_none());
    assert!(issuers.verify("a.b.c").await.is_none());
    assert_eq!((provider.requests(), stranger.requests()), (0, 0));
}

#[tokio::test]
async fn keys_that_a_token_names_are_ignored() {
    let (right, wrong) = (key("k", Algorithm::ES256), key("k", Algorithm::ES256));
    let (provider, attacker) = (Provider::with_key(&right).await, Provider::with_key(&wrong).await);
    let issuers = provider.issuers();
    let jwks = format!("{}/jwks", attacker.url);
    for (member, value) in [
        ("jku", json!(jwks)),
        ("x5u", json!(jwks)),
        ("jwk", serde_json::to_value(wrong.jwk()).unwrap()),
    ] {
        let mut header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": "k" });
        header[member] = value;
        let forged = with_header(&provider.token(&wrong), &header);
        let refused = verify(&issuers, &forged).await.unwrap_err();
        assert_eq!(refused, InvalidToken::BadSignature.into(), "{member}");
    }
    assert_eq!(attacker.requests(), 0);
}

#[tokio::test]
async fn an_algorithm_outside_the_list_is_refused() {
    let (elliptic, rsa) = (key("e", Algorithm::ES256), key("r", Algorithm::RS256));
    let provider = Provider::with_key(&elliptic).await;
    provider.publish(&[&elliptic, &rsa]);
    let algorithms = vec![Algorithm::ES256];
    let issuers = provider.issuers_with(vec![IssuerSettings { algorithms, ..provider.settings() }]);
    assert!(verify(&issuers, &provider.token(&elliptic)).await.is_ok());
    assert_eq!(verify(&issuers, &provider.token(&rsa)).await.unwrap_err(), Refused::Algorithm);
}

/// A verifier that takes the public key for the secret of HS256 can be forged to (RFC 8725 section
/// 2.1).
#[tokio::test]
async fn a_header_cannot_choose_the_algorithm() {
    let rsa = key("k", Algorithm::RS256);
    let provider = Provider::with_key(&rsa).await;
    let issuers = provider.issuers();
    let token = provider.token(&rsa);
    for (alg, refused) in [
        ("none", Refused::Algorithm),
        ("HS256", Refused::Algorithm),
        ("ES256", InvalidToken::BadSignature.into()),
    ] {
        let forged = with_header(&token, &json!({ "alg": alg, "kid": "k" }));
        assert_eq!(verify(&issuers, &forged).await.unwrap_err(), refused, "{alg}");
    }
}

#[tokio::test]
async fn a_changed_claim_is_refused() {
    let key: SigningKey = key("k", Algorithm::EdDSA);
    let provider = Provider::with_key(&key).await;
    let token = provider.token(&key);
    let mut claims = provider.claims();
    claims["groups"] = json!(["flyte-admins"]);
    let [header, _, signature]: [&str; 3] =
        token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let forged = format!("{header}.{}.{signature}", BASE64URL.encode(claims.to_string()));
    let refused = verify(&provider.issuers(), &forged).await.unwrap_err();
    assert_eq!(refused, InvalidToken::BadSignature.into());
}

/// A verified token is cached, and expires all the same.
#[tokio::test]
async fn a_cached_token_expires() {
    let key = key("k", Algorithm::ES256);
    let provider = Provider::with_key(&key).await;
    let issuers = provider.issuers();
    let mut claims = provider.claims();
    claims["exp"] = json!(crate::provider::NOW + 100);
    let token = key.sign(&claims).unwrap();
    let subject = verify(&issuers, &token).await.unwrap();
    provider.clock.advance(159);
    assert!(verify(&issuers, &token).await.is_ok());
    assert!(subject.check_dates(provider.env.now()).is_ok());
    provider.clock.advance(1);
    let expired = Refused::Invalid(InvalidToken::Expired);
    assert_eq!(verify(&issuers, &token).await.unwrap_err(), expired);
    assert_eq!(subject.check_dates(provider.env.now()).unwrap_err(), expired);
}
