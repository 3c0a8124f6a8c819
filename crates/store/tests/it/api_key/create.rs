//! Creating keys, and repeating a create.

use std::time::Duration;

use gatekey_core::{
    ApiKey, Application, StoreError,
    api_key::{
        ApplicationType, ConsentMethod, GrantType, LastAdmin, Limits, Replay, ResponseType,
        TokenEndpointAuthMethod,
    },
    store::Created,
};
use gatekey_credentials::Role;

use crate::world::{NOW, World, client_id, entry, later, new_call, new_key, new_secret};

for_each_store!(
    a_created_key_is_found_unchanged,
    an_absent_key_is_none,
    client_ids_are_case_sensitive,
    a_taken_client_id_is_a_conflict,
    a_repeated_create_adds_a_secret,
    a_repeated_create_has_its_own_entry,
    creates_can_be_repeated_up_to_the_limit,
    a_different_call_is_no_repetition,
    an_old_create_cannot_be_repeated,
    a_create_cannot_repeat_onto_a_recreated_key,
    a_create_can_be_repeated_after_a_restart,
);

/// Text that can break a statement, a separator or a parser.
const HOSTILE: &str = "it's \"quoted\" -- %_\\ [\"x\"] ключ 🔑 e\u{301}";

async fn repeat(world: &World, id: &str, call: Replay) -> Result<Created, StoreError> {
    let mut key = new_key(id);
    "repeated".clone_into(&mut key.secrets[0].label);
    world.store().create_key(key, call, entry(NOW, "created again")).await
}

