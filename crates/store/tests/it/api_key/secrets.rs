//! Rotating and retiring secrets, and their last use.

use gatekey_core::{
    ApiKeyPatch, SecretId,
    api_key::{LastAdmin, Rotation},
    store::Rotated,
};

use crate::world::{NOW, World, client_id, entry, later, rotation_at, token};

for_each_store!(
    a_rotation_with_grace_keeps_the_old_secret,
    a_rotation_without_grace_revokes_secrets_and_tokens,
    a_rotation_never_extends_a_secret,
    secrets_stay_in_the_order_of_creation,
    a_rotation_beyond_the_limit_changes_nothing,
    secrets_ended_by_a_rotation_do_not_count,
    a_rotation_keeps_the_newest_expired_secrets,
    a_rotation_for_an_earlier_key_is_absent,
    a_retired_secret_proves_no_rotation,
    a_rotation_of_an_absent_key_is_absent,
    retiring_a_secret_leaves_the_others_valid,
    retiring_an_expired_secret_keeps_its_date,
    a_retired_secret_is_never_valid_again,
    retiring_an_absent_secret_has_no_effect,
    only_a_later_use_is_recorded,
    a_use_of_a_deleted_secret_is_ignored,
    a_use_has_no_entry_and_no_report,
);

fn done(rotated: Rotated) -> gatekey_core::ApiKey {
    match rotated {
        Rotated::Done(key) => *key,
        Rotated::TooManySecrets | Rotated::Unproven | Rotated::Absent => panic!("{rotated:?}"),
    }
}

async fn a_retired_secret_is_never_valid_again(world: &mut World) {
    world.create("rotated").await;
    let retired = world.create("retired").await;
    world.rotate("rotated", rotation_at(later(100), 0)).await;
    let entry_at = |at| entry(later(at), "retired");
    world
        .store()
        .retire_secret(&retired.client_id, retired.secrets[0].id, LastAdmin::Keep, entry_at(100))
        .await
        .unwrap();
    for id in ["rotated", "retired"] {
        let patch = ApiKeyPatch { logo_uri: Some("x".to_owned()), ..ApiKeyPatch::default() };
        // The clock was set back.
        world
            .store()
            .update_key(&client_id(id), patch, LastAdmin::Keep, entry_at(10))
            .await
            .unwrap();
        let key = world.mirror.key(id).unwrap();
        assert_eq!(key.secrets[0].expires_at, Some(later(100)));
        for at in [0, 9, 99, 100, 101] {
            assert!(!key.secrets[0].is_valid_at(later(at)), "{id} at {at}");
        }
    }
}

async fn a_rotation_with_grace_keeps_the_old_secret(world: &mut World) {
    let key = world.create("ci").await;
    let denied = token(&key, "a", 600);
    world.store().revoke_token(&key.client_id, denied, 9, entry(NOW, "ci")).await.unwrap();
    let rotation = rotation_at(later(10), 100);
    let rotated = done(world.rotate("ci", rotation.clone()).await);
    assert_eq!(rotated.secrets.len(), 2);
    assert!(rotated.secrets[0].is_valid_at(later(109)));
    assert!(!rotated.secrets[0].is_valid_at(later(110)));
    assert_eq!(rotated.secrets[1], rotation.secret);
    assert_eq!((rotated.epoch, rotated.updated_at), (key.epoch, later(10)));
    assert_eq!(world.find("ci").await, Some(rotated));
    assert_eq!(
        world.mirror.denials(key.key_id),
        1,
        "the epoch is the same, so the denial is needed"
    );
}

async fn a_rotation_without_grace_revokes_secrets_and_tokens(world: &mut World) {
    let key = world.create("ci").await;
    world
        .store()
        .revoke_token(&key.client_id, token(&key, "a", 60), 9, entry(NOW, "ci"))
        .await
        .unwrap();
    let rotated = done(world.rotate("ci", rotation_at(later(10), 0)).await);
    assert!(!rotated.secrets[0].is_valid_at(later(10)));
    assert!(rotated.secrets[1].is_valid_at(later(10)));
    assert_eq!(rotated.epoch, key.epoch + 1);
    assert_eq!(world.find("ci").await, Some(rotated));
    assert_eq!(world.mirror.denials(key.key_id), 0);
}

