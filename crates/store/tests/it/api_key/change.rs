//! Updating, disabling, enabling and deleting keys.

use gatekey_core::{
    ApiKey, ApiKeyPatch, StoreError,
    api_key::{
        ApplicationType, Assignment, GrantType, LastAdmin, ResponseType, Switch,
        TokenEndpointAuthMethod, raised_epoch,
    },
    network::Networks,
    store::Assigned,
};
use gatekey_credentials::Role;

use crate::world::{NOW, World, client_id, entry, later, new_key, token};

for_each_store!(
    an_update_changes_only_the_named_fields,
    an_update_can_change_every_field,
    a_role_and_an_expiry_can_be_removed,
    limits_can_be_lifted,
    an_update_keeps_secrets_and_tokens,
    a_narrower_role_revokes_a_keys_tokens,
    roles_are_assigned_one_by_one,
    the_last_usable_admin_is_kept,
    changing_an_absent_key_has_no_effect,
    disabling_revokes_a_keys_tokens,
    enabling_restores_no_token,
    a_redundant_switch_is_still_in_the_ledger,
    deleting_a_key_deletes_everything_it_had,
    a_reused_client_id_is_another_key,
    raising_all_epochs_revokes_every_token,
);

fn everything() -> ApiKeyPatch {
    ApiKeyPatch {
        client_name: Some("O'Reilly".to_owned()),
        redirect_uris: Some(vec!["https://b.example/".to_owned()]),
        response_types: Some(vec![ResponseType::IdToken]),
        grant_types: Some(vec![GrantType::RefreshToken]),
        application_type: Some(ApplicationType::Native),
        contacts: Some(vec!["a@b.example".to_owned(), "c@b.example".to_owned()]),
        logo_uri: Some("https://b.example/1".to_owned()),
        client_uri: Some("https://b.example/2".to_owned()),
        policy_uri: Some("https://b.example/3".to_owned()),
        tos_uri: Some("https://b.example/4".to_owned()),
        jwks_uri: Some("https://b.example/5".to_owned()),
        token_endpoint_auth_method: Some(TokenEndpointAuthMethod::ClientSecretPost),
        role: Some(Some(Role::Admin)),
        expires_at: Some(Some(later(9))),
        allow_from: Some(["10.0.0.0/8".parse().unwrap()].into_iter().collect()),
        rate: Some(Some("5/h".parse().unwrap())),
        projects: Some(vec!["flytesnacks".to_owned()]),
        domains: Some(vec!["development".to_owned()]),
    }
}

async fn an_update_changes_only_the_named_fields(world: &mut World) {
    let mut key = world.create("ci").await;
    let patch =
        ApiKeyPatch { contacts: Some(vec!["a@b.example".to_owned()]), ..ApiKeyPatch::default() };
    let updated = world
        .store()
        .update_key(&key.client_id, patch, LastAdmin::Keep, entry(later(5), "ci"))
        .await
        .unwrap();
    key.application.contacts = vec!["a@b.example".to_owned()];
    key.updated_at = later(5);
    assert_eq!(updated.as_ref(), Some(&key));
    assert_eq!(world.find("ci").await, updated);
    assert_eq!(world.mirror.key("ci"), updated);
}

async fn an_update_can_change_every_field(world: &mut World) {
    let mut key = world.create("ci").await;
    let other = world.create("other").await;
    let updated = world
        .store()
        .update_key(&key.client_id, everything(), LastAdmin::Keep, entry(later(5), "ci"))
        .await
        .unwrap();
    everything().apply(&mut key, later(5));
    assert_eq!(updated, Some(key.clone()));
    assert_eq!(world.find("ci").await, Some(key));
    assert_eq!(world.find("other").await, Some(other));
}

