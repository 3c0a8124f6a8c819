//! Commits in groups, and when the observer is notified.

use std::sync::{
    Arc, Mutex,
    mpsc::{Receiver, Sender, channel},
};

use futures::future::{join, join_all};
use gatekey_core::store::{ApiKeyStore, Change, ChangeObserver, LedgerStore};
use rusqlite::Connection;

use crate::world::{Backend, Mirror, NOW, SqliteFile, entry, new_call, new_key, root_key};

/// Signals its first call, and then blocks it.
struct Gate(Mutex<Option<(Sender<()>, Receiver<()>)>>);

impl ChangeObserver for Gate {
    fn observe(&self, _: &[Change]) {
        if let Some((reached, open)) = self.0.lock().unwrap().take() {
            reached.send(()).unwrap();
            open.recv().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queued_calls_share_one_commit() {
    let file = SqliteFile::default();
    let ((reached, is_reached), (open, is_open)) = (channel(), channel());
    let gate = Gate(Mutex::new(Some((reached, is_open))));
    let store = file.open_sqlite(Arc::new(gate));
    let create = |number: usize| {
        let id = format!("key-{number:03}");
        store.create_key(new_key(&id), new_call(&id), entry(NOW, &id))
    };
    let others = async {
        // The other calls arrive while the first commit is reported.
        tokio::task::block_in_place(|| is_reached.recv().unwrap());
        let others = join_all((1..=200).map(create));
        let release = async { open.send(()).unwrap() };
        join(others, release).await.0
    };
    let (first, others) = join(create(0), others).await;
    first.unwrap();
    assert!(others.iter().all(Result::is_ok));
    assert_eq!(store.commits(), 2);
    assert_eq!(store.ledger_head().await.unwrap().sequence, 201);
}

/// Looks for each key in the file when it is reported.
struct Looks {
    file: Arc<SqliteFile>,
    seen: Mutex<usize>,
}

impl ChangeObserver for Looks {
    fn observe(&self, changes: &[Change]) {
        for change in changes {
            let Change::KeyPut(key) = change else { panic!("{change:?}") };
            let reader = Connection::open(self.file.path()).unwrap();
            let count: i64 = reader
                .query_row(
                    "SELECT count(*) FROM api_key WHERE client_id = ?1",
                    [key.client_id.as_str()],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(count, 1, "{} was reported before its commit", key.client_id);
            *self.seen.lock().unwrap() += 1;
        }
    }
}

#[tokio::test]
async fn the_observer_learns_after_commit_and_before_caller() {
    let file = Arc::new(SqliteFile::default());
    let observer = Arc::new(Looks { file: Arc::clone(&file), seen: Mutex::new(0) });
    let store = file.open_sqlite(observer.clone());
    for number in 1..=5 {
        let id = format!("key-{number}");
        store.create_key(new_key(&id), new_call(&id), entry(NOW, &id)).await.unwrap();
        assert_eq!(*observer.seen.lock().unwrap(), number);
    }
}

#[tokio::test]
async fn an_acknowledged_change_is_in_the_files() {
    let file = SqliteFile::default();
    let store = file.open(&root_key(), Arc::new(Mirror::default()));
    store.create_key(new_key("ci"), new_call("1"), entry(NOW, "ci")).await.unwrap();
    // The files as a killed process leaves them.
    let copy = SqliteFile::default();
    for suffix in ["", "-wal"] {
        let name = |file: &SqliteFile| format!("{}{suffix}", file.path().display());
        std::fs::copy(name(&file), name(&copy)).unwrap();
    }
    let mirror = Arc::new(Mirror::default());
    copy.open(&root_key(), mirror.clone()).load().await.unwrap();
    assert!(mirror.key("ci").is_some());
}