async fn a_rotation_never_extends_a_secret(world: &mut World) {
    world.create("ci").await;
    done(world.rotate("ci", rotation_at(later(0), 50)).await);
    let rotated = done(world.rotate("ci", rotation_at(later(10), 1000)).await);
    let ends: Vec<_> = rotated.secrets.iter().map(|secret| secret.expires_at).collect();
    assert_eq!(ends, [Some(later(50)), Some(later(1010)), None]);
    assert_eq!(world.find("ci").await, Some(rotated));
}

async fn secrets_stay_in_the_order_of_creation(world: &mut World) {
    world.create("ci").await;
    for label in ["b", "a", "c", "B", "0"] {
        let mut rotation = rotation_at(NOW, 600);
        label.clone_into(&mut rotation.secret.label);
        done(world.rotate("ci", rotation).await);
    }
    let labels = |key: gatekey_core::ApiKey| -> Vec<String> {
        key.secrets.into_iter().map(|secret| secret.label).collect()
    };
    let expected = ["first", "b", "a", "c", "B", "0"];
    assert_eq!(labels(world.find("ci").await.unwrap()), expected);
    world.reopen().await;
    assert_eq!(labels(world.mirror.key("ci").unwrap()), expected);
    let listed = world
        .store()
        .list_keys(gatekey_core::api_key::list::Selection::default(), 9)
        .await
        .unwrap();
    assert_eq!(labels(listed.into_iter().next().unwrap()), expected);
}

async fn a_rotation_beyond_the_limit_changes_nothing(world: &mut World) {
    world.create("ci").await;
    let key = done(world.rotate("ci", Rotation { max_secrets: 2, ..rotation_at(NOW, 600) }).await);
    let reported = world.mirror.changes();
    let refused =
        world.rotate("ci", Rotation { max_secrets: 2, ..rotation_at(later(1), 60) }).await;
    assert_eq!(refused, Rotated::TooManySecrets);
    assert_eq!(world.find("ci").await, Some(key));
    assert_eq!(world.ledger_targets().await.len(), 2);
    assert_eq!(world.mirror.changes(), reported);
}

async fn secrets_ended_by_a_rotation_do_not_count(world: &mut World) {
    world.create("ci").await;
    done(world.rotate("ci", Rotation { max_secrets: 2, ..rotation_at(NOW, 600) }).await);
    let rotated = world.rotate("ci", Rotation { max_secrets: 1, ..rotation_at(later(1), 0) }).await;
    let key = done(rotated);
    let valid: Vec<_> = key.secrets.iter().filter(|secret| secret.is_valid_at(later(1))).collect();
    assert_eq!(valid, [key.secrets.last().unwrap()]);
}

async fn a_rotation_keeps_the_newest_expired_secrets(world: &mut World) {
    world.create("ci").await;
    let mut given = Vec::new();
    for minute in 0..6 {
        let rotation = Rotation { max_secrets: 3, ..rotation_at(later(minute * 60), 0) };
        given.push(rotation.secret.id);
        let key = done(world.rotate("ci", rotation).await);
        assert!(key.secrets.len() <= 4, "three expired ones and the new one");
    }
    let kept: Vec<_> =
        world.find("ci").await.unwrap().secrets.iter().map(|secret| secret.id).collect();
    assert_eq!(kept, given[2..]);
}

async fn a_rotation_for_an_earlier_key_is_absent(world: &mut World) {
    let earlier = world.create("ci").await;
    world
        .store()
        .delete_key(&client_id("ci"), LastAdmin::Keep, entry(NOW, "deleted"))
        .await
        .unwrap();
    let key = world.create("ci").await;
    let meant = |key_id| Rotation { only_key: Some(key_id), ..rotation_at(NOW, 60) };
    assert_eq!(world.rotate("ci", meant(earlier.key_id)).await, Rotated::Absent);
    assert_eq!(world.find("ci").await, Some(key.clone()));
    assert_eq!(world.ledger_targets().await, ["ci", "deleted", "ci"]);
    done(world.rotate("ci", meant(key.key_id)).await);
}

