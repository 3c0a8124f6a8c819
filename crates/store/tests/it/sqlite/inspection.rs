//! Inspections and snapshots.

use std::{collections::BTreeSet, fs, io::Read as _, path::Path, sync::Arc};

use gatekey_core::{Store, store::ApiKeyStore};
use gatekey_store::{Inspection, OpenError};

use crate::world::{Mirror, NOW, SqliteFile, entry, new_call, new_key};

fn names(file: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(file.parent().unwrap()).unwrap();
    names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn an_inspection_sees_commits_and_changes_nothing() {
    let file = SqliteFile::default();
    let store = file.open_sqlite(Arc::new(Mirror::default()));
    store.create_key(new_key("ci"), new_call("ci"), entry(NOW, "ci")).await.unwrap();
    let look = || {
        let inspection = Inspection::open(&file.path()).unwrap();
        assert_eq!(inspection.faults(10).unwrap(), [] as [String; 0]);
        let mut keys = Vec::new();
        inspection.each_key(|key| keys.push(key.client_id.to_string())).unwrap();
        assert_eq!(keys, ["ci"]);
        assert_eq!(inspection.ledger_entries(0, 10).unwrap().len(), 1);
    };
    look();
    drop(store);
    let (before, bytes) = (names(&file.path()), fs::read(file.path()).unwrap());
    look();
    assert_eq!(names(&file.path()), before, "no file is created beside it");
    assert_eq!(fs::read(file.path()).unwrap(), bytes);
}

#[test]
fn an_inspection_creates_no_database() {
    let file = SqliteFile::default();
    assert!(matches!(Inspection::open(&file.path()), Err(OpenError::Io { .. })));
    assert!(!file.path().exists());
}

#[tokio::test]
async fn a_snapshot_is_complete_and_unlinked() {
    let file = SqliteFile::default();
    let store = file.open_sqlite(Arc::new(Mirror::default()));
    store.create_key(new_key("ci"), new_call("ci"), entry(NOW, "ci")).await.unwrap();
    let before = names(&file.path());
    let mut bytes = Vec::new();
    store.snapshot().await.unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(names(&file.path()), before);
    let copy = SqliteFile::default();
    fs::write(copy.path(), bytes).unwrap();
    let inspection = Inspection::open(&copy.path()).unwrap();
    let mut keys = 0;
    inspection.each_key(|_| keys += 1).unwrap();
    assert_eq!((keys, inspection.faults(1).unwrap().len()), (1, 0));
}

#[tokio::test]
async fn a_leftover_snapshot_is_removed_at_start() {
    let file = SqliteFile::default();
    drop(file.open_sqlite(Arc::new(Mirror::default())));
    let mut left = file.path().into_os_string();
    left.push(".snapshot-0");
    fs::write(&left, "half a copy").unwrap();
    let store = file.open_sqlite(Arc::new(Mirror::default()));
    assert!(!Path::new(&left).exists());
    store.snapshot().await.unwrap();
}
