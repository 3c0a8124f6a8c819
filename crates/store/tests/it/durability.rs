//! Acknowledged changes survive, and calls that have begun run to their end.

use std::{pin::pin, sync::Arc, task::Context};

use futures::task::noop_waker;
use gatekey_core::{Store, api_key::list::Selection};

use crate::world::{NOW, World, entry, new_call, new_key, rotation_at, token};

for_each_store!(
    everything_survives_a_restart,
    a_dropped_future_does_not_cancel_its_commit,
    a_dropped_store_finishes_its_calls,
    a_load_never_reports_older_facts,
    a_load_reports_more_keys_than_a_batch,
);

/// Begins a call and drops its future, as a handler does at its deadline.
fn begin_and_drop<T>(call: impl Future<Output = T>) {
    let mut call = pin!(call);
    let _ = call.as_mut().poll(&mut Context::from_waker(&noop_waker()));
}

fn begin_create(store: &Arc<dyn Store>, id: &str) {
    begin_and_drop(store.create_key(new_key(id), new_call(id), entry(NOW, id)));
}

async fn everything_survives_a_restart(world: &mut World) {
    for id in ["a", "b", "c"] {
        let key = world.create(id).await;
        world.rotate(id, rotation_at(NOW, 60)).await;
        let denied = token(&key, "jti", 60);
        world.store().revoke_token(&key.client_id, denied, 9, entry(NOW, id)).await.unwrap();
        world.store().record_last_used(vec![(key.secrets[0].id, NOW)]).await.unwrap();
    }
    let before = world.store().list_keys(Selection::default(), 9).await.unwrap();
    let ledger = world.verified_ledger().await;
    world.reopen().await;
    assert_eq!(world.store().list_keys(Selection::default(), 9).await.unwrap(), before);
    assert_eq!(world.verified_ledger().await, ledger);
    for key in before {
        assert_eq!(world.mirror.denials(key.key_id), 1);
        assert_eq!(world.mirror.key(key.client_id.as_str()), Some(key));
    }
}

async fn a_dropped_future_does_not_cancel_its_commit(world: &mut World) {
    begin_create(world.store(), "dropped");
    // Calls keep their order, so this one returns after the other's commit.
    world.create("next").await;
    assert!(world.find("dropped").await.is_some());
    assert!(world.mirror.key("dropped").is_some());
    assert_eq!(world.ledger_targets().await, ["dropped", "next"]);
}

async fn a_dropped_store_finishes_its_calls(world: &mut World) {
    let ids: Vec<String> = (0..50).map(|number| format!("key-{number:02}")).collect();
    for id in &ids {
        begin_create(world.store(), id);
    }
    world.reopen().await;
    assert_eq!(world.ledger_targets().await, ids);
    assert_eq!(world.mirror.known().keys.len(), 50);
}

async fn a_load_never_reports_older_facts(world: &mut World) {
    for number in 0..20 {
        world.create(&format!("key-{number}")).await;
    }
    let store = Arc::clone(world.store());
    let loads = tokio::spawn(async move {
        for _ in 0..20 {
            store.load().await.unwrap();
        }
    });
    for number in 0..20 {
        let id = format!("key-{number}");
        world.rotate(&id, rotation_at(NOW, 0)).await;
        assert_eq!(world.mirror.key(&id).unwrap().epoch, 2);
    }
    loads.await.unwrap();
    // `World::check` compares the mirror with the store.
}

async fn a_load_reports_more_keys_than_a_batch(world: &mut World) {
    let calls = (0..2500).map(|number| {
        let key = new_key(&format!("key-{number:04}"));
        let id = key.client_id.to_string();
        world.store().create_key(key, new_call(&id), entry(NOW, &id))
    });
    futures::future::try_join_all(calls).await.unwrap();
    let reported = world.mirror.known().clone();
    world.reopen().await;
    assert_eq!(reported.keys.len(), 2500);
    assert_eq!(*world.mirror.known(), reported);
}
