//! Rotating and retiring the root key, and everything sealed or hashed under it.

use gatekey_core::{
    Actor, Caller, SecretHash, StoreError, StoredSecret,
    api_key::LastAdmin,
    root_key::{Rehash, RootKeyError, RootKeyRetired, RootKeys, Rotated},
    signing_key::SealedSigningKey,
};
use gatekey_credentials::jwt::Algorithm;

use crate::world::{ENV, NOW, World, add_signing_key, entry, later, new_key, rotation_at};

for_each_store!(
    a_store_knows_its_first_root_key_version,
    a_rotation_reseals_and_reports_everything,
    a_rotation_that_cannot_decrypt_changes_nothing,
    changes_beside_a_rotation_keep_the_chain,
    only_usable_secrets_count_for_a_version,
    a_rehash_replaces_only_the_expected_hash,
    a_version_retires_only_when_nothing_needs_it,
    retiring_a_version_reseals_its_signing_keys,
    sealed_bytes_are_found_under_their_name,
    sealed_bytes_replace_expected_ones_only,
);

fn caller() -> Caller {
    Caller {
        actor: Actor::Local { uid: 0 },
        request_id: String::new(),
        peer: String::new(),
        user_agent: String::new(),
    }
}

fn root_keys(world: &World) -> RootKeys {
    RootKeys::new(world.root_key.clone(), world.store().clone(), ENV.clone())
}

async fn rotate(world: &World) -> Result<Rotated, RootKeyError> {
    root_keys(world).rotate(&caller()).await
}

async fn retire(world: &World, version: u32) -> RootKeyRetired {
    root_keys(world).retire(&caller(), version).await.unwrap().outcome
}

/// The versions that the store knows.
async fn versions(world: &World) -> Vec<u32> {
    world.store().root_keys().await.unwrap().into_iter().map(|known| known.version).collect()
}

/// The versions that linked the ledger.
async fn links(world: &World) -> Vec<u32> {
    world.verified_ledger().await.into_iter().map(|entry| entry.root_key_version).collect()
}

async fn put_signing_key(world: &World, kid: &str, sealed: Vec<u8>) {
    let key = SealedSigningKey {
        kid: kid.to_owned(),
        algorithm: Algorithm::ES256,
        sealed,
        created_at: NOW,
        signs_from: NOW,
        published_until: None,
        high_s_until: None,
    };
    add_signing_key(&**world.store(), key, later(100), entry(NOW, kid)).await;
}

/// Replaces whatever is stored.
async fn put_sealed(world: &World, name: &str, sealed: Vec<u8>) {
    let earlier = world.store().find_sealed(name).await.unwrap();
    assert!(world.store().replace_sealed(name, earlier, sealed).await.unwrap());
}

async fn a_store_knows_its_first_root_key_version(world: &mut World) {
    let known = world.store().root_keys().await.unwrap();
    assert_eq!((known[0].version, known[0].since, known.len()), (1, None, 1));
    world.create("ci").await;
    world.reopen().await;
    assert_eq!(world.store().root_keys().await.unwrap()[0].since, Some(NOW));
}

async fn a_rotation_reseals_and_reports_everything(world: &mut World) {
    let seal = |name: &str| world.root_key.seal(&ENV, name, b"private");
    put_signing_key(world, "one", seal("signing key one")).await;
    put_sealed(world, "ca", seal("ca")).await;
    let before = world.store().signing_keys().await.unwrap();
    let old = crate::world::root_key();
    assert_eq!(rotate(world).await.unwrap().version, 2);
    assert_eq!(versions(world).await, [1, 2]);
    let keys = world.store().signing_keys().await.unwrap();
    assert_ne!(keys, before);
    assert_eq!(world.mirror.known().signing_keys, keys);
    let ca = world.store().find_sealed("ca").await.unwrap().unwrap();
    for (name, sealed) in [("signing key one", &keys[0].sealed), ("ca", &ca)] {
        assert!(old.open(name, sealed).is_err(), "{name}");
        assert_eq!(world.root_key.open(name, sealed).unwrap().as_slice(), b"private", "{name}");
    }
    assert_eq!(links(world).await, [1, 2]);
}

async fn a_rotation_that_cannot_decrypt_changes_nothing(world: &mut World) {
    put_sealed(world, "ca", vec![7; 99]).await;
    let refused = rotate(world).await.unwrap_err();
    assert!(
        matches!(&refused, RootKeyError::Store(StoreError::Corrupt(what)) if what.starts_with("ca "))
    );
    assert_eq!(versions(world).await, [1]);
    world.create("ci").await;
    assert_eq!(links(world).await, [1]);
    let ca = world.root_key.seal(&ENV, "ca", b"private");
    put_sealed(world, "ca", ca).await;
    let rotated = rotate(world).await.unwrap();
    assert_eq!((rotated.version, rotated.was_begun), (2, true));
    assert_eq!(links(world).await, [1, 2]);
}

async fn changes_beside_a_rotation_keep_the_chain(world: &mut World) {
    let create = async |from: u32| {
        for number in from..from + 20 {
            world.create(&format!("key-{number}")).await;
        }
    };
    let rotations = async {
        for version in 2..6 {
            assert_eq!(rotate(world).await.unwrap().version, version);
        }
    };
    futures::join!(create(0), create(100), rotations, create(200));
    let links = links(world).await;
    assert_eq!((links.len(), links.last()), (64, Some(&5)));
}

