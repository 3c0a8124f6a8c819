//! Signing keys and sealed bytes.

use gatekey_core::signing_key::{SealedSigningKey, SigningKeyRetired};
use gatekey_credentials::jwt::Algorithm;

use crate::world::{NOW, World, entry, later};

for_each_store!(
    the_newest_signing_key_signs_and_the_others_are_published_for_a_while,
    signing_keys_are_told_whole_and_in_order,
    signing_keys_are_known_after_a_restart,
    a_key_that_signs_no_more_can_be_retired_before_its_time,
    sealed_bytes_are_found_under_their_name,
    sealed_bytes_take_the_place_of_earlier_ones,
);

fn signing_key(kid: &str, algorithm: Algorithm, seconds: u64) -> SealedSigningKey {
    SealedSigningKey {
        kid: kid.to_owned(),
        algorithm,
        sealed: vec![0, 255, 39, 0, 7],
        created_at: later(seconds),
        published_until: None,
    }
}

async fn rotate(world: &World, key: SealedSigningKey, until: u64) {
    world.store().rotate_signing_key(key, later(until), entry(NOW, "rotated")).await.unwrap();
}

async fn the_newest_signing_key_signs_and_the_others_are_published_for_a_while(world: &mut World) {
    assert_eq!(world.store().signing_keys().await.unwrap(), []);
    rotate(world, signing_key("one", Algorithm::ES256, 0), 100).await;
    rotate(world, signing_key("two", Algorithm::RS256, 1), 101).await;
    rotate(world, signing_key("three", Algorithm::ES256, 2), 5000).await;
    let one =
        SealedSigningKey { published_until: Some(later(101)), ..signing_key("one", Algorithm::ES256, 0) };
    let two =
        SealedSigningKey { published_until: Some(later(5000)), ..signing_key("two", Algorithm::RS256, 1) };
    let three = signing_key("three", Algorithm::ES256, 2);
    assert_eq!(world.store().signing_keys().await.unwrap(), [one, two, three]);
    assert_eq!(world.ledger_targets().await, ["rotated"; 3]);
}

async fn signing_keys_are_told_whole_and_in_order(world: &mut World) {
    // The same instant and names against the alphabet: the order is that of making.
    for kid in ["b", "a", "c"] {
        rotate(world, signing_key(kid, Algorithm::ES256, 0), 100).await;
    }
    let told = world.mirror.known().signing_keys.clone();
    assert_eq!(told, world.store().signing_keys().await.unwrap());
    assert_eq!(told.iter().map(|key| &*key.kid).collect::<Vec<_>>(), ["b", "a", "c"]);
}

async fn signing_keys_are_known_after_a_restart(world: &mut World) {
    rotate(world, signing_key("one", Algorithm::EdDSA, 0), 100).await;
    world.reopen().await;
    assert_eq!(world.mirror.known().signing_keys, [signing_key("one", Algorithm::EdDSA, 0)]);
}

async fn a_key_that_signs_no_more_can_be_retired_before_its_time(world: &mut World) {
    rotate(world, signing_key("one", Algorithm::ES256, 0), 100).await;
    rotate(world, signing_key("two", Algorithm::ES256, 1), 5000).await;
    let retire = async |kid: &str| world.store().retire_signing_key(kid, entry(later(9), kid)).await.unwrap();
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

async fn sealed_bytes_are_found_under_their_name(world: &mut World) {
    world.store().put_sealed("ca", vec![0, 1, 255]).await.unwrap();
    world.store().put_sealed("", Vec::new()).await.unwrap();
    assert_eq!(world.store().find_sealed("ca").await.unwrap(), Some(vec![0, 1, 255]));
    assert_eq!(world.store().find_sealed("").await.unwrap(), Some(Vec::new()));
    assert_eq!(world.store().find_sealed("CA").await.unwrap(), None);
}

async fn sealed_bytes_take_the_place_of_earlier_ones(world: &mut World) {
    for bytes in [vec![1], vec![2, 3]] {
        world.store().put_sealed("ca", bytes).await.unwrap();
    }
    world.reopen().await;
    assert_eq!(world.store().find_sealed("ca").await.unwrap(), Some(vec![2, 3]));
}
