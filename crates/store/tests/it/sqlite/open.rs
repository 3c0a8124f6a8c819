//! Opening databases, new files and anything else.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use gatekey_core::{
    Store,
    store::{ApiKeyStore, ChangeObserver, LedgerStore},
};
use gatekey_store::{OpenError, SqliteStore};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::world::{Mirror, NOW, entry, new_call, new_key, root_key};

fn open(path: &Path) -> Result<SqliteStore, OpenError> {
    let observer: Arc<dyn ChangeObserver> = Arc::new(Mirror::default());
    SqliteStore::open(path, &root_key(), observer)
}

fn refusal(path: &Path) -> OpenError {
    match open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// The files of a directory with their contents.
fn contents(directory: &TempDir) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A directory with a database of 50 keys.
async fn database() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gatekey.db");
    let store = open(&path).unwrap();
    for number in 0..50 {
        let id = format!("key-{number}");
        store.create_key(new_key(&id), new_call(&id), entry(NOW, &id)).await.unwrap();
    }
    (directory, path)
}

#[tokio::test]
async fn a_new_database_is_one_complete_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gatekey.db");
    drop(open(&path).unwrap());
    assert!(contents(&directory).into_keys().eq([path.clone()]));
    let connection = Connection::open(&path).unwrap();
    let pragma = |name: &str| -> i64 {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(pragma("application_id"), i64::from(u32::from_be_bytes(*b"GKEY")));
    assert_eq!(pragma("user_version"), 8);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_database() {
    use std::os::unix::fs::PermissionsExt;
    let (directory, path) = database().await;
    // As a careless copy does.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(&path).unwrap();
    store.append_entry(entry(NOW, "log")).await.unwrap();
    let names = fs::read_dir(directory.path()).unwrap();
    let modes: Vec<_> = names
        .map(|file| file.unwrap())
        .map(|file| (file.file_name(), file.metadata().unwrap().permissions().mode() & 0o777))
        .collect();
    assert!(modes.len() > 1, "{modes:?}");
    assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
}

#[tokio::test]
async fn a_foreign_database_is_rejected_unchanged() {
    for application_id in [0, 0x1234] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gatekey.db");
        let foreign = Connection::open(&path).unwrap();
        foreign
            .execute_batch(&format!(
                "PRAGMA application_id = {application_id}; CREATE TABLE api_key (x)"
            ))
            .unwrap();
        drop(foreign);
        let before = contents(&directory);
        let refusal = refusal(&path);
        assert!(
            matches!(refusal, OpenError::Foreign { application_id: id, .. } if id == application_id)
        );
        assert!(refusal.to_string().contains("another program"), "{refusal}");
        assert_eq!(contents(&directory), before);
    }
}

#[tokio::test]
async fn a_newer_database_is_rejected_unchanged() {
    let (directory, path) = database().await;
    let newer = Connection::open(&path).unwrap();
    newer
        .execute_batch("PRAGMA user_version = 9; ALTER TABLE api_key ADD COLUMN colour TEXT")
        .unwrap();
    drop(newer);
    let before = contents(&directory);
    let refusal = refusal(&path);
    assert!(matches!(refusal, OpenError::Newer { found: 9, .. }), "{refusal}");
    assert!(refusal.to_string().contains("run that version"), "{refusal}");
    assert_eq!(contents(&directory), before);
}

#[tokio::test]
async fn a_newer_version_in_the_log_is_rejected() {
    let (directory, path) = database().await;
    let newer = Connection::open(&path).unwrap();
    newer.execute_batch("PRAGMA user_version = 9").unwrap();
    let log = directory.path().join("gatekey.db-wal");
    // As after a crash: file and log while the writer still runs.
    let crashed = tempfile::tempdir().unwrap();
    let crashed_path = crashed.path().join("gatekey.db");
    fs::copy(&path, &crashed_path).unwrap();
    fs::copy(&log, crashed.path().join("gatekey.db-wal")).unwrap();
    drop(newer);
    let before = contents(&crashed);
    assert!(matches!(refusal(&crashed_path), OpenError::Newer { found: 9, .. }));
    let after = contents(&crashed);
    assert!(before.iter().all(|(path, bytes)| after.get(path) == Some(bytes)));
}

#[tokio::test]
async fn a_file_without_a_database_is_rejected_unchanged() {
    let longer = "x".repeat(10_000);
    for text in ["secret notes", "SQLite format 2\0", "SQLite format 3", &longer] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gatekey.db");
        fs::write(&path, text).unwrap();
        let refusal = refusal(&path);
        assert!(matches!(refusal, OpenError::NotADatabase { .. }), "{refusal}");
        assert_eq!(fs::read(&path).unwrap(), text.as_bytes());
        assert_eq!(contents(&directory).len(), 1);
    }
}

#[tokio::test]
async fn a_truncated_database_is_rejected_unchanged() {
    let (directory, path) = database().await;
    let whole = fs::read(&path).unwrap();
    for length in [0, 16, 50, 99, 100, 4095, 4096, 10_000, whole.len() - 4096, whole.len() - 1] {
        fs::write(&path, &whole[..length]).unwrap();
        let before = contents(&directory);
        let refusal = refusal(&path);
        assert!(matches!(refusal, OpenError::Damaged { .. }), "{length} bytes: {refusal}");
        assert!(refusal.to_string().contains("restore a backup"), "{refusal}");
        assert_eq!(contents(&directory), before, "{length} bytes");
    }
    fs::write(&path, &whole).unwrap();
    open(&path).unwrap();
}

#[tokio::test]
async fn a_damaged_header_is_rejected_unchanged() {
    let (directory, path) = database().await;
    let whole = fs::read(&path).unwrap();
    // The page size, the file format, the schema version and the root page of the schema.
    for damaged in [16..18, 21..24, 60..64, 100..4096] {
        let mut bytes = whole.clone();
        bytes[damaged.clone()].fill(0xff);
        fs::write(&path, &bytes).unwrap();
        let refusal = refusal(&path);
        assert!(matches!(refusal, OpenError::Damaged { .. }), "{damaged:?}: {refusal:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes, "{damaged:?}");
        for (file, bytes) in contents(&directory) {
            assert!(file == path || bytes.is_empty(), "{damaged:?} left {}", file.display());
        }
    }
}

#[tokio::test]
async fn a_log_without_its_database_is_rejected_unchanged() {
    for suffix in ["-wal", "-journal"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gatekey.db");
        fs::write(directory.path().join(format!("gatekey.db{suffix}")), "the last changes")
            .unwrap();
        let before = contents(&directory);
        let refusal = refusal(&path);
        assert!(matches!(refusal, OpenError::Leftover { .. }), "{refusal}");
        assert_eq!(contents(&directory), before);
    }
}

#[tokio::test]
async fn a_missing_directory_is_named_in_the_error() {
    let directory = tempfile::tempdir().unwrap();
    let refusal = refusal(&directory.path().join("absent").join("gatekey.db"));
    assert!(matches!(refusal, OpenError::Io { .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("absent"), "{refusal}");
}

#[tokio::test]
async fn a_leftover_draft_does_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gatekey.db");
    let draft = directory.path().join(format!("gatekey.db.new-{}", std::process::id()));
    fs::write(&draft, "half a database").unwrap();
    open(&path).unwrap().load().await.unwrap();
    assert!(!draft.exists());
}

#[tokio::test]
async fn names_special_to_sqlite_are_plain_paths() {
    for name in ["file:memory?mode=memory", ":memory:", "what?.db", "a#b.db", "пусто.db"] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        open(&path).unwrap();
        assert!(path.exists(), "{name}");
    }
}
