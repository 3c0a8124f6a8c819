//! One node writes at a time.

use std::sync::Arc;

use gatekey_core::{StoreError, store::LedgerStore};
use gatekey_store::{PostgresStore, postgres::PostgresOpenError};

use crate::world::{Mirror, NOW, PostgresDatabase, entry, root_key};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_is_refused_while_one_lives() {
    let Some(database) = PostgresDatabase::new() else { return };
    let store = database.open_postgres(Arc::new(Mirror::default()));
    let second = PostgresStore::open(database.options(), &root_key(), Arc::new(Mirror::default()));
    let Err(PostgresOpenError::InUse { node, .. }) = second else {
        panic!("two nodes have the database: {second:?}")
    };
    assert_eq!(node, "test");
    store.append_entry(entry(NOW, "still the writer")).await.unwrap();
    drop(store);
    database.open_postgres(Arc::new(Mirror::default()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_displaced_node_can_write_nothing() {
    let Some(database) = PostgresDatabase::new() else { return };
    let store = database.open_postgres(Arc::new(Mirror::default()));
    store.append_entry(entry(NOW, "before")).await.unwrap();
    let taken_over = store.taken_over();
    database.database.run("UPDATE head SET writer = 'another'; DELETE FROM node");
    let refused = store.append_entry(entry(NOW, "after")).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    taken_over.await;
    assert_eq!(database.database.run("SELECT target FROM ledger"), "before");
}
