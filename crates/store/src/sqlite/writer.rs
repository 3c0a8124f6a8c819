//! The writer, on SQLite.

use std::sync::{Arc, Mutex, mpsc};

use futures::FutureExt;
use gatekey_core::{
    KeyId, LedgerKeys, RootKey, StoreError, Timestamp,
    ledger::{LedgerHead, NewEntry, verify_chain},
    store::{Change, ChangeObserver},
};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::{Opener, open};
use crate::sql::{
    access::{Session, values},
    failure::Failure,
    known_seals::Seals,
    ledger, load, root_key,
    transaction::{Transaction, ledger_head},
    writer::{Scope, Writer},
};

#[derive(Default)]
struct Reported(Mutex<Vec<KeyId>>);

impl ChangeObserver for Reported {
    fn observe(&self, changes: &[Change]) {
        for change in changes {
            if let Change::DenialsDropped(key_id) = change {
                self.0.lock().unwrap().push(*key_id);
            }
        }
    }
}

struct Panics;

impl ChangeObserver for Panics {
    fn observe(&self, _: &[Change]) {
        panic!("a bug in an observer");
    }
}

fn ledger_keys() -> LedgerKeys {
    RootKey::new(&[1; 32]).ledger_keys()
}

fn writer(directory: &TempDir, observer: Arc<dyn ChangeObserver>) -> Writer {
    let path = directory.path().join("gatekey.db");
    let connection = open::open(&path).unwrap();
    let root_key = RootKey::new(&[1; 32]);
    let seals = Seals::new(root_key.seal_keys());
    let ledger_keys = root_key::settle(&connection, &root_key).ok().unwrap();
    Writer::start(
        Box::new(connection),
        Box::new(Opener(path)),
        ledger_keys,
        seals,
        observer,
        load::reload,
    )
    .unwrap()
}

fn entry(target: &str) -> NewEntry {
    NewEntry {
        at: Timestamp::from_seconds(1),
        actor: "local:uid=0".to_owned(),
        action: "refuse".to_owned(),
        target: target.to_owned(),
        detail: String::new(),
        request_id: String::new(),
        peer: String::new(),
        user_agent: String::new(),
    }
}

fn change(number: u8) -> Change {
    Change::DenialsDropped(format!("{number:032x}").parse().unwrap())
}

/// A change to a table, the ledger and the observer that ends as `end` says.
fn mark(
    number: u8,
    end: Result<(), Failure>,
) -> impl FnOnce(&mut Transaction<'_>) -> Result<(), Failure> {
    move |transaction| {
        root_key::put_sealed(transaction.sql(), &number.to_string(), b"mark")?;
        transaction.append(&entry(&number.to_string()))?;
        transaction.report(change(number));
        end
    }
}

/// Blocks the writer until the sender is dropped. Calls sent meanwhile share a batch.
async fn hold(writer: &Writer) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (held, is_held) = oneshot::channel();
    let work = move |_: &dyn Session| {
        let _ = held.send(());
        let _ = released.recv();
        Ok(())
    };
    // Begun by its first poll, and finished without its future.
    drop(Box::pin(writer.exclusively(work)).now_or_never());
    is_held.await.unwrap();
    release
}

#[tokio::test]
async fn a_failed_call_does_not_affect_its_batch() {
    let directory = tempfile::tempdir().unwrap();
    let reported = Arc::new(Reported::default());
    let writer = writer(&directory, reported.clone());
    let release = hold(&writer).await;
    let calls = futures::future::join3(
        writer.write(Scope::Nothing, mark(1, Ok(()))),
        writer.write(Scope::Nothing, mark(2, Err(Failure::Conflict))),
        writer.write(Scope::Nothing, mark(3, Ok(()))),
    );
    let release = async {
        assert_eq!(writer.queue_depth(), 4, "the calls, and what blocks the writer");
        drop(release);
    };
    let ((first, second, third), ()) = futures::future::join(calls, release).await;
    assert_eq!(writer.queue_depth(), 0);
    assert!(first.is_ok() && third.is_ok());
    assert!(matches!(second, Err(StoreError::Conflict)));
    assert_eq!(writer.commits(), 1);

    let (found, entries) = writer
        .exclusively(|session| {
            let found =
                ["1", "2", "3"].map(|name| root_key::find_sealed(session, name).unwrap().is_some());
            Ok((found, ledger::entries(session, 0, 10)?))
        })
        .await
        .unwrap();
    assert_eq!(found, [true, false, true]);
    assert_eq!(entries.iter().map(|entry| &*entry.entry.target).collect::<Vec<_>>(), ["1", "3"]);
    verify_chain(&ledger_keys(), LedgerHead::EMPTY, &entries).unwrap();
    assert_eq!(reported.0.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_panicking_call_does_not_stop_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let writer = writer(&directory, Arc::new(Reported::default()));
    let panicking = |transaction: &mut Transaction<'_>| -> Result<(), Failure> {
        root_key::put_sealed(transaction.sql(), "half", b"done")?;
        panic!("a bug in a call");
    };
    assert!(matches!(
        writer.write(Scope::Nothing, panicking).await,
        Err(StoreError::Unavailable(_))
    ));
    let panicking =
        |_: &dyn Session| -> Result<(), Failure> { panic!("a bug between two transactions") };
    assert!(matches!(writer.exclusively(panicking).await, Err(StoreError::Unavailable(_))));
    writer.write(Scope::Nothing, mark(1, Ok(()))).await.unwrap();
    let half = writer.exclusively(|session| root_key::find_sealed(session, "half")).await.unwrap();
    assert_eq!(half, None);
}

