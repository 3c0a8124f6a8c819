//! Seals: changes to the file that are made without the root key.

use std::sync::Arc;

use gatekey_core::{
    ApiKeyPatch, Store as _, StoreError, Timestamp,
    api_key::{
        LastAdmin, Switch,
        list::{Cursor, Selection},
    },
    ledger::LedgerBase,
    store::{
        ApiKeyStore as _, LedgerStore as _, RootKeyStore as _, SigningKeyStore as _,
        TokenStore as _,
    },
};
use gatekey_store::SqliteStore;
use rusqlite::Connection;

use crate::world::{
    Mirror, NOW, SqliteFile, add_signing_key, client_id, entry, later, new_call, new_key, range,
    rotation_at, signing_key, token,
};

/// A store with two keys, a denial and two signing keys.
async fn store(file: &SqliteFile) -> SqliteStore {
    let store = file.open_sqlite(Arc::new(Mirror::default()));
    for id in ["ci", "other"] {
        let mut key = new_key(id);
        key.limits.rate = Some("1/s".parse().unwrap());
        let denied = token(&key, "jti", 600);
        store.create_key(key, new_call(id), entry(NOW, id)).await.unwrap();
        store.revoke_token(&client_id(id), denied, 9, entry(NOW, id)).await.unwrap();
    }
    for kid in ["one", "two"] {
        add_signing_key(&store, signing_key(kid), later(60), entry(NOW, kid)).await;
    }
    store
}

const OPEN_LEDGER: &str =
    "DROP TRIGGER ledger_is_not_changed; DROP TRIGGER ledger_is_not_shortened;";

fn tamper(file: &SqliteFile, statements: &str) {
    let database = Connection::open(file.path()).unwrap();
    database.execute_batch(&format!("PRAGMA foreign_keys = OFF; {statements}")).unwrap();
}

/// Opens and loads the store again. Returns what it reports, and why it must not be served.
async fn load(file: &SqliteFile) -> (Arc<Mirror>, Result<(), String>, Vec<String>) {
    let mirror = Arc::new(Mirror::default());
    let store = file.open_sqlite(mirror.clone());
    let loaded = match store.load().await {
        Ok(()) => Ok(()),
        Err(StoreError::Tampered(reason)) => Err(reason),
        Err(error) => panic!("{error}"),
    };
    let faults = match store.verify_seals().await {
        Ok(report) => report.faults(),
        Err(error) => vec![error.to_string()],
    };
    (mirror, loaded, faults)
}

#[tokio::test]
async fn a_changed_key_is_refused() {
    for change in [
        "UPDATE api_key SET role = 'admin' WHERE client_id = 'ci'",
        "UPDATE api_key SET epoch = 0 WHERE client_id = 'ci'",
        "UPDATE api_key SET expires_at = 9 WHERE client_id = 'ci'",
        "UPDATE api_key SET grant_types = 'password' WHERE client_id = 'ci'",
        "UPDATE api_key SET limits = NULL WHERE client_id = 'ci'",
        "UPDATE api_key SET limits = '{\"rate\":\"9/s\"}' WHERE client_id = 'ci'",
        "UPDATE api_key SET key_id = printf('%032x', 1) WHERE client_id = 'ci'",
        "UPDATE secret SET mac = (SELECT mac FROM secret WHERE client_id = 'other')
         WHERE client_id = 'ci'",
        "UPDATE secret SET expires_at = NULL, not_before = 0 WHERE client_id = 'ci'",
    ] {
        let file = SqliteFile::default();
        drop(store(&file).await);
        // The denial of a key is bound to the key's id.
        if change.contains("key_id") {
            let store = file.open_sqlite(Arc::new(Mirror::default()));
            let (id, disable) = (client_id("ci"), Switch::Disable);
            store.switch_key(&id, disable, LastAdmin::Keep, entry(NOW, "ci")).await.unwrap();
        }
        tamper(&file, change);
        let (mirror, loaded, faults) = load(&file).await;
        assert_eq!(loaded, Ok(()), "{change}");
        assert_eq!(mirror.key("ci"), None, "{change}");
        assert!(faults[0].contains("refused: ci"), "{change}: {faults:?}");
        assert_eq!(mirror.known().signing_keys.len(), 2);
        assert!(mirror.key("other").is_some(), "{change}");
    }
}