async fn a_role_and_an_expiry_can_be_removed(world: &mut World) {
    let key = world.create("ci").await;
    world
        .store()
        .update_key(&key.client_id, everything(), LastAdmin::Keep, entry(NOW, "ci"))
        .await
        .unwrap();
    let patch = ApiKeyPatch { role: Some(None), expires_at: Some(None), ..ApiKeyPatch::default() };
    world
        .store()
        .update_key(&key.client_id, patch, LastAdmin::Keep, entry(NOW, "ci"))
        .await
        .unwrap();
    let key = world.find("ci").await.unwrap();
    assert_eq!((key.role(), key.expires_at), (None, None));
}

async fn limits_can_be_lifted(world: &mut World) {
    let key = world.create("ci").await;
    let store = world.store();
    let limited = store
        .update_key(&key.client_id, everything(), LastAdmin::Keep, entry(later(5), "ci"))
        .await
        .unwrap();
    assert!(limited.is_some_and(|key| !key.limits.is_none()));
    let lift = ApiKeyPatch {
        allow_from: Some(Networks::default()),
        rate: Some(None),
        projects: Some(Vec::new()),
        domains: Some(Vec::new()),
        ..ApiKeyPatch::default()
    };
    let lifted = store
        .update_key(&key.client_id, lift, LastAdmin::Keep, entry(later(6), "ci"))
        .await
        .unwrap();
    assert!(lifted.is_some_and(|key| key.limits.is_none()));
    assert!(world.find("ci").await.is_some_and(|key| key.limits.is_none()));
}

async fn an_update_keeps_secrets_and_tokens(world: &mut World) {
    let key = world.create("ci").await;
    let updated = world
        .store()
        .update_key(&key.client_id, everything(), LastAdmin::Keep, entry(later(5), "ci"))
        .await
        .unwrap();
    let updated = updated.unwrap();
    assert_eq!((updated.epoch, updated.secrets), (key.epoch, key.secrets));
}

