//! API keys as one string.

use std::{net::IpAddr, time::Duration};

use gatekey_authn::Refusal;
use gatekey_core::{
    ApiKeyPatch,
    api_key::{GrantType, LastAdmin, RotateSecret, Scope},
    token::FailureCause,
};
use gatekey_credentials::{PlainSecret, Role, encoded_credentials::InvalidEncodedCredentials};
use gatekey_telemetry::Record;

use crate::server::{FAILURES, Server, encode};

fn record() -> Record {
    let mut record = Record::default();
    record.peer = Some(IpAddr::from([192, 0, 2, 1]));
    record
}

#[tokio::test]
async fn encoded_credentials_authenticate_their_key() {
    let server = Server::start().await;
    let encoded = server.encoded("ci").await;
    for _ in 0..2 {
        let record = record();
        let presented = server.present_as(&record, &encoded).await.unwrap();
        assert_eq!((presented.user(), presented.scope()), ("ci", Scope::All));
        assert_eq!(record.client_id().map(AsRef::as_ref), Some("ci"));
        assert!(presented.roles().contains(Role::Contributor));
        assert!(presented.actor().to_string().starts_with("key:ci/"));
    }
}

#[tokio::test]
async fn a_roles_widest_scope_applies() {
    let server = Server::start().await;
    for (role, scope) in [
        (Role::Admin, Scope::All),
        (Role::Contributor, Scope::All),
        (Role::Viewer, Scope::Read),
        (Role::Verifier, Scope::None),
    ] {
        let secret = server.create(role.as_str(), role).await;
        let encoded = encode("keys.example.com", role.as_str(), secret);
        assert_eq!(server.present(&encoded).await.unwrap().scope(), scope);
    }
}

/// Each of them was presented before, so it is remembered.
#[tokio::test]
async fn a_changed_key_is_judged_as_it_is() {
    let server = Server::start().await;
    let (caller, keys) = (&server.caller, &server.api_keys);
    let mut presented = Vec::new();
    for name in ["disabled", "deleted", "rotated", "expired", "viewer", "granted"] {
        let encoded = server.encoded(name).await;
        presented.push((server.present(&encoded).await.unwrap(), encoded));
    }
    keys.disable(caller, "disabled", LastAdmin::Keep).await.unwrap();
    keys.delete(caller, "deleted", LastAdmin::Keep).await.unwrap();
    let rotate = RotateSecret {
        grace: Duration::ZERO,
        label: String::new(),
        expires_at: None,
        only_key: None,
        proven_by: None,
    };
    keys.rotate_secret(caller, "rotated", rotate).await.unwrap();
    let soon = server.env.now().after(Duration::from_secs(10));
    let expiring = ApiKeyPatch { expires_at: Some(Some(soon)), ..ApiKeyPatch::default() };
    server.update("expired", expiring).await;
    let viewer = ApiKeyPatch { role: Some(Some(Role::Viewer)), ..ApiKeyPatch::default() };
    server.update("viewer", viewer).await;
    let no_grant = ApiKeyPatch {
        grant_types: Some(vec![GrantType::AuthorizationCode]),
        ..ApiKeyPatch::default()
    };
    server.update("granted", no_grant).await;
    server.clock.advance(11);
    let scopes = [
        Err(Refusal::ApiKey),
        Err(Refusal::ApiKey),
        Err(Refusal::ApiKey),
        Err(Refusal::ApiKey),
        Ok(Scope::Read),
        Err(Refusal::Grant),
    ];
    for ((before, encoded), scope) in presented.iter().zip(scopes) {
        let again = server.authenticator.present_again(before);
        assert_eq!(again.map(|now| now.scope()), scope, "{}", before.user());
        let anew = server.present(encoded).await;
        assert_eq!(anew.map(|now| now.scope()), scope, "{}", before.user());
    }
}

/// Its client id is used again by a key with another secret.
#[tokio::test]
async fn a_recreated_key_does_not_accept_older_credentials() {
    let server = Server::start().await;
    let encoded = server.encoded("ci").await;
    let before = server.present(&encoded).await.unwrap();
    server.api_keys.delete(&server.caller, "ci", LastAdmin::Keep).await.unwrap();
    server.create("ci", Role::Admin).await;
    assert_eq!(server.present(&encoded).await.unwrap_err(), Refusal::ApiKey);
    assert_eq!(server.authenticator.present_again(&before).unwrap_err(), Refusal::ApiKey);
}

#[tokio::test]
async fn wrong_credentials_are_recorded_and_throttled() {
    let server = Server::start().await;
    let right = server.encoded("ci").await;
    let wrong = |name: &str| encode("keys.example.com", name, PlainSecret::new("wrong"));
    for (name, cause) in [("ci", FailureCause::WrongSecret), ("nobody", FailureCause::UnknownKey)] {
        let record = record();
        assert_eq!(server.present_as(&record, &wrong(name)).await.unwrap_err(), Refusal::ApiKey);
        let failure = record.failure().unwrap();
        assert_eq!(failure.claimed_client_id.as_ref().map(AsRef::as_ref), Some(name));
        assert_eq!(failure.cause.to_string(), cause.to_string());
    }
    let mut throttled = 0;
    for _ in 0..FAILURES {
        let refused = server.present_as(&record(), &wrong("ci")).await.unwrap_err();
        throttled += u16::from(matches!(refused, Refusal::TooManyFailures { .. }));
    }
    assert_eq!(throttled, 2, "two failures came before, and {FAILURES} are allowed");
    assert!(server.present_as(&record(), &right).await.is_ok(), "a right secret is accepted");
}

#[tokio::test]
async fn credentials_of_another_server_are_not_tried() {
    let server = Server::start().await;
    let secret = server.create("ci", Role::Admin).await;
    for _ in 0..FAILURES * 2 {
        let elsewhere = encode("other.example.com", "ci", secret.clone());
        let record = record();
        let refused = server.present_as(&record, &elsewhere).await.unwrap_err();
        assert_eq!(refused, Refusal::Endpoint);
        assert!(record.failure().is_none());
    }
}

#[tokio::test]
async fn a_likely_mistake_has_its_own_reason() {
    use InvalidEncodedCredentials as Invalid;
    let server = Server::start().await;
    let secret = server.create("ci", Role::Admin).await;
    for (sent, reason) in [
        (secret.expose(), Invalid::Secret),
        ("bm90IGEga2V5", Invalid::MissingPart),
        ("\"bm90IGEga2V5\"", Invalid::Quoted),
        ("???", Invalid::NotBase64),
    ] {
        let refused = server.present(sent).await.unwrap_err();
        assert_eq!(refused, Refusal::EncodedCredentials(reason), "{sent}");
        assert!(!refused.to_string().contains(sent));
    }
}

#[tokio::test]
async fn the_use_of_a_secret_is_noted() {
    let server = Server::start().await;
    let encoded = server.encoded("ci").await;
    for seconds in [0, 120] {
        server.clock.advance(seconds);
        server.present(&encoded).await.unwrap();
        server.last_used.flush().await.unwrap();
        let key = server.api_keys.get("ci").await.unwrap();
        assert_eq!(key.secrets[0].last_used_at, Some(server.env.now()));
    }
}