#[tokio::test]
async fn last_uses_need_no_seal() {
    let file = SqliteFile::default();
    let store = store(&file).await;
    let secret = store.find_key(&client_id("ci")).await.unwrap().unwrap().secrets[0].id;
    store.record_last_used(vec![(secret, later(9))]).await.unwrap();
    drop(store);
    let (mirror, loaded, faults) = load(&file).await;
    assert_eq!((loaded, faults.len()), (Ok(()), 0));
    assert_eq!(mirror.key("ci").unwrap().secrets[0].last_used_at, Some(later(9)));
}

#[tokio::test]
async fn removed_rows_prevent_loading() {
    for (change, expected) in [
        ("DELETE FROM denial WHERE client_id = 'ci'", "1 sealed revoked tokens instead of 2"),
        ("UPDATE denial SET expires_at = 1", "2 of the revoked tokens were changed"),
        ("UPDATE denial SET seal = NULL", "2 of the revoked tokens were changed"),
        (
            "DELETE FROM api_key WHERE client_id = 'ci'; DELETE FROM secret WHERE client_id = 'ci';
             DELETE FROM denial WHERE client_id = 'ci'",
            "1 sealed API keys instead of 2",
        ),
        ("DELETE FROM signing_key WHERE kid = 'one'", "1 sealed signing keys instead of 2"),
        ("UPDATE signing_key SET published_until = NULL", "1 of the signing keys were changed"),
        ("DELETE FROM state", "not sealed"),
        ("UPDATE state SET sealed = zeroblob(200)", "the state was changed"),
        ("UPDATE api_key SET seal = NULL", "0 sealed API keys instead of 2"),
        ("UPDATE api_key SET seal = zeroblob(37)", "0 sealed API keys instead of 2"),
    ] {
        let file = SqliteFile::default();
        drop(store(&file).await);
        tamper(&file, change);
        let (_, loaded, faults) = load(&file).await;
        assert!(
            loaded.as_ref().is_err_and(|reason| reason.contains(expected)),
            "{change}: {loaded:?}"
        );
        assert!(faults[0].contains(expected), "{change}: {faults:?}");
    }
}

#[tokio::test]
async fn an_inserted_key_without_seal_is_refused() {
    let file = SqliteFile::default();
    drop(store(&file).await);
    tamper(
        &file,
        "CREATE TEMP TABLE k AS SELECT * FROM api_key WHERE client_id = 'ci';
         CREATE TEMP TABLE s AS SELECT * FROM secret WHERE client_id = 'ci';
         UPDATE k SET client_id = 'new', role = 'admin', seal = NULL;
         UPDATE s SET client_id = 'new', secret_id = printf('%016x', 1);
         INSERT INTO api_key SELECT * FROM k; INSERT INTO secret SELECT * FROM s",
    );
    let (mirror, loaded, faults) = load(&file).await;
    assert_eq!(loaded, Ok(()));
    assert!(mirror.key("new").is_none() && mirror.key("ci").is_some());
    assert!(faults[0].contains("refused: new"), "{faults:?}");
}

/// A change to a store, after which earlier rows are put back.
async fn put_back(tables: &[&str]) -> (Arc<Mirror>, Result<(), String>, Vec<String>) {
    let file = SqliteFile::default();
    let store = store(&file).await;
    let save =
        tables.iter().map(|table| format!("CREATE TABLE old_{table} AS SELECT * FROM {table};"));
    tamper(&file, &save.collect::<String>());
    let at = later(5);
    store.rotate_secret(&client_id("ci"), rotation_at(at, 0), entry(at, "ci")).await.unwrap();
    drop(store);
    let put = tables.iter().map(|table| {
        format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM old_{table};")
    });
    tamper(&file, &put.collect::<String>());
    load(&file).await
}