async fn a_narrower_role_revokes_a_keys_tokens(world: &mut World) {
    let key = world.create("ci").await;
    let change = async |role| {
        let patch = ApiKeyPatch { role: Some(role), ..ApiKeyPatch::default() };
        world
            .store()
            .update_key(&key.client_id, patch, LastAdmin::Keep, entry(later(5), "ci"))
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!(change(Some(Role::Admin)).await.epoch, key.epoch, "a role is looked up at each use");
    world
        .store()
        .revoke_token(&key.client_id, token(&key, "a", 60), 9, entry(NOW, "ci"))
        .await
        .unwrap();
    world.create_admin("other").await;
    assert_eq!(change(Some(Role::Viewer)).await.epoch, key.epoch + 1, "its tokens say `all`");
    assert_eq!(world.mirror.denials(key.key_id), 0);
    assert_eq!(change(None).await.epoch, key.epoch + 2, "its tokens say `read`");
    assert_eq!(change(None).await.epoch, key.epoch + 2, "it had none to lose");
    assert_eq!(change(Some(Role::Admin)).await.epoch, key.epoch + 2);
}

async fn roles_are_assigned_one_by_one(world: &mut World) {
    let key = world.create("ci").await;
    let store = world.store();
    let assign = async |assignment| {
        let entry = entry(later(5), "ci");
        store.assign_role(&key.client_id, assignment, LastAdmin::Keep, entry).await.unwrap()
    };
    for (assignment, roles) in [
        (Assignment::Assign(Role::Viewer), &[Role::Contributor, Role::Viewer][..]),
        (Assignment::Assign(Role::Viewer), &[Role::Contributor, Role::Viewer]),
        (Assignment::Assign(Role::Verifier), &[Role::Contributor, Role::Viewer, Role::Verifier]),
        (Assignment::Unassign(Role::Contributor), &[Role::Viewer, Role::Verifier]),
        (Assignment::Unassign(Role::Viewer), &[Role::Verifier]),
        (Assignment::Unassign(Role::Verifier), &[]),
    ] {
        let Assigned::Done(changed) = assign(assignment).await else { panic!("{assignment:?}") };
        assert!(changed.roles.iter().eq(roles.iter().copied()), "{assignment:?} {changed:?}");
        assert_eq!(world.find("ci").await.as_ref(), Some(&*changed));
        assert_eq!(world.mirror.key("ci").as_ref(), Some(&*changed));
    }
    assert_eq!(assign(Assignment::Unassign(Role::Viewer)).await, Assigned::NotHeld);
    let (absent, assignment) = (client_id("absent"), Assignment::Assign(Role::Viewer));
    let outcome = store.assign_role(&absent, assignment, LastAdmin::Keep, entry(NOW, "absent"));
    assert_eq!(outcome.await.unwrap(), Assigned::Absent);
    assert_eq!(world.ledger_targets().await.len(), 7);
}

async fn the_last_usable_admin_is_kept(world: &mut World) {
    let admin = world.create_admin("admin").await;
    let unusable =
        ApiKey { roles: Role::Admin.into(), disabled_at: Some(NOW), ..new_key("disabled") };
    world.create_key(unusable).await.unwrap();
    let expired =
        ApiKey { roles: Role::Admin.into(), expires_at: Some(later(5)), ..new_key("expired") };
    world.create_key(expired).await.unwrap();
    let store = world.store();
    let lose = async |last_admin, seconds| {
        let assignment = Assignment::Unassign(Role::Admin);
        store
            .assign_role(&admin.client_id, assignment, last_admin, entry(later(seconds), "a"))
            .await
    };
    assert!(matches!(lose(LastAdmin::Keep, 5).await, Err(StoreError::LastAdmin)));
    assert_eq!(world.find("admin").await, Some(admin.clone()));
    assert!(matches!(lose(LastAdmin::Keep, 4).await, Ok(Assigned::Done(_))));
    world
        .store()
        .delete_key(&client_id("expired"), LastAdmin::Keep, entry(later(5), "e"))
        .await
        .unwrap();
    let outcome = world.store().delete_key(&admin.client_id, LastAdmin::Keep, entry(later(5), "a"));
    assert_eq!(outcome.await.unwrap(), Some(admin.key_id), "it is no admin any longer");
    assert!(matches!(lose(LastAdmin::Release, 5).await, Ok(Assigned::Absent)));
}

async fn changing_an_absent_key_has_no_effect(world: &mut World) {
    let absent = client_id("absent");
    let store = world.store();
    assert_eq!(
        store
            .update_key(&absent, everything(), LastAdmin::Keep, entry(NOW, "absent"))
            .await
            .unwrap(),
        None
    );
    for switch in [Switch::Disable, Switch::Enable] {
        assert_eq!(
            store.switch_key(&absent, switch, LastAdmin::Keep, entry(NOW, "absent")).await.unwrap(),
            None
        );
    }
    assert_eq!(
        store.delete_key(&absent, LastAdmin::Keep, entry(NOW, "absent")).await.unwrap(),
        None
    );
    assert!(world.ledger_targets().await.is_empty());
    assert_eq!(world.mirror.changes(), 0);
}

async fn disabling_revokes_a_keys_tokens(world: &mut World) {
    let key = world.create("ci").await;
    world
        .store()
        .revoke_token(&key.client_id, token(&key, "a", 60), 9, entry(NOW, "ci"))
        .await
        .unwrap();
    assert_eq!(world.mirror.denials(key.key_id), 1);
    let switch = Switch::Disable;
    let disabled = world
        .store()
        .switch_key(&key.client_id, switch, LastAdmin::Keep, entry(later(5), "ci"))
        .await
        .unwrap();
    let disabled = disabled.unwrap();
    assert_eq!(disabled.disabled_at, Some(later(5)));
    assert_eq!((disabled.epoch, disabled.updated_at), (key.epoch + 1, later(5)));
    assert_eq!(world.find("ci").await, Some(disabled));
    assert_eq!(world.mirror.denials(key.key_id), 0, "the new epoch revokes the denied tokens too");
}

async fn enabling_restores_no_token(world: &mut World) {
    let key = world.create("ci").await;
    world
        .store()
        .switch_key(&key.client_id, Switch::Disable, LastAdmin::Keep, entry(NOW, "ci"))
        .await
        .unwrap();
    let switch = Switch::Enable;
    let enabled = world
        .store()
        .switch_key(&key.client_id, switch, LastAdmin::Keep, entry(later(7), "ci"))
        .await
        .unwrap();
    let enabled = enabled.unwrap();
    assert_eq!(
        (enabled.disabled_at, enabled.epoch, enabled.updated_at),
        (None, key.epoch + 1, later(7))
    );
    assert_eq!(world.find("ci").await, Some(enabled));
}

async fn a_redundant_switch_is_still_in_the_ledger(world: &mut World) {
    let key = world.create("ci").await;
    let store = world.store();
    let same = store
        .switch_key(&key.client_id, Switch::Enable, LastAdmin::Keep, entry(later(1), "on"))
        .await
        .unwrap();
    assert_eq!(same, Some(key.clone()));
    let off = store
        .switch_key(&key.client_id, Switch::Disable, LastAdmin::Keep, entry(later(2), "off"))
        .await
        .unwrap();
    let same = store
        .switch_key(&key.client_id, Switch::Disable, LastAdmin::Keep, entry(later(3), "off"))
        .await
        .unwrap();
    assert_eq!(same, off, "neither the date nor the epoch changes again");
    assert_eq!(world.find("ci").await, off);
    assert_eq!(world.ledger_targets().await, ["ci", "on", "off", "off"]);
}

async fn deleting_a_key_deletes_everything_it_had(world: &mut World) {
    let key = world.create("ci").await;
    let other = world.create("other").await;
    for key in [&key, &other] {
        let denied = token(key, "a", 60);
        world.store().revoke_token(&key.client_id, denied, 9, entry(NOW, "revoked")).await.unwrap();
    }
    let deleted = world
        .store()
        .delete_key(&key.client_id, LastAdmin::Keep, entry(NOW, "deleted"))
        .await
        .unwrap();
    assert_eq!(deleted, Some(key.key_id));
    assert_eq!(world.find("ci").await, None);
    assert_eq!(world.mirror.key("ci"), None);
    assert_eq!(world.find("other").await, Some(other));
    // Nothing of the key remains after a restart.
    world.reopen().await;
    assert_eq!(world.mirror.known().keys.len(), 1);
    assert_eq!(world.mirror.denials(key.key_id), 0);
    assert_eq!(world.ledger_targets().await.last().map(String::as_str), Some("deleted"));
    assert_eq!(
        world
            .store()
            .delete_key(&key.client_id, LastAdmin::Keep, entry(NOW, "again"))
            .await
            .unwrap(),
        None
    );
}

async fn a_reused_client_id_is_another_key(world: &mut World) {
    let first = world.create("ci").await;
    world.store().delete_key(&first.client_id, LastAdmin::Keep, entry(NOW, "ci")).await.unwrap();
    let second = world.create("ci").await;
    assert_ne!(first.key_id, second.key_id);
    assert_eq!(world.find("ci").await, Some(second.clone()));
    assert_eq!(second.secrets.len(), 1);
}

async fn raising_all_epochs_revokes_every_token(world: &mut World) {
    let least = 50;
    let mut keys = Vec::new();
    for (id, epoch) in [("low", 1), ("equal", least), ("high", least + 7)] {
        keys.push(world.create_key(ApiKey { epoch, ..new_key(id) }).await.unwrap());
    }
    let denied = token(&keys[0], "a", 60);
    world.store().revoke_token(&keys[0].client_id, denied, 9, entry(NOW, "revoked")).await.unwrap();
    assert_eq!(world.store().raise_epochs(least, entry(NOW, "restored")).await.unwrap(), 3);
    world.reopen().await;
    for key in keys {
        let raised = ApiKey { epoch: raised_epoch(key.epoch, least), ..key };
        assert_eq!(world.mirror.key(raised.client_id.as_str()), Some(raised.clone()));
        assert_eq!(world.mirror.denials(raised.key_id), 0);
    }
    assert_eq!(world.ledger_targets().await.last().map(String::as_str), Some("restored"));
}
