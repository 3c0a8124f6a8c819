//! Concurrent calls: each is atomic, and together they have the effect of some order.

use std::sync::Arc;

use futures::future::join_all;
use gatekey_core::{
    ApiKey, StoreError,
    api_key::{LastAdmin, Rotation, Switch},
    store::{Created, Rotated},
    token::Revoked,
};
use proptest::{prelude::*, test_runner::TestRunner};
use tokio::sync::Barrier;

use crate::world::{
    NOW, SqliteFile, World, client_id, entry, later, new_call, new_key, rotation_at, token,
};

for_each_store!(
    concurrent_creates_have_one_winner,
    concurrent_repetitions_create_one_key,
    concurrent_rotations_all_take_effect,
    concurrent_rotations_respect_the_secret_limit,
    concurrent_revocations_raise_the_epoch_once,
    a_rotation_beside_a_deletion_is_atomic,
    reads_beside_writes_see_complete_keys,
);

/// Runs each call on its own task. All start together.
async fn together<T, C>(calls: Vec<C>) -> Vec<T>
where
    T: Send + 'static,
    C: Future<Output = T> + Send + 'static,
{
    let start = Arc::new(Barrier::new(calls.len()));
    let tasks = calls.into_iter().map(|call| {
        let start = Arc::clone(&start);
        tokio::spawn(async move {
            start.wait().await;
            call.await
        })
    });
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

fn create(
    world: &World,
    key: ApiKey,
    request_id: &str,
) -> impl Future<Output = Result<Created, StoreError>> + Send + 'static {
    let (store, call, entry) =
        (Arc::clone(world.store()), new_call(request_id), entry(NOW, request_id));
    async move { store.create_key(key, call, entry).await }
}

async fn concurrent_creates_have_one_winner(world: &mut World) {
    for round in 0..10 {
        let id = format!("ci-{round}");
        let calls = ["one", "two"].map(|request| create(world, new_key(&id), request)).into();
        let outcomes = together(calls).await;
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        let [Ok(Created::New(key))] = &won[..] else { panic!("{won:?}") };
        assert!(matches!(lost[..], [Err(StoreError::Conflict)]), "{lost:?}");
        assert_eq!(world.find(&id).await.as_ref(), Some(&**key));
    }
    assert_eq!(world.ledger_targets().await.len(), 10);
}

async fn concurrent_repetitions_create_one_key(world: &mut World) {
    let calls = (0..6).map(|_| create(world, new_key("ci"), "same")).collect();
    let outcomes = together(calls).await;
    let new = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Created::New(_)))).count();
    let repeated =
        outcomes.iter().filter(|outcome| matches!(outcome, Ok(Created::Replayed(_)))).count();
    let refused =
        outcomes.iter().filter(|outcome| matches!(outcome, Err(StoreError::Conflict))).count();
    assert_eq!((new, repeated, refused), (1, 3, 2));
    assert_eq!(world.find("ci").await.unwrap().secrets.len(), 4);
}

fn rotate(world: &World, rotation: Rotation) -> impl Future<Output = Rotated> + Send + 'static {
    let store = Arc::clone(world.store());
    async move { store.rotate_secret(&client_id("ci"), rotation, entry(NOW, "rotated")).await.unwrap() }
}

async fn concurrent_rotations_all_take_effect(world: &mut World) {
    world.create("ci").await;
    let rotation = || Rotation { max_secrets: 100, ..rotation_at(NOW, 0) };
    let calls = (0..64).map(|_| rotate(world, rotation())).collect();
    let outcomes = together(calls).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Rotated::Done(_))));
    let key = world.find("ci").await.unwrap();
    assert_eq!((key.epoch, key.secrets.len()), (65, 65));
    let valid: Vec<_> = key.secrets.iter().filter(|secret| secret.is_valid_at(NOW)).collect();
    assert_eq!(valid, [&key.secrets[64]], "the last to commit is valid");
    assert_eq!(world.ledger_targets().await.len(), 65);
}

async fn concurrent_rotations_respect_the_secret_limit(world: &mut World) {
    world.create("ci").await;
    let calls = (0..64).map(|_| rotate(world, rotation_at(NOW, 600))).collect();
    let outcomes = together(calls).await;
    let done = outcomes.iter().filter(|outcome| matches!(outcome, Rotated::Done(_))).count();
    assert_eq!(done, 9);
    assert_eq!(world.find("ci").await.unwrap().secrets.len(), 10);
    assert_eq!(world.ledger_targets().await.len(), 10);
}

async fn concurrent_revocations_raise_the_epoch_once(world: &mut World) {
    let key = world.create("ci").await;
    let calls =
        (0..64).map(|number| {
            let store = Arc::clone(world.store());
            let (client_id, denied) =
                (key.client_id.clone(), token(&key, &format!("jti-{number}"), 60));
            async move {
                store.revoke_token(&client_id, denied, 40, entry(NOW, "revoked")).await.unwrap()
            }
        });
    let outcomes = together(calls.collect()).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Revoked::EpochRaised).count(), 1);
    assert_eq!(world.find("ci").await.unwrap().epoch, key.epoch + 1);
    assert_eq!(world.mirror.denials(key.key_id), 23, "raising the epoch dropped 40");
}

