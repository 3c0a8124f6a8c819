//! Revoking tokens individually.

use gatekey_core::{api_key::LastAdmin, token::Revoked};

use crate::world::{NOW, World, client_id, entry, later, new_key, token};

for_each_store!(
    a_revoked_token_is_on_the_deny_list,
    a_token_revoked_twice_counts_once,
    too_many_denials_raise_the_epoch,
    expired_denials_do_not_count,
    expired_denials_are_bounded_too,
    denials_of_other_keys_do_not_count,
    a_token_of_an_absent_key_is_absent,
    a_token_of_an_earlier_key_is_absent,
    denials_survive_a_restart,
);

async fn revoke(
    world: &World,
    key: &gatekey_core::ApiKey,
    jti: &str,
    seconds: u64,
    at: u64,
) -> Revoked {
    let entry = entry(later(at), jti);
    world.store().revoke_token(&key.client_id, token(key, jti, seconds), 3, entry).await.unwrap()
}

async fn a_revoked_token_is_on_the_deny_list(world: &mut World) {
    let key = world.create("ci").await;
    assert_eq!(revoke(world, &key, "x'--", 60, 0).await, Revoked::Denied);
    assert_eq!(world.mirror.known().denials[&key.key_id]["x'--"], later(60));
    assert_eq!(world.find("ci").await, Some(key), "the key does not change");
    assert_eq!(world.ledger_targets().await, ["ci", "x'--"]);
}

async fn a_token_revoked_twice_counts_once(world: &mut World) {
    let key = world.create("ci").await;
    for _ in 0..5 {
        assert_eq!(revoke(world, &key, "a", 60, 0).await, Revoked::Denied);
    }
    for jti in ["b", "c", "a", "b"] {
        assert_eq!(revoke(world, &key, jti, 60, 0).await, Revoked::Denied);
    }
    assert_eq!(world.mirror.denials(key.key_id), 3);
    assert_eq!(world.find("ci").await.unwrap().epoch, key.epoch);
}

async fn too_many_denials_raise_the_epoch(world: &mut World) {
    let key = world.create("ci").await;
    for jti in ["a", "b", "c"] {
        assert_eq!(revoke(world, &key, jti, 60, 0).await, Revoked::Denied);
    }
    assert_eq!(revoke(world, &key, "d", 60, 7).await, Revoked::EpochRaised);
    let raised = world.find("ci").await.unwrap();
    assert_eq!((raised.epoch, raised.updated_at), (key.epoch + 1, later(7)));
    assert_eq!(world.mirror.denials(key.key_id), 0);
    assert_eq!(world.mirror.key("ci"), Some(raised));
    assert_eq!(world.ledger_targets().await, ["ci", "a", "b", "c", "d"]);
    // The deny-list is empty again.
    assert_eq!(revoke(world, &key, "e", 60, 8).await, Revoked::Denied);
}

async fn expired_denials_do_not_count(world: &mut World) {
    let key = world.create("ci").await;
    for (jti, seconds) in [("a", 10), ("b", 11), ("c", 12)] {
        assert_eq!(revoke(world, &key, jti, seconds, 0).await, Revoked::Denied);
    }
    assert_eq!(
        revoke(world, &key, "d", 60, 10).await,
        Revoked::Denied,
        "at 10 the first has expired"
    );
    assert_eq!(revoke(world, &key, "e", 60, 10).await, Revoked::EpochRaised);
}

async fn expired_denials_are_bounded_too(world: &mut World) {
    let key = world.create("ci").await;
    for number in 0..30 {
        let (jti, expires) = (format!("jti-{number}"), 10 + number);
        assert_eq!(revoke(world, &key, &jti, expires, expires - 1).await, Revoked::Denied);
    }
    assert_eq!(revoke(world, &key, "last", 100, 99).await, Revoked::EpochRaised);
    assert_eq!(world.mirror.denials(key.key_id), 0);
}

async fn denials_of_other_keys_do_not_count(world: &mut World) {
    let (one, two) = (world.create("one").await, world.create("two").await);
    for jti in ["a", "b", "c"] {
        assert_eq!(revoke(world, &one, jti, 60, 0).await, Revoked::Denied);
    }
    assert_eq!(revoke(world, &two, "a", 60, 0).await, Revoked::Denied);
    assert_eq!(revoke(world, &one, "d", 60, 0).await, Revoked::EpochRaised);
    assert_eq!((world.mirror.denials(one.key_id), world.mirror.denials(two.key_id)), (0, 1));
    assert_eq!(world.find("two").await, Some(two));
}

async fn a_token_of_an_absent_key_is_absent(world: &mut World) {
    let absent = new_key("absent");
    assert_eq!(revoke(world, &absent, "a", 60, 0).await, Revoked::Absent);
    assert!(world.ledger_targets().await.is_empty());
    assert_eq!(world.mirror.changes(), 0);
}

async fn a_token_of_an_earlier_key_is_absent(world: &mut World) {
    let earlier = world.create("ci").await;
    world
        .store()
        .delete_key(&client_id("ci"), LastAdmin::Keep, entry(NOW, "deleted"))
        .await
        .unwrap();
    let key = world.create("ci").await;
    assert_eq!(revoke(world, &earlier, "a", 60, 0).await, Revoked::Absent);
    assert_eq!(world.mirror.denials(key.key_id), 0);
    assert_eq!(world.ledger_targets().await, ["ci", "deleted", "ci"]);
}

async fn denials_survive_a_restart(world: &mut World) {
    let key = world.create("ci").await;
    revoke(world, &key, "a", 60, 0).await;
    revoke(world, &key, "b", 70, 0).await;
    world.reopen().await;
    let known = world.mirror.known();
    assert_eq!(known.denials[&key.key_id].len(), 2);
    assert_eq!(known.denials[&key.key_id]["b"], later(70));
}