#[tokio::test]
async fn rows_that_are_put_back_prevent_loading() {
    for (tables, expected) in [
        (&["api_key", "secret"][..], "API keys were replaced by earlier versions"),
        (&["api_key", "secret", "denial"], "2 sealed revoked tokens instead of 1"),
        (&["denial"], "2 sealed revoked tokens instead of 1"),
        (&["api_key", "secret", "denial", "state"], "the ledger ends at entry 7"),
    ] {
        let (_, loaded, faults) = put_back(tables).await;
        assert!(loaded.as_ref().is_err_and(|reason| reason.contains(expected)), "{loaded:?}");
        assert!(faults[0].contains(expected), "{faults:?}");
    }
}

#[tokio::test]
async fn a_changed_key_cannot_be_laundered() {
    let file = SqliteFile::default();
    let store = store(&file).await;
    tamper(&file, "UPDATE api_key SET role = 'admin' WHERE client_id = 'ci'");
    let id = client_id("ci");
    tampered(store.update_key(&id, rename(), LastAdmin::Keep, entry(NOW, "ci")).await);
    tampered(store.rotate_secret(&id, rotation_at(NOW, 0), entry(NOW, "ci")).await);
    tampered(store.switch_key(&id, Switch::Enable, LastAdmin::Keep, entry(NOW, "ci")).await);
    tampered(store.create_key(new_key("ci"), new_call("ci"), entry(NOW, "ci")).await);
    store.raise_epochs(9, entry(NOW, "all")).await.unwrap();
    store.purge(NOW, NOW, Timestamp::from_seconds(i64::MAX / 1_000_000)).await.unwrap();
    assert!(store.verify_seals().await.unwrap().faults()[0].contains("refused: ci"));
    // The way out.
    store.delete_key(&id, LastAdmin::Keep, entry(NOW, "ci")).await.unwrap();
    store.create_key(new_key("ci"), new_call("again"), entry(NOW, "ci")).await.unwrap();
    assert_eq!(store.verify_seals().await.unwrap().faults(), [""; 0]);
    tamper(&file, "UPDATE signing_key SET published_until = 9");
    let new = signing_key("new");
    let rotated = store.rotate_signing_key(new, Some("two"), NOW, entry(NOW, "new")).await;
    assert!(matches!(rotated, Err(StoreError::Tampered(_))));
}

#[tokio::test]
async fn purging_does_not_hide_a_changed_row() {
    for (change, expected) in [
        ("UPDATE denial SET expires_at = 0 WHERE client_id = 'ci'", "revoked token"),
        (
            "UPDATE denial SET client_id = 'ci', jti = 'other' WHERE client_id = 'other'",
            "revoked token",
        ),
        ("UPDATE signing_key SET published_until = 0 WHERE kid = 'one'", "signing key"),
    ] {
        let file = SqliteFile::default();
        let store = store(&file).await;
        tamper(&file, change);
        store.purge(later(10), NOW, NOW).await.unwrap();
        store.delete_key(&client_id("ci"), LastAdmin::Keep, entry(NOW, "ci")).await.unwrap();
        drop(store);
        let (_, loaded, _) = load(&file).await;
        assert!(loaded.as_ref().is_err_and(|reason| reason.contains(expected)), "{loaded:?}");
    }
}

#[tokio::test]
async fn purging_does_not_revive_a_signing_key() {
    let file = SqliteFile::default();
    let mirror = Arc::new(Mirror::default());
    let store = file.open_sqlite(mirror.clone());
    for kid in ["one", "two", "three"] {
        add_signing_key(&store, signing_key(kid), later(60), entry(NOW, kid)).await;
    }
    store.retire_signing_key("one", entry(NOW, "one")).await.unwrap();
    tamper(&file, "UPDATE signing_key SET published_until = NULL WHERE kid = 'one'");
    store.purge(later(120), NOW, NOW).await.unwrap();
    let kids: Vec<_> = mirror.known().signing_keys.iter().map(|key| key.kid.clone()).collect();
    assert_eq!(kids, ["three"]);
}

