//! When a change is acknowledged.

use std::sync::Arc;

use gatekey_core::{
    Store, StoreError,
    store::{ApiKeyStore, LedgerStore, TokenStore},
};
use gatekey_store::{PostgresStore, postgres::PostgresOptions};

use super::proxy::{Fault, Proxy};
use crate::world::{
    Mirror, NOW, PostgresDatabase, client_id, entry, new_call, new_key, root_key, token,
};

async fn create(store: &dyn Store, id: &str) -> Result<(), StoreError> {
    store.create_key(new_key(id), new_call(id), entry(NOW, id)).await.map(drop)
}

/// The targets of the ledger's entries.
async fn targets(store: &PostgresStore) -> Vec<String> {
    let entries = store.ledger_entries(0, 100).await.unwrap();
    entries.into_iter().map(|entry| entry.entry.target).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_to_a_commit_is_found() {
    let Some(database) = PostgresDatabase::new() else { return };
    let proxy = Proxy::start(database.database.directory());
    let url = database.database.url_at(&proxy.directory());
    let options = PostgresOptions { url: url.parse().unwrap(), ..database.options() };
    let mirror = Arc::new(Mirror::default());
    let store = PostgresStore::open(options, &root_key(), mirror.clone()).unwrap();
    create(&store, "before").await.unwrap();

    proxy.set(Fault::AfterCommit);
    create(&store, "answer-lost").await.unwrap();
    assert!(mirror.key("answer-lost").is_some());

    proxy.set(Fault::BeforeCommit);
    assert!(matches!(create(&store, "commit-lost").await, Err(StoreError::Unavailable(_))));
    assert!(mirror.key("commit-lost").is_none());

    create(&store, "after").await.unwrap();
    assert_eq!(targets(&store).await, ["before", "answer-lost", "after"]);
    assert_eq!(store.verify_seals().await.unwrap().faults(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_commit_is_not_acknowledged() {
    let Some(database) = PostgresDatabase::new() else { return };
    let mirror = Arc::new(Mirror::default());
    let store = database.open_postgres(mirror.clone());
    database.database.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'refused at the commit'; END $$;
         CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.target = 'refused') EXECUTE FUNCTION refuse()",
    );
    assert!(matches!(create(&store, "refused").await, Err(StoreError::Unavailable(_))));
    assert_eq!(mirror.changes(), 0);
    create(&store, "accepted").await.unwrap();
    assert_eq!(targets(&store).await, ["accepted"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_connections_are_replaced_unnoticed() {
    let Some(database) = PostgresDatabase::new() else { return };
    let store = database.open_postgres(Arc::new(Mirror::default()));
    for (id, number) in [("one", 1), ("two", 2), ("three", 3)] {
        create(&store, id).await.unwrap();
        assert_eq!(store.ledger_head().await.unwrap().sequence, number);
        database.database.run(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_have_numbers_without_gaps() {
    let Some(database) = PostgresDatabase::new() else { return };
    let store = database.open_postgres(Arc::new(Mirror::default()));
    let key = new_key("ci");
    store.create_key(key.clone(), new_call("1"), entry(NOW, "ci")).await.unwrap();
    store.append_entry(entry(NOW, "an entry alone")).await.unwrap();
    let denied = token(&key, "jti", 60);
    store.revoke_token(&client_id("ci"), denied, 3, entry(NOW, "jti")).await.unwrap();
    let changes = database.database.run(
        "SELECT sequence, kind, coalesce(client_id, '-'), length(tag) FROM change ORDER BY sequence",
    );
    let expected = "1|root_keys|-|16\n2|key|ci|16\n3|nothing|-|16\n4|key|ci|16";
    assert_eq!(changes, expected);
    let head = "SELECT sequence, ledger_sequence, link = (SELECT link FROM ledger ORDER BY sequence DESC \
                LIMIT 1) FROM head";
    assert_eq!(database.database.run(head), "4|3|t");
    let tags = database.database.run("SELECT count(DISTINCT tag) FROM change");
    assert_eq!(tags, "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_changes_are_purged_except_the_last() {
    let Some(database) = PostgresDatabase::new() else { return };
    let store = database.open_postgres(Arc::new(Mirror::default()));
    for id in ["one", "two"] {
        create(&store, id).await.unwrap();
    }
    database.database.run("UPDATE change SET at = at - INTERVAL '2 hours'");
    store.purge(NOW, NOW, NOW).await.unwrap();
    // The last of the old ones, and that of the purge.
    let left = database.database.run("SELECT sequence FROM change ORDER BY sequence");
    assert_eq!(left, "3\n4");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_arrive_together_share_commits() {
    let Some(database) = PostgresDatabase::new() else { return };
    let store = database.open_postgres(Arc::new(Mirror::default()));
    let ids: Vec<_> = (0..100).map(|number| format!("key-{number}")).collect();
    let created = futures::future::join_all(ids.iter().map(|id| create(&store, id))).await;
    assert!(created.iter().all(Result::is_ok));
    assert!(store.commits() < 20, "{} commits", store.commits());
}