async fn only_usable_secrets_count_for_a_version(world: &mut World) {
    world.create("ci").await;
    world.create("rotated").await;
    // Two secrets end: the first is retired, the second expires.
    world.rotate("rotated", rotation_at(later(1), 0)).await;
    world.rotate("rotated", rotation_at(later(2), 60)).await;
    let secrets = async |at| world.store().secrets_by_root_key(later(at)).await.unwrap();
    assert_eq!(secrets(2).await, [(1, 3)].into());
    assert_eq!(secrets(62).await, [(1, 2)].into());
}

async fn a_rehash_replaces_only_the_expected_hash(world: &mut World) {
    let key = world.create("ci").await;
    rotate(world).await.unwrap();
    let StoredSecret { id, hash: from, .. } = key.secrets[0];
    let to = SecretHash { pepper_version: 2, mac: [2; 32] };
    let rehash = async |rehashes| {
        world.store().rehash_secrets(rehashes, entry(later(1), "rehash")).await.unwrap();
        world.mirror.key("ci").unwrap().secrets[0].hash
    };
    let other = SecretHash { mac: [9; 32], ..from };
    let older = SecretHash { pepper_version: 1, mac: [3; 32] };
    let entries = world.verified_ledger().await.len();
    for (from, to) in [(other, to), (from, older)] {
        assert_eq!(rehash(vec![Rehash { secret_id: id, from, to }]).await, key.secrets[0].hash);
    }
    assert_eq!(world.verified_ledger().await.len(), entries, "nothing was changed");
    assert_eq!(rehash(vec![Rehash { secret_id: id, from, to }]).await, to);
    let entry = world.verified_ledger().await.pop().unwrap().entry;
    assert_eq!((&*entry.target, &*entry.detail), ("rehash", "secrets=1"));
    let changed = world.find("ci").await.unwrap();
    assert_eq!((changed.updated_at, changed.epoch), (key.updated_at, key.epoch));
}

async fn a_version_retires_only_when_nothing_needs_it(world: &mut World) {
    world.create("ci").await;
    rotate(world).await.unwrap();
    assert_eq!(retire(world, 2).await, RootKeyRetired::Newest);
    assert_eq!(retire(world, 3).await, RootKeyRetired::Absent);
    let needed = RootKeyRetired::Needed { secrets: 1, client_ids: vec!["ci".parse().unwrap()] };
    assert_eq!(retire(world, 1).await, needed);
    world
        .store()
        .delete_key(&"ci".parse().unwrap(), LastAdmin::Keep, entry(NOW, "ci"))
        .await
        .unwrap();
    assert_eq!(retire(world, 1).await, RootKeyRetired::Done);
    assert_eq!(retire(world, 1).await, RootKeyRetired::Already);
    world.reopen().await;
    assert_eq!(links(world).await, [1, 2, 2, 2]);
    let mut key = new_key("new");
    key.secrets[0].hash.pepper_version = 2;
    world.create_key(key).await.unwrap();
    assert_eq!(rotate(world).await.unwrap().version, 3);
    world.reopen().await;
    assert_eq!(links(world).await, [1, 2, 2, 2, 2, 3]);
}

async fn retiring_a_version_reseals_its_signing_keys(world: &mut World) {
    let late = world.root_key.seal(&ENV, "signing key late", b"private");
    rotate(world).await.unwrap();
    put_signing_key(world, "late", late).await;
    assert_eq!(retire(world, 1).await, RootKeyRetired::Done);
    world.reopen().await;
    let key = world.store().signing_keys().await.unwrap().remove(0);
    assert_eq!(
        world.root_key.open("signing key late", &key.sealed).unwrap().as_slice(),
        b"private"
    );
}

async fn sealed_bytes_are_found_under_their_name(world: &mut World) {
    put_sealed(world, "ca", vec![0, 1, 255]).await;
    put_sealed(world, "", Vec::new()).await;
    assert_eq!(world.store().find_sealed("ca").await.unwrap(), Some(vec![0, 1, 255]));
    assert_eq!(world.store().find_sealed("").await.unwrap(), Some(Vec::new()));
    assert_eq!(world.store().find_sealed("CA").await.unwrap(), None);
}

/// Two nodes that both find no private CA must not each create one.
async fn sealed_bytes_replace_expected_ones_only(world: &mut World) {
    let replace = async |earlier: Option<Vec<u8>>, sealed: Vec<u8>| {
        world.store().replace_sealed("ca", earlier, sealed).await.unwrap()
    };
    assert!(!replace(Some(vec![1]), vec![9]).await);
    assert!(replace(None, vec![1]).await);
    assert!(!replace(None, vec![9]).await);
    assert!(!replace(Some(vec![2]), vec![9]).await);
    assert!(replace(Some(vec![1]), vec![2, 3]).await);
    world.reopen().await;
    assert_eq!(world.store().find_sealed("ca").await.unwrap(), Some(vec![2, 3]));
}