#[tokio::test]
async fn removed_seals_are_not_made_again() {
    const STRIP: &str = "DELETE FROM state; UPDATE api_key SET seal = NULL, role = 'admin';
        UPDATE denial SET seal = NULL; UPDATE signing_key SET seal = NULL;";
    for (ledger, expected) in [
        (String::new(), "not sealed"),
        (format!("{OPEN_LEDGER} UPDATE ledger SET state = NULL"), "broken at entry 1"),
        (format!("{OPEN_LEDGER} DELETE FROM ledger"), "not sealed"),
    ] {
        let file = SqliteFile::default();
        drop(store(&file).await);
        tamper(&file, &format!("{STRIP} {ledger}"));
        let store = file.open_sqlite(Arc::new(Mirror::default()));
        let sealed = store.seal_store(entry(NOW, "store")).await;
        let loaded = store.load().await;
        assert!(loaded.as_ref().is_err_and(|error| error.to_string().contains("not sealed")));
        match sealed {
            Ok(None) => assert_eq!(expected, "not sealed", "{ledger}"),
            Err(StoreError::Tampered(reason)) => assert!(reason.contains(expected), "{reason}"),
            other => panic!("{ledger}: {other:?}"),
        }
    }
}

const SAVE: &str =
    "CREATE TABLE old_api_key AS SELECT * FROM api_key; CREATE TABLE old_secret AS SELECT * FROM secret;
     CREATE TABLE old_signing_key AS SELECT * FROM signing_key;";

const PUT_BACK: &str = "DELETE FROM api_key; INSERT INTO api_key SELECT * FROM old_api_key;
     DELETE FROM secret; INSERT INTO secret SELECT * FROM old_secret;";

/// Fails with [`StoreError::Tampered`], whose text it returns.
fn tampered<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    match result {
        Err(StoreError::Tampered(what)) => what,
        other => panic!("{other:?}"),
    }
}

/// A loaded store, as a server has it.
async fn serving(file: &SqliteFile) -> (Arc<Mirror>, SqliteStore) {
    drop(store(file).await);
    let mirror = Arc::new(Mirror::default());
    let store = file.open_sqlite(mirror.clone());
    store.load().await.unwrap();
    (mirror, store)
}

fn rename() -> ApiKeyPatch {
    ApiKeyPatch { logo_uri: Some("x".to_owned()), ..ApiKeyPatch::default() }
}

#[tokio::test]
async fn rows_put_back_while_serving_are_refused() {
    let file = SqliteFile::default();
    let (mirror, store) = serving(&file).await;
    tamper(&file, SAVE);
    let (id, keep) = (client_id("ci"), LastAdmin::Keep);
    store.switch_key(&id, Switch::Disable, keep, entry(later(1), "ci")).await.unwrap();
    tamper(&file, PUT_BACK);
    let at = later(2);
    let changed = store.update_key(&id, rename(), keep, entry(at, "ci")).await;
    assert!(tampered(changed).contains("API key ci was changed"));
    tampered(store.rotate_secret(&id, rotation_at(at, 0), entry(at, "ci")).await);
    tampered(store.create_key(new_key("ci"), new_call("ci"), entry(at, "ci")).await);
    tampered(store.find_key(&id).await);
    tampered(store.list_keys(Selection::default(), 10).await);
    assert!(mirror.key("ci").unwrap().disabled_at.is_some());
    // Its row is the latest.
    store.update_key(&client_id("other"), rename(), keep, entry(at, "other")).await.unwrap();
    store.delete_key(&id, keep, entry(at, "ci")).await.unwrap();
    assert_eq!(mirror.key("ci"), None);
}

#[tokio::test]
async fn a_row_removed_while_serving_is_missed() {
    let file = SqliteFile::default();
    let (_, store) = serving(&file).await;
    tamper(&file, "DELETE FROM api_key WHERE client_id = 'ci'");
    let (id, keep) = (client_id("ci"), LastAdmin::Keep);
    let disabled = store.switch_key(&id, Switch::Disable, keep, entry(NOW, "ci")).await;
    assert!(tampered(disabled).contains("API key ci was removed"));
    tampered(store.delete_key(&id, keep, entry(NOW, "ci")).await);
    tampered(store.create_key(new_key("ci"), new_call("ci"), entry(NOW, "ci")).await);
    tampered(store.find_key(&id).await);
    assert!(store.find_key(&client_id("absent")).await.unwrap().is_none());
}

