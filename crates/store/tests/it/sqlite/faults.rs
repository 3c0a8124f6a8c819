//! Full disks, damaged values, and changes to the ledger by hand.

use std::sync::Arc;

use gatekey_core::{
    ApiKeyPatch, Store, StoreError,
    api_key::{LastAdmin, Switch, list::Selection},
    store::{ApiKeyStore, LedgerStore, SigningKeyStore},
};
use rusqlite::Connection;

use crate::world::{Mirror, NOW, SqliteFile, client_id, entry, new_call, new_key};

#[tokio::test]
async fn a_full_disk_is_unavailable_without_a_restart() {
    let file = SqliteFile::default();
    let mirror = Arc::new(Mirror::default());
    let store = file.open_sqlite(mirror.clone());
    let create = async |id: &str| {
        let mut key = new_key(id);
        key.application.contacts = vec!["x".repeat(2000); 20];
        store.create_key(key, new_call(id), entry(NOW, id)).await
    };
    create("first").await.unwrap();
    store.limit_pages(1).await.unwrap();
    for attempt in 0..3 {
        let refused = create(&format!("refused-{attempt}")).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    }
    // Reads continue.
    assert!(store.find_key(&client_id("first")).await.unwrap().is_some());
    assert_eq!(mirror.known().keys.len(), 1, "reported, but not committed");
    store.limit_pages(u32::MAX).await.unwrap();
    create("second").await.unwrap();
    assert!(store.find_key(&client_id("refused-0")).await.unwrap().is_none());
    let entries = store.ledger_entries(0, 10).await.unwrap();
    assert_eq!(
        entries.iter().map(|entry| &*entry.entry.target).collect::<Vec<_>>(),
        ["first", "second"]
    );
    assert_eq!(entries[1].sequence, 2);
}

#[tokio::test]
async fn every_call_is_answered_on_a_full_disk() {
    let file = SqliteFile::default();
    let mirror = Arc::new(Mirror::default());
    let store = file.open_sqlite(mirror.clone());
    store.limit_pages(1).await.unwrap();
    let calls = (0..100).map(|number| {
        let id = format!("key-{number}");
        let mut key = new_key(&id);
        key.application.contacts = vec!["x".repeat(if number % 3 == 0 { 3000 } else { 1 }); 10];
        store.create_key(key, new_call(&id), entry(NOW, &id))
    });
    let outcomes = futures::future::join_all(calls).await;
    let created = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    assert!(created < 100);
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(StoreError::Unavailable(_)))),
        "{outcomes:?}"
    );
    store.limit_pages(u32::MAX).await.unwrap();
    assert_eq!(mirror.known().keys.len(), created);
    assert_eq!(store.list_keys(Selection::default(), 1000).await.unwrap().len(), created);
    assert_eq!(store.ledger_head().await.unwrap().sequence, i64::try_from(created).unwrap());
}

#[tokio::test]
async fn a_commit_that_surfaces_later_is_reported_first() {
    let file = SqliteFile::default();
    let mirror = Arc::new(Mirror::default());
    let store = file.open_sqlite(mirror.clone());
    for id in ["ci", "gone"] {
        store.create_key(new_key(id), new_call(id), entry(NOW, id)).await.unwrap();
    }
    // As after a failed sync: the commit is in the log, and takes effect when that is read again.
    let surfaced = file.open_sqlite(Arc::new(Mirror::default()));
    let (keep, disable) = (LastAdmin::Keep, Switch::Disable);
    surfaced.switch_key(&client_id("ci"), disable, keep, entry(NOW, "ci")).await.unwrap();
    surfaced.delete_key(&client_id("gone"), keep, entry(NOW, "gone")).await.unwrap();
    let disable = Switch::Disable;
    let answered = store
        .switch_key(&client_id("ci"), disable, LastAdmin::Keep, entry(NOW, "ci"))
        .await
        .unwrap();
    assert_eq!(mirror.key("ci"), answered);
    assert!(mirror.key("ci").unwrap().disabled_at.is_some());
    assert_eq!(mirror.key("gone"), None);
}