#[tokio::test]
async fn a_panicking_observer_does_not_stop_the_writer() {
    let directory = tempfile::tempdir().unwrap();
    let writer = writer(&directory, Arc::new(Panics));
    for number in [1, 2] {
        writer.write(Scope::Nothing, mark(number, Ok(()))).await.unwrap();
    }
    let head = writer.exclusively(|session| ledger_head(session)).await.unwrap();
    assert_eq!(head.sequence, 2);
}

#[tokio::test]
async fn a_lost_transaction_fails_each_of_its_calls() {
    let directory = tempfile::tempdir().unwrap();
    let reported = Arc::new(Reported::default());
    let writer = writer(&directory, reported.clone());
    let release = hold(&writer).await;
    // As SQLite does when the disk fails during a transaction.
    let losing = |transaction: &mut Transaction<'_>| -> Result<(), Failure> {
        transaction.sql().execute("ROLLBACK", values![])?;
        Err(Failure::Panicked)
    };
    let calls = futures::future::join4(
        writer.write(Scope::Nothing, mark(1, Ok(()))),
        writer.write(Scope::Nothing, mark(2, Err(Failure::Conflict))),
        writer.write(Scope::Nothing, losing),
        writer.write(Scope::Nothing, mark(3, Ok(()))),
    );
    let release = async { drop(release) };
    let ((before, conflict, losing, after), ()) = futures::future::join(calls, release).await;
    assert!(matches!(before, Err(StoreError::Unavailable(_))));
    assert!(
        matches!(conflict, Err(StoreError::Unavailable(_))),
        "the key it conflicts with may be lost"
    );
    assert!(matches!(losing, Err(StoreError::Unavailable(_))));
    after.unwrap();
    let entries = writer.exclusively(|session| ledger::entries(session, 0, 10)).await.unwrap();
    assert_eq!(entries.iter().map(|entry| &*entry.entry.target).collect::<Vec<_>>(), ["3"]);
    assert_eq!(reported.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_missing_file_is_unavailable_until_it_returns() {
    let directory = tempfile::tempdir().unwrap();
    let writer = writer(&directory, Arc::new(Reported::default()));
    writer.write(Scope::Nothing, mark(1, Ok(()))).await.unwrap();
    let path = directory.path().join("gatekey.db");
    // The failure closes the connection, so the next call must open the file again.
    let spoiling = |_: &mut Transaction<'_>| -> Result<(), Failure> {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
        Err(rusqlite::Error::SqliteFailure(code, None).into())
    };
    assert!(matches!(
        writer.write(Scope::Nothing, spoiling).await,
        Err(StoreError::Unavailable(_))
    ));
    let away = directory.path().join("away.db");
    std::fs::rename(&path, &away).unwrap();
    assert!(matches!(
        writer.write(Scope::Nothing, mark(2, Ok(()))).await,
        Err(StoreError::Unavailable(_))
    ));
    assert!(!path.exists(), "a new, empty database would hide the loss");
    std::fs::rename(&away, &path).unwrap();
    writer.write(Scope::Nothing, mark(3, Ok(()))).await.unwrap();
    let head = writer.exclusively(|session| ledger_head(session)).await.unwrap();
    assert_eq!(head.sequence, 2);
}