async fn a_rotation_beside_a_deletion_is_atomic(world: &mut World) {
    for _ in 0..10 {
        world.create("ci").await;
        let rotation = rotate(world, rotation_at(NOW, 600));
        let store = Arc::clone(world.store());
        let deletion = async move {
            store
                .delete_key(&client_id("ci"), LastAdmin::Keep, entry(NOW, "deleted"))
                .await
                .unwrap()
        };
        let (_, deleted) =
            futures::future::join(tokio::spawn(rotation), tokio::spawn(deletion)).await;
        assert!(deleted.unwrap().is_some());
        assert_eq!((world.find("ci").await, world.mirror.key("ci")), (None, None));
    }
}

async fn reads_beside_writes_see_complete_keys(world: &mut World) {
    world.create("ci").await;
    let store = Arc::clone(world.store());
    let reads = tokio::spawn(async move {
        for _ in 0..100 {
            let key = store.find_key(&client_id("ci")).await.unwrap().unwrap();
            // One transaction adds a secret and raises the epoch.
            assert_eq!(key.secrets.len() as u64, key.epoch);
            assert_eq!(key.secrets.iter().filter(|secret| secret.expires_at.is_none()).count(), 1);
        }
    });
    for _ in 0..50 {
        world.rotate("ci", Rotation { max_secrets: 100, ..rotation_at(NOW, 0) }).await;
    }
    reads.await.unwrap();
}

/// A call of a client, or an event of the server.
#[derive(Debug, Clone)]
enum Step {
    Create(u8, u8),
    Rotate(u8, u64),
    Retire(u8),
    Disable(u8),
    Enable(u8),
    Revoke(u8, u8),
    Delete(u8),
    Refuse,
    Purge(u64),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0..4u8;
    let step = prop_oneof![
        3 => (id.clone(), 0..3u8).prop_map(|(id, request)| Step::Create(id, request)),
        2 => (id.clone(), prop_oneof![Just(0), 1..40u64]).prop_map(|(id, grace)| Step::Rotate(id, grace)),
        1 => id.clone().prop_map(Step::Retire),
        1 => id.clone().prop_map(Step::Disable),
        1 => id.clone().prop_map(Step::Enable),
        3 => (id.clone(), 0..6u8).prop_map(|(id, jti)| Step::Revoke(id, jti)),
        1 => id.prop_map(Step::Delete),
        1 => Just(Step::Refuse),
        1 => (0..60u64).prop_map(Step::Purge),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 1..40)
}

async fn take(world: &mut World, step: &Step, number: u64) {
    let at = later(number);
    let store = Arc::clone(world.store());
    let name = |id: &u8| client_id(&format!("key-{id}"));
    match step {
        Step::Create(id, request) => {
            let (key, call) = (new_key(name(id).as_str()), new_call(&request.to_string()));
            match store.create_key(key, call, entry(at, "create")).await {
                Ok(_) | Err(StoreError::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
        Step::Rotate(id, grace) => {
            world.rotate(name(id).as_str(), rotation_at(at, *grace)).await;
        }
        Step::Retire(id) => {
            if let Some(key) = world.find(name(id).as_str()).await {
                store
                    .retire_secret(
                        &name(id),
                        key.secrets[0].id,
                        LastAdmin::Keep,
                        entry(at, "retire"),
                    )
                    .await
                    .unwrap();
            }
        }
        Step::Disable(id) => {
            store
                .switch_key(&name(id), Switch::Disable, LastAdmin::Keep, entry(at, "disable"))
                .await
                .unwrap();
        }
        Step::Enable(id) => {
            store
                .switch_key(&name(id), Switch::Enable, LastAdmin::Keep, entry(at, "enable"))
                .await
                .unwrap();
        }
        Step::Revoke(id, jti) => {
            if let Some(key) = world.find(name(id).as_str()).await {
                let denied = token(&key, &jti.to_string(), number + 20);
                store.revoke_token(&name(id), denied, 3, entry(at, "revoke")).await.unwrap();
            }
        }
        Step::Delete(id) => {
            store.delete_key(&name(id), LastAdmin::Keep, entry(at, "delete")).await.unwrap();
        }
        Step::Refuse => store.append_entry(entry(at, "refuse")).await.unwrap(),
        Step::Purge(ago) => world.purge(at, later(number.saturating_sub(*ago)), at).await,
        Step::Reopen => {
            drop(store);
            world.reopen().await;
        }
    }
}

#[test]
fn any_calls_keep_ledger_and_observer_consistent() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    TestRunner::new(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
    .run(&steps(), |steps| {
        runtime.block_on(async {
            let mut world = World::new(Box::new(SqliteFile::default()));
            for (number, step) in steps.iter().enumerate() {
                take(&mut world, step, number as u64).await;
            }
            world.check().await;
        });
        Ok(())
    })
    .unwrap();
}