async fn a_created_key_is_found_unchanged(world: &mut World) {
    let plain = world.create("plain").await;
    assert_eq!(world.find("plain").await, Some(plain.clone()));
    let mut second = new_secret("second");
    second.expires_at = Some(later(60));
    second.last_used_at = Some(later(5));
    second.hash.pepper_version = u32::MAX;
    let full = ApiKey {
        organization: HOSTILE.to_owned(),
        roles: Role::ALL.into_iter().collect(),
        application: Application {
            client_name: HOSTILE.to_owned(),
            redirect_uris: vec![HOSTILE.to_owned(), String::new(), "a b\nc,d".to_owned()],
            response_types: vec![ResponseType::Token, ResponseType::IdToken, ResponseType::Code],
            grant_types: vec![
                GrantType::DeviceCode,
                GrantType::Implicit,
                GrantType::Password,
                GrantType::RefreshToken,
                GrantType::ClientCredentials,
                GrantType::AuthorizationCode,
            ],
            application_type: ApplicationType::Native,
            contacts: vec![HOSTILE.to_owned()],
            logo_uri: "https://a.example/logo?x='".to_owned(),
            client_uri: "https://a.example/".to_owned(),
            policy_uri: "https://a.example/policy".to_owned(),
            tos_uri: "https://a.example/tos".to_owned(),
            jwks_uri: "https://a.example/jwks".to_owned(),
            token_endpoint_auth_method: TokenEndpointAuthMethod::ClientSecretPost,
            consent_method: ConsentMethod::Trusted,
        },
        limits: Limits {
            allow_from: ["10.0.0.0/8", "2001:db8::/32"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect(),
            rate: Some("600/m".parse().unwrap()),
            projects: vec!["flytesnacks".to_owned(), "a".to_owned()],
            domains: vec!["development".to_owned()],
        },
        expires_at: Some(later(3600)),
        disabled_at: Some(later(1)),
        epoch: u64::try_from(i64::MAX).unwrap(),
        secrets: vec![new_secret(HOSTILE), second],
        ..new_key("Full.Key_-1")
    };
    let created = world.create_key(full.clone()).await.unwrap();
    assert_eq!(created, full);
    assert_eq!(world.find("Full.Key_-1").await, Some(full.clone()));
    let bare = ApiKey {
        application: Application {
            client_name: String::new(),
            redirect_uris: Vec::new(),
            response_types: Vec::new(),
            grant_types: Vec::new(),
            consent_method: ConsentMethod::None,
            ..full.application
        },
        ..new_key("bare")
    };
    world.create_key(bare.clone()).await.unwrap();
    assert_eq!(world.find("bare").await, Some(bare));
    for role in Role::ALL {
        let key = ApiKey { roles: role.into(), ..new_key(role.as_str()) };
        world.create_key(key.clone()).await.unwrap();
        assert_eq!(world.find(role.as_str()).await, Some(key));
    }
}

async fn an_absent_key_is_none(world: &mut World) {
    world.create("present").await;
    assert_eq!(world.find("absent").await, None);
}

async fn client_ids_are_case_sensitive(world: &mut World) {
    let (upper, lower) = (world.create("CI").await, world.create("ci").await);
    assert_ne!(upper.key_id, lower.key_id);
    assert_eq!(world.find("CI").await, Some(upper));
    assert_eq!(world.find("Ci").await, None);
}

async fn a_taken_client_id_is_a_conflict(world: &mut World) {
    let key = world.create("ci").await;
    let reported = world.mirror.changes();
    assert!(matches!(world.create_key(new_key("ci")).await, Err(StoreError::Conflict)));
    assert_eq!(world.find("ci").await, Some(key));
    assert_eq!(world.ledger_targets().await, ["ci"]);
    assert_eq!(world.mirror.changes(), reported);
}

async fn a_repeated_create_adds_a_secret(world: &mut World) {
    let call = Replay { entry: entry(later(30), "repeated"), ..new_call("request") };
    let first = repeat(world, "ci", call.clone()).await.unwrap();
    let Created::New(first) = first else { panic!("{first:?}") };
    let again = repeat(world, "ci", call).await.unwrap();
    let Created::Replayed(again) = again else { panic!("{again:?}") };
    assert_eq!(again.key_id, first.key_id);
    assert_eq!(again.secrets.len(), 2);
    assert_eq!(again.secrets[0], first.secrets[0], "the secret of the lost answer stays valid");
    assert_eq!((again.created_at, again.updated_at, again.epoch), (NOW, later(30), 1));
    assert_eq!(world.find("ci").await, Some(*again));
}

async fn a_repeated_create_has_its_own_entry(world: &mut World) {
    for _ in 0..2 {
        repeat(world, "ci", new_call("request")).await.unwrap();
    }
    assert_eq!(world.ledger_targets().await, ["created again", "repeated"]);
}

async fn creates_can_be_repeated_up_to_the_limit(world: &mut World) {
    for times in 0..=3 {
        let created = repeat(world, "ci", new_call("request")).await.unwrap();
        let (Created::New(key) | Created::Replayed(key)) = created;
        assert_eq!(key.secrets.len(), times + 1);
    }
    let refused = repeat(world, "ci", new_call("request")).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    assert_eq!(world.find("ci").await.unwrap().secrets.len(), 4);
    assert_eq!(world.ledger_targets().await.len(), 4);
}

async fn a_different_call_is_no_repetition(world: &mut World) {
    let call = new_call("request");
    repeat(world, "ci", call.clone()).await.unwrap();
    for other in [
        Replay { actor: "local:uid=1".to_owned(), ..call.clone() },
        Replay { request_id: "Request".to_owned(), ..call.clone() },
        Replay { digest: [8; 32], ..call.clone() },
        Replay { limit: 0, ..call.clone() },
    ] {
        let refused = repeat(world, "ci", other).await;
        assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    }
    // The same call for another client id creates another key.
    assert!(matches!(repeat(world, "cd", call).await, Ok(Created::New(_))));
}

async fn an_old_create_cannot_be_repeated(world: &mut World) {
    repeat(world, "ci", new_call("request")).await.unwrap();
    let late = Replay { since: NOW.after(Duration::from_micros(1)), ..new_call("request") };
    assert!(matches!(repeat(world, "ci", late).await, Err(StoreError::Conflict)));
    let in_time = Replay { since: NOW, ..new_call("request") };
    assert!(matches!(repeat(world, "ci", in_time).await, Ok(Created::Replayed(_))));
}

async fn a_create_cannot_repeat_onto_a_recreated_key(world: &mut World) {
    repeat(world, "ci", new_call("first")).await.unwrap();
    world.store().delete_key(&client_id("ci"), LastAdmin::Keep, entry(NOW, "ci")).await.unwrap();
    repeat(world, "ci", new_call("second")).await.unwrap();
    let refused = repeat(world, "ci", new_call("first")).await;
    assert!(matches!(refused, Err(StoreError::Conflict)), "{refused:?}");
    assert_eq!(world.find("ci").await.unwrap().secrets.len(), 1);
}

async fn a_create_can_be_repeated_after_a_restart(world: &mut World) {
    repeat(world, "ci", new_call("request")).await.unwrap();
    world.reopen().await;
    assert!(matches!(repeat(world, "ci", new_call("request")).await, Ok(Created::Replayed(_))));
}
