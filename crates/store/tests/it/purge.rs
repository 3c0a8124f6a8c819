//! Purging expired data.

use gatekey_core::{
    StoreError,
    api_key::LastAdmin,
    signing_key::SealedSigningKey,
    store::{Created, Rotated},
};
use gatekey_credentials::jwt::Algorithm;

use crate::world::{
    NOW, World, add_signing_key, entry, later, new_call, new_key, rotation_at, token,
};

for_each_store!(
    denials_of_expired_tokens_are_purged,
    old_creates_are_purged,
    unpublished_signing_keys_are_purged,
    purging_secrets_notifies_the_observer,
    a_purge_keeps_a_keys_last_secret,
    an_empty_purge_changes_nothing,
);

const EPOCH: gatekey_core::Timestamp = gatekey_core::Timestamp::from_seconds(0);

async fn denials_of_expired_tokens_are_purged(world: &mut World) {
    let key = world.create("ci").await;
    for (jti, seconds) in [("a", 10), ("b", 20)] {
        let denied = token(&key, jti, seconds);
        world.store().revoke_token(&key.client_id, denied, 9, entry(NOW, jti)).await.unwrap();
    }
    world.purge(later(10), EPOCH, EPOCH).await;
    world.reopen().await;
    let known = world.mirror.known();
    assert_eq!(known.denials[&key.key_id].keys().collect::<Vec<_>>(), ["b"]);
}

async fn old_creates_are_purged(world: &mut World) {
    let create = async |world: &World| {
        world.store().create_key(new_key("ci"), new_call("request"), entry(NOW, "ci")).await
    };
    assert!(matches!(create(world).await, Ok(Created::New(_))));
    world.purge(NOW, NOW, EPOCH).await;
    assert!(matches!(create(world).await, Ok(Created::Replayed(_))));
    world.purge(NOW, later(1), EPOCH).await;
    assert!(matches!(create(world).await, Err(StoreError::Conflict)));
}

async fn unpublished_signing_keys_are_purged(world: &mut World) {
    for (kid, until) in [("one", 0), ("two", 50), ("three", 60)] {
        let key = SealedSigningKey {
            kid: kid.to_owned(),
            algorithm: Algorithm::ES256,
            sealed: vec![1],
            created_at: NOW,
            signs_from: NOW,
            published_until: None,
            high_s_until: None,
        };
        add_signing_key(&**world.store(), key, later(until), entry(NOW, kid)).await;
    }
    world.purge(later(50), EPOCH, EPOCH).await;
    let left = world.store().signing_keys().await.unwrap();
    assert_eq!(left.iter().map(|key| &*key.kid).collect::<Vec<_>>(), ["two", "three"]);
    assert_eq!(world.mirror.known().signing_keys, left);
}

async fn purging_secrets_notifies_the_observer(world: &mut World) {
    world.create("ci").await;
    let other = world.create("other").await;
    for grace in [10, 20] {
        let rotated = world.rotate("ci", rotation_at(NOW, grace)).await;
        assert!(matches!(rotated, Rotated::Done(_)));
    }
    let before = world.find("ci").await.unwrap();
    world.purge(later(30), EPOCH, later(10)).await;
    assert_eq!(world.find("ci").await.as_ref(), Some(&before), "it expires at 10, not before");
    world.purge(later(30), EPOCH, later(20)).await;
    let after = world.find("ci").await.unwrap();
    assert_eq!(after.secrets, before.secrets[1..]);
    assert_eq!(after.updated_at, before.updated_at, "a purge is no change of the key");
    assert_eq!(world.mirror.key("ci"), Some(after));
    assert_eq!(world.find("other").await, Some(other));
}

async fn a_purge_keeps_a_keys_last_secret(world: &mut World) {
    let key = world.create("ci").await;
    world.rotate("ci", rotation_at(NOW, 10)).await;
    let newest = world.find("ci").await.unwrap().secrets[1].id;
    for secret in [key.secrets[0].id, newest] {
        world
            .store()
            .retire_secret(&key.client_id, secret, LastAdmin::Keep, entry(later(5), "ci"))
            .await
            .unwrap();
    }
    world.purge(later(100), EPOCH, later(100)).await;
    let left = world.find("ci").await.unwrap().secrets;
    assert_eq!(left.iter().map(|secret| secret.id).collect::<Vec<_>>(), [newest]);
}

async fn an_empty_purge_changes_nothing(world: &mut World) {
    let key = world.create("ci").await;
    let reported = world.mirror.changes();
    world.purge(later(1000), later(1000), later(1000)).await;
    assert_eq!(world.find("ci").await, Some(key));
    assert_eq!(world.mirror.changes(), reported);
    assert_eq!(world.ledger_targets().await, ["ci"]);
}