#[tokio::test]
async fn an_unreadable_value_is_corrupt_and_named() {
    for (table, column, value) in [
        ("api_key", "client_id", "'not a client id'"),
        ("api_key", "key_id", "'ABC'"),
        ("api_key", "role", "'emperor'"),
        ("api_key", "grant_types", "'client_credentials magic'"),
        ("api_key", "response_types", "'Code'"),
        ("api_key", "application_type", "''"),
        ("api_key", "redirect_uris", "'{}'"),
        ("api_key", "contacts", "'[1]'"),
        ("api_key", "other_roles", "'admin'"),
        ("api_key", "other_roles", "'viewer emperor'"),
        ("api_key", "limits", "'{\"rate\":\"emperor\"}'"),
        ("api_key", "limits", "'{\"hours\":\"9\"}'"),
        ("api_key", "token_endpoint_auth_method", "'nothing'"),
        ("api_key", "consent_method", "'perhaps'"),
        ("api_key", "epoch", "-1"),
        ("secret", "secret_id", "'0'"),
        ("secret", "mac", "x'00'"),
        ("secret", "pepper_version", "4294967296"),
        ("signing_key", "algorithm", "'HS256'"),
        ("ledger", "link", "x'00'"),
    ] {
        let file = SqliteFile::default();
        let store = file.open_sqlite(Arc::new(Mirror::default()));
        store.create_key(new_key("ci"), new_call("1"), entry(NOW, "ci")).await.unwrap();
        let damage = Connection::open(file.path()).unwrap();
        damage
            .execute_batch(&format!(
                "PRAGMA foreign_keys = OFF; DROP TRIGGER ledger_is_not_changed;
                 INSERT INTO signing_key (kid, algorithm, sealed, created_at) VALUES ('kid', 'ES256', x'00', 1);
                 UPDATE {table} SET {column} = {value}"
            ))
            .unwrap();
        let failures = match table {
            "ledger" => vec![
                store.ledger_entries(0, 9).await.map(drop),
                store.ledger_head().await.map(drop),
            ],
            "signing_key" => vec![store.signing_keys().await.map(drop), store.load().await],
            _ => vec![store.list_keys(Selection::default(), 9).await.map(drop), store.load().await],
        };
        for failure in failures {
            let Err(StoreError::Corrupt(what)) = failure else {
                panic!("{table}.{column}: {failure:?}")
            };
            assert!(what.contains(&format!("{table}.{column}")), "{what}");
            assert!(!what.contains("emperor"), "the value can be anything, even a secret: {what}");
        }
    }
}

#[tokio::test]
async fn changing_an_unreadable_key_has_no_effect() {
    let file = SqliteFile::default();
    let store = file.open_sqlite(Arc::new(Mirror::default()));
    for id in ["ci", "whole"] {
        store.create_key(new_key(id), new_call(id), entry(NOW, id)).await.unwrap();
    }
    let damage = Connection::open(file.path()).unwrap();
    damage.execute("UPDATE api_key SET role = 'emperor' WHERE client_id = 'ci'", []).unwrap();
    let update = async |id| {
        let patch = ApiKeyPatch { logo_uri: Some("x".to_owned()), ..ApiKeyPatch::default() };
        store.update_key(&client_id(id), patch, LastAdmin::Keep, entry(NOW, id)).await
    };
    assert!(matches!(update("ci").await, Err(StoreError::Corrupt(_))));
    assert!(update("whole").await.unwrap().is_some());
    assert_eq!(store.ledger_head().await.unwrap().sequence, 3);
}

#[tokio::test]
async fn the_ledger_is_append_only() {
    let file = SqliteFile::default();
    let store = file.open_sqlite(Arc::new(Mirror::default()));
    for id in ["a", "b"] {
        store.create_key(new_key(id), new_call(id), entry(NOW, id)).await.unwrap();
    }
    let hand = Connection::open(file.path()).unwrap();
    let row = "'', '', '', '', '', '', '', x'', 1, NULL";
    for statement in [
        "UPDATE ledger SET actor = 'nobody'".to_owned(),
        "DELETE FROM ledger".to_owned(),
        "DELETE FROM ledger WHERE sequence = 2".to_owned(),
        format!("INSERT OR REPLACE INTO ledger VALUES (2, 0, {row})"),
        format!("INSERT INTO ledger VALUES (7, 0, {row})"),
        format!("INSERT INTO ledger VALUES (0, 0, {row})"),
    ] {
        let refused = hand.execute(&statement, []).unwrap_err().to_string();
        assert!(refused.starts_with("the ledger "), "{statement}: {refused}");
    }
    assert_eq!(store.ledger_entries(0, 9).await.unwrap().len(), 2);
}