#[tokio::test]
async fn a_changed_key_is_not_shown() {
    let file = SqliteFile::default();
    let (_, store) = serving(&file).await;
    tamper(&file, "UPDATE api_key SET role = 'admin' WHERE client_id = 'ci'");
    assert!(tampered(store.find_key(&client_id("ci")).await).contains("API key ci"));
    assert!(tampered(store.list_keys(Selection::default(), 10).await).contains("API key ci"));
    let after = Cursor { text: String::new(), instant: None, client_id: "ci".to_owned() };
    let others = Selection { after: Some(after), ..Selection::default() };
    assert_eq!(store.list_keys(others, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_signing_key_put_back_stays_retired() {
    let file = SqliteFile::default();
    let (mirror, store) = serving(&file).await;
    tamper(&file, SAVE);
    store.retire_signing_key("one", entry(later(1), "one")).await.unwrap();
    let retired = mirror.known().signing_keys.clone();
    tamper(&file, "DELETE FROM signing_key; INSERT INTO signing_key SELECT * FROM old_signing_key");
    let (new, at) = (signing_key("new"), entry(later(2), "new"));
    let rotated = store.rotate_signing_key(new, Some("two"), later(9), at).await;
    assert!(tampered(rotated).contains("put back"));
    store.purge(later(120), NOW, NOW).await.unwrap();
    assert_eq!(mirror.known().signing_keys, retired);
}

#[tokio::test]
async fn an_earlier_database_put_back_stops_all_changes() {
    let file = SqliteFile::default();
    let (mirror, store) = serving(&file).await;
    let tables = ["api_key", "secret", "denial", "signing_key", "state", "ledger"];
    let save = tables.map(|table| format!("CREATE TABLE old_{table} AS SELECT * FROM {table};"));
    tamper(&file, &save.concat());
    let (id, keep) = (client_id("ci"), LastAdmin::Keep);
    store.switch_key(&id, Switch::Disable, keep, entry(later(1), "ci")).await.unwrap();
    let put_back = tables.map(|table| {
        format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM old_{table};")
    });
    tamper(&file, &format!("{OPEN_LEDGER} {}", put_back.concat()));
    for _ in 0..2 {
        let changed = store.update_key(&id, rename(), keep, entry(later(2), "ci")).await;
        assert!(matches!(changed, Err(StoreError::Unavailable(_))), "{changed:?}");
    }
    assert!(mirror.key("ci").unwrap().disabled_at.is_some());
}

/// The known seals follow what is stored, also if a call or a commit fails.
#[tokio::test]
async fn a_failed_change_leaves_the_key_usable() {
    let file = SqliteFile::default();
    let (_, store) = serving(&file).await;
    let (id, keep) = (client_id("ci"), LastAdmin::Keep);
    store.limit_pages(1).await.unwrap();
    let long = ApiKeyPatch { logo_uri: Some("x".repeat(100_000)), ..ApiKeyPatch::default() };
    let full = store.update_key(&id, long, keep, entry(NOW, "ci")).await;
    assert!(matches!(full, Err(StoreError::Unavailable(_))), "{full:?}");
    store.limit_pages(u32::MAX).await.unwrap();
    store.update_key(&id, rename(), keep, entry(NOW, "ci")).await.unwrap();
    assert_eq!(store.find_key(&id).await.unwrap().unwrap().application.logo_uri, "x");
}

/// A purge has no ledger entry, so only the digest reveals one whose sync failed.
#[tokio::test]
async fn a_purge_that_surfaces_later_is_known() {
    let file = SqliteFile::default();
    let (mirror, store) = serving(&file).await;
    let (id, keep) = (client_id("ci"), LastAdmin::Keep);
    store.rotate_secret(&id, rotation_at(later(1), 0), entry(later(1), "ci")).await.unwrap();
    let surfaced = file.open_sqlite(Arc::new(Mirror::default()));
    surfaced.purge(later(2), NOW, later(9)).await.unwrap();
    drop(surfaced);
    store.update_key(&id, rename(), keep, entry(later(3), "ci")).await.unwrap();
    assert_eq!(mirror.key("ci").unwrap().secrets.len(), 1);
}

/// The ledger of [`store`] has six entries.
#[tokio::test]
async fn a_moved_base_prevents_loading() {
    const ARCHIVED: &str =
        "INSERT INTO ledger_base SELECT 1, sequence, link, root_key_version FROM ledger
        WHERE sequence = 4; DELETE FROM ledger WHERE sequence <= 4";
    const OPEN_BASE: &str =
        "DROP TRIGGER ledger_base_only_rises; DROP TRIGGER ledger_base_is_not_removed";
    for (archives, change, expected) in [
        (false, ARCHIVED, "begins after entry 4, but was archived up to entry 0"),
        (
            true,
            "UPDATE ledger_base SET sequence = 3, link = (SELECT link FROM ledger WHERE sequence = 3);
             DELETE FROM ledger WHERE sequence <= 3",
            "begins after entry 3, but was archived up to entry 2",
        ),
        (true, "DELETE FROM ledger_base", "begins after entry 0, but was archived up to entry 2"),
        (true, "UPDATE ledger_base SET link = zeroblob(32)", "entry 2, after which the ledger begins"),
        (true, "UPDATE ledger_base SET root_key_version = 0", "entry 2, after which the ledger"),
    ] {
        let file = SqliteFile::default();
        let store = store(&file).await;
        if archives {
            let range = range(LedgerBase::EMPTY, &store.ledger_entries(1, 1).await.unwrap()[0]);
            store.archive_ledger(range, entry(NOW, "ledger")).await.unwrap();
        }
        drop(store);
        tamper(&file, &format!("{OPEN_BASE}; {change}"));
        let (_, loaded, faults) = load(&file).await;
        let prevents = loaded.as_ref().is_err_and(|reason| reason.contains(expected));
        assert!(prevents, "{change}: {loaded:?}");
        assert!(faults[0].contains(expected), "{change}: {faults:?}");
    }
}

#[tokio::test]
async fn a_moved_base_prevents_archiving() {
    let file = SqliteFile::default();
    let store = store(&file).await;
    let entries = store.ledger_entries(0, 9).await.unwrap();
    tamper(
        &file,
        "INSERT INTO ledger_base SELECT 1, sequence, link, root_key_version FROM ledger
         WHERE sequence = 4",
    );
    let base = store.ledger_base().await.unwrap();
    assert_eq!(base.sequence(), 4);
    for range in [range(base, &entries[5]), range(LedgerBase::EMPTY, &entries[5])] {
        let archived = store.archive_ledger(range, entry(NOW, "ledger")).await;
        assert!(matches!(archived, Err(StoreError::Tampered(_))), "{archived:?}");
    }
    // Nor are the entries deleted that someone hid.
    assert_eq!(store.delete_archived(9).await.unwrap(), 0);
}

#[tokio::test]
async fn only_archived_entries_can_be_deleted() {
    let file = SqliteFile::default();
    let store = store(&file).await;
    let range = range(LedgerBase::EMPTY, &store.ledger_entries(1, 1).await.unwrap()[0]);
    store.archive_ledger(range, entry(NOW, "ledger")).await.unwrap();
    let database = Connection::open(file.path()).unwrap();
    for (statement, allowed) in [
        ("DELETE FROM ledger WHERE sequence = 3", false),
        ("DELETE FROM ledger", false),
        ("UPDATE ledger_base SET sequence = 1", false),
        ("DELETE FROM ledger_base", false),
        ("DELETE FROM ledger WHERE sequence <= 2", true),
    ] {
        assert_eq!(database.execute(statement, []).is_ok(), allowed, "{statement}");
    }
}

#[tokio::test]
async fn each_entry_carries_the_state() {
    let file = SqliteFile::default();
    let store = store(&file).await;
    store.append_entry(entry(NOW, "refused")).await.unwrap();
    let entries = store.ledger_entries(0, 99).await.unwrap();
    let mut states: Vec<_> = entries.iter().map(|entry| entry.state.unwrap()).collect();
    assert_eq!(states.pop(), states.last().copied(), "nothing changed");
    states.sort_unstable();
    states.dedup();
    assert_eq!(states.len(), entries.len() - 1);
}