async fn a_retired_secret_proves_no_rotation(world: &mut World) {
    let before = world.create("ci").await;
    let proof = before.secrets[0].id;
    let rotate = || Rotation { proven_by: Some(proof), ..rotation_at(NOW, 60) };
    let key = done(world.rotate("ci", rotate()).await);
    let retire = LastAdmin::Keep;
    world.store().retire_secret(&client_id("ci"), proof, retire, entry(NOW, "ci")).await.unwrap();
    assert_eq!(world.rotate("ci", rotate()).await, Rotated::Unproven);
    let after = world.find("ci").await.unwrap();
    assert_eq!(after.secrets.last(), key.secrets.last());
}

async fn a_rotation_of_an_absent_key_is_absent(world: &mut World) {
    assert_eq!(world.rotate("absent", rotation_at(NOW, 0)).await, Rotated::Absent);
    assert!(world.ledger_targets().await.is_empty());
}

async fn retiring_a_secret_leaves_the_others_valid(world: &mut World) {
    let key = world.create("ci").await;
    done(world.rotate("ci", rotation_at(NOW, 600)).await);
    let first = key.secrets[0].id;
    let retired = world
        .store()
        .retire_secret(&key.client_id, first, LastAdmin::Keep, entry(later(5), "ci"))
        .await
        .unwrap();
    let retired = retired.unwrap();
    assert_eq!(retired.secrets[0].expires_at, Some(later(5)));
    assert!(retired.secrets[1].is_valid_at(later(5)));
    assert_eq!((retired.epoch, retired.updated_at), (key.epoch, later(5)));
    assert_eq!(world.find("ci").await, Some(retired));
}

async fn retiring_an_expired_secret_keeps_its_date(world: &mut World) {
    let key = world.create("ci").await;
    let first = key.secrets[0].id;
    for at in [later(5), later(50)] {
        let retired = world
            .store()
            .retire_secret(&key.client_id, first, LastAdmin::Keep, entry(at, "ci"))
            .await
            .unwrap();
        assert_eq!(retired.unwrap().secrets[0].expires_at, Some(later(5)));
    }
    assert_eq!(world.ledger_targets().await.len(), 3);
}

async fn retiring_an_absent_secret_has_no_effect(world: &mut World) {
    let key = world.create("ci").await;
    let other = world.create("other").await;
    for (id, secret) in [("ci", other.secrets[0].id), ("absent", key.secrets[0].id)] {
        let retired = world
            .store()
            .retire_secret(&client_id(id), secret, LastAdmin::Keep, entry(NOW, "none"))
            .await
            .unwrap();
        assert_eq!(retired, None, "{id}");
    }
    assert_eq!(world.find("other").await, Some(other));
    assert_eq!(world.ledger_targets().await, ["ci", "other"]);
}

async fn only_a_later_use_is_recorded(world: &mut World) {
    let (one, two) =
        (world.create("one").await.secrets[0].id, world.create("two").await.secrets[0].id);
    let last_used = async |id: &str| world.find(id).await.unwrap().secrets[0].last_used_at;
    assert_eq!(last_used("one").await, None);
    world.store().record_last_used(vec![(one, later(9)), (two, later(3))]).await.unwrap();
    assert_eq!((last_used("one").await, last_used("two").await), (Some(later(9)), Some(later(3))));
    world.store().record_last_used(vec![(one, later(8)), (two, later(4))]).await.unwrap();
    assert_eq!((last_used("one").await, last_used("two").await), (Some(later(9)), Some(later(4))));
}

async fn a_use_of_a_deleted_secret_is_ignored(world: &mut World) {
    let id = world.create("ci").await.secrets[0].id;
    let gone: SecretId = "00000000000000ff".parse().unwrap();
    world.store().record_last_used(vec![(gone, NOW), (id, NOW)]).await.unwrap();
    assert_eq!(world.find("ci").await.unwrap().secrets[0].last_used_at, Some(NOW));
    world.store().record_last_used(Vec::new()).await.unwrap();
}

async fn a_use_has_no_entry_and_no_report(world: &mut World) {
    let key = world.create("ci").await;
    let reported = world.mirror.changes();
    world.store().record_last_used(vec![(key.secrets[0].id, later(1))]).await.unwrap();
    assert_eq!(world.mirror.changes(), reported);
    assert_eq!(world.ledger_targets().await.len(), 1);
    assert_eq!(world.find("ci").await.unwrap().updated_at, key.updated_at);
}
