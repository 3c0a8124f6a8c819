//! Rotating and retiring signing keys.

use gatekey_core::signing_key::{SealedSigningKey, SigningKeyAdded, SigningKeyRetired};
use gatekey_credentials::jwt::Algorithm;

use crate::world::{NOW, World, add_signing_key, entry, later};

for_each_store!(
    replaced_signing_keys_stay_published_for_a_while,
    signing_keys_are_reported_in_order,
    signing_keys_survive_a_restart,
    a_replaced_signing_key_can_be_retired_early,
    an_overtaken_rotation_changes_nothing,
);

fn signing_key(kid: &str, algorithm: Algorithm, seconds: u64) -> SealedSigningKey {
    SealedSigningKey {
        kid: kid.to_owned(),
        algorithm,
        sealed: vec![0, 255, 39, 0, 7],
        created_at: later(seconds),
        signs_from: later(seconds),
        published_until: None,
        high_s_until: None,
    }
}

async fn rotate(world: &World, key: SealedSigningKey, until: u64) {
    add_signing_key(&**world.store(), key, later(until), entry(NOW, "rotated")).await;
}

async fn replaced_signing_keys_stay_published_for_a_while(world: &mut World) {
    assert_eq!(world.store().signing_keys().await.unwrap(), []);
    rotate(world, signing_key("one", Algorithm::ES256, 0), 100).await;
    rotate(world, signing_key("two", Algorithm::RS256, 1), 101).await;
    rotate(world, signing_key("three", Algorithm::ES256, 2), 5000).await;
    let one = SealedSigningKey {
        published_until: Some(later(101)),
        ..signing_key("one", Algorithm::ES256, 0)
    };
    let two = SealedSigningKey {
        published_until: Some(later(5000)),
        ..signing_key("two", Algorithm::RS256, 1)
    };
    let three = signing_key("three", Algorithm::ES256, 2);
    assert_eq!(world.store().signing_keys().await.unwrap(), [one, two, three]);
    assert_eq!(world.ledger_targets().await, ["rotated"; 3]);
}

async fn signing_keys_are_reported_in_order(world: &mut World) {
    // Created at the same time, with ids not in alphabetical order.
    for kid in ["b", "a", "c"] {
        rotate(world, signing_key(kid, Algorithm::ES256, 0), 100).await;
    }
    let reported = world.mirror.known().signing_keys.clone();
    assert_eq!(reported, world.store().signing_keys().await.unwrap());
    assert_eq!(reported.iter().map(|key| &*key.kid).collect::<Vec<_>>(), ["b", "a", "c"]);
}

async fn signing_keys_survive_a_restart(world: &mut World) {
    rotate(world, signing_key("one", Algorithm::EdDSA, 0), 100).await;
    world.reopen().await;
    assert_eq!(world.mirror.known().signing_keys, [signing_key("one", Algorithm::EdDSA, 0)]);
}

async fn a_replaced_signing_key_can_be_retired_early(world: &mut World) {
    rotate(world, signing_key("one", Algorithm::ES256, 0), 100).await;
    rotate(world, signing_key("two", Algorithm::ES256, 1), 5000).await;
    let retire = async |kid: &str| {
        world.store().retire_signing_key(kid, entry(later(9), kid)).await.unwrap()
    };
    assert_eq!(retire("two").await, SigningKeyRetired::Signs);
    assert_eq!(retire("three").await, SigningKeyRetired::Absent);
    assert_eq!(retire("one").await, SigningKeyRetired::Done);
    let known = world.mirror.known().signing_keys.clone();
    assert_eq!(known, world.store().signing_keys().await.unwrap());
    let dates: Vec<_> = known.iter().map(|key| key.published_until).collect();
    assert_eq!(dates, [Some(later(9)), None]);
    let later_still = entry(later(99), "one");
    world.store().retire_signing_key("one", later_still).await.unwrap();
    assert_eq!(world.store().signing_keys().await.unwrap()[0].published_until, Some(later(9)));
    assert_eq!(world.ledger_targets().await, ["rotated", "rotated", "one", "one"]);
}

/// Two nodes that both find the signing key too old must not both replace it.
async fn an_overtaken_rotation_changes_nothing(world: &mut World) {
    rotate(world, signing_key("one", Algorithm::ES256, 0), 100).await;
    rotate(world, signing_key("two", Algorithm::ES256, 1), 5000).await;
    for after in [None, Some("one"), Some("three")] {
        let key = signing_key("late", Algorithm::ES256, 2);
        let late = world.store().rotate_signing_key(key, after, later(9), entry(NOW, "late"));
        assert_eq!(late.await.unwrap(), SigningKeyAdded::Overtaken, "{after:?}");
    }
    let keys = world.store().signing_keys().await.unwrap();
    assert_eq!(keys.iter().map(|key| &*key.kid).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!(world.ledger_targets().await, ["rotated", "rotated"]);
}
