//! Tests the operations of `gatekey.v1.ApiKeyService`.

use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use gatekey_client::{
    ApiKey, CreateOptions, EncodedCredentials, Role, RotateOptions, SettingsUpdate,
};
use gatekey_proto::{cloudidl::identity::App, gatekey::v1};

use crate::server::{Behavior, CLIENT_ID, SECRET, Server};

fn in_2027() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(500_000)
}

/// An expiry and a label of the secret as well. The key is then looked up on the public API.
#[tokio::test]
async fn a_role_needs_the_api_key_service() {
    let server = Server::start().await;
    let options = CreateOptions {
        role: Some(Role::Admin),
        expires_at: Some(in_2027()),
        secret_label: Some("first".into()),
        ..CreateOptions::new("CI")
    };
    let key = ApiKey::create_with(&server.client(), options).await.unwrap();
    let sent = server.0.record().gatekey_creates.remove(0);
    assert_eq!((sent.client_id.as_str(), sent.client_name.as_str()), ("ci", "ci"));
    assert_eq!(sent.role, v1::Role::ROLE_ADMIN);
    assert_eq!(sent.expires_at.seconds, 1_800_000_000);
    assert_eq!(sent.secret_label, "first");
    assert!(server.0.record().creates.is_empty());
    assert_eq!(key.client_secret(), "s3cret");
    assert_eq!(key.pb2().jwks_uri, "https://only.the.public.api/has-this");
    let encoded = EncodedCredentials::decode(key.encoded_credentials().unwrap()).unwrap();
    assert_eq!(encoded.client_secret().expose(), "s3cret");
}

#[tokio::test]
async fn a_new_secret_survives_a_later_failure() {
    let server = Server::start_with(Behavior { get_is_broken: true, ..Behavior::default() }).await;
    let options = CreateOptions { role: Some(Role::Viewer), ..CreateOptions::new("ci") };
    let key = ApiKey::create_with(&server.client(), options).await.unwrap();
    assert_eq!((key.client_id(), key.client_secret()), ("ci", "s3cret"));
    assert_eq!(key.to_dict()["grantTypes"], serde_json::json!(["CLIENT_CREDENTIALS"]));
}

#[tokio::test]
async fn a_role_conflicts_with_no_role() {
    let server = Server::start().await;
    let options = CreateOptions {
        role: Some(Role::Viewer),
        skip_default_policy_assignments: true,
        ..CreateOptions::new("ci")
    };
    assert!(
        ApiKey::create_with(&server.client(), options).await.unwrap_err().is_invalid_argument()
    );
}

#[tokio::test]
async fn rotate_returns_the_new_secret() {
    let server = Server::start().await;
    server.add_apps(1);
    let options = RotateOptions {
        grace: Duration::from_hours(24),
        label: Some("second".into()),
        expires_at: Some(in_2027()),
    };
    let key = ApiKey::rotate(&server.client(), "key-0000", options).await.unwrap();
    assert_eq!(key.client_secret(), "n3w");
    assert!(key.encoded_credentials().is_some());
    let sent = server.0.record().rotations.remove(0);
    assert_eq!((sent.grace.seconds, sent.secret_label.as_str()), (86_400, "second"));
    assert_eq!(sent.expires_at.seconds, 1_800_000_000);
}

/// The server demands it, and no other server or key has a use for it.
#[tokio::test]
async fn only_rotating_oneself_sends_the_secret() {
    let server = Server::start().await;
    server.add_apps(2);
    let app = App { client_id: CLIENT_ID.into(), ..App::default() };
    server.0.apps().insert(CLIENT_ID.to_owned(), app);
    let client = server.client();
    for (client_id, secret) in [("key-0000", ""), (CLIENT_ID, SECRET), ("key-0001", "")] {
        ApiKey::rotate(&client, client_id, RotateOptions::default()).await.unwrap();
        let sent = server.0.record().rotations.remove(0);
        assert_eq!(sent.current_secret, secret, "{client_id}");
    }
}

#[tokio::test]
async fn details_include_role_epoch_and_secrets() {
    let server = Server::start().await;
    server.add_apps(2);
    let client = server.client();
    let details = ApiKey::details(&client, "key-0000").await.unwrap();
    assert_eq!((details.role, details.epoch, details.disabled_at), (Some(Role::Viewer), 7, None));
    assert_eq!(details.secrets[0].label, "first");
    assert_eq!(
        serde_json::to_value(&details).unwrap(),
        serde_json::json!({
            "clientId": "key-0000", "clientName": "", "keyId": "k1", "role": "viewer", "redirectUris": [],
            "grantTypes": ["client_credentials"], "allowFrom": [],
            "projects": [],
            "domains": [],
            "createdAt": "2023-11-14T22:13:20Z", "epoch": 7,
            "secrets": [{"id": "s1", "label": "first"}], "organization": "",
        })
    );
    let all: Vec<_> = ApiKey::list_details(&client, None).try_collect().await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(server.0.record().pages.clone(), [(1000, String::new())]);

    assert_eq!(ApiKey::disable(&client, "key-0000").await.unwrap().disabled_at, Some(in_2027()));
    assert_eq!(ApiKey::enable(&client, "key-0000").await.unwrap().disabled_at, None);
    assert!(ApiKey::retire_secret(&client, "key-0000", "s1").await.unwrap().secrets.is_empty());
    assert!(ApiKey::details(&client, "absent").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn update_settings_sends_an_exact_field_mask() {
    let server = Server::start().await;
    server.add_apps(1);
    let client = server.client();
    for (update, paths) in [
        (SettingsUpdate { role: Some(None), ..SettingsUpdate::default() }, vec!["role"]),
        (
            SettingsUpdate { expires_at: Some(Some(in_2027())), ..SettingsUpdate::default() },
            vec!["expires_at"],
        ),
        (
            SettingsUpdate {
                client_name: Some("n".into()),
                redirect_uris: Some(Vec::new()),
                ..SettingsUpdate::default()
            },
            vec!["client_name", "redirect_uris"],
        ),
    ] {
        ApiKey::update_settings(&client, "key-0000", update).await.unwrap();
        let sent = server.0.record().gatekey_updates.remove(0);
        assert_eq!(sent.update_mask.paths, paths);
    }
}
