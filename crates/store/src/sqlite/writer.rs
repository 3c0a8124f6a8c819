//! The one writer: a thread that owns the writing connection and commits many calls at once.
//!
//! An fsync costs far more than a change, so calls that arrive during one commit share the next.
//! Each call runs in its own savepoint, so a failed call does not affect the others. The observer
//! is notified after the commit, and the callers after the observer.

use std::{
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use gatekey_core::{
    LedgerKeys, StoreError,
    ledger::LedgerHead,
    panic_message,
    store::{Change, ChangeObserver},
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    connection,
    failure::{CommitFailed, Failure},
    known_seals::Seals,
    state,
    transaction::{Content, Finished, Transaction, ledger_head},
};

/// The most calls that share a commit. Bounds how long the first of them waits for the others.
const BATCH: usize = 256;

/// Reads everything an observer holds, after a commit that was reported as failed proved durable.
pub(super) type Reload = fn(&Connection, &Seals) -> Result<Vec<Change>, Failure>;

/// The handle of the writer thread. Dropping it finishes the queued calls and joins the thread.
pub(super) struct Writer {
    /// Unbounded, so that a call is queued at once and survives its future. The server's limit on
    /// requests bounds the number of concurrent calls.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    commits: Arc<AtomicU64>,
    queued: Arc<AtomicUsize>,
}

/// Counts a call as queued until it is answered, or dropped by a panic.
struct QueueTicket(Arc<AtomicUsize>);

impl Drop for QueueTicket {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Job {
    /// A change, which can share its transaction.
    Change(Box<dyn Call>),
    /// Work that needs the connection between two transactions.
    Exclusive(ExclusiveWork),
}

/// Receives the connection, or the reason why there is none.
type ExclusiveWork = Box<dyn FnOnce(Result<&Connection, CommitFailed>) + Send>;

/// A call in two steps: its work in the transaction, and its reply after the commit.
trait Call: Send {
    fn run(&mut self, transaction: &mut Transaction<'_>);
    fn reply(self: Box<Self>, commit: Result<(), CommitFailed>);
}

struct QueuedCall<F, T> {
    work: Option<F>,
    result: Option<Result<T, Failure>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
    ticket: QueueTicket,
}

impl<F, T> Call for QueuedCall<F, T>
where
    F: FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, transaction: &mut Transaction<'_>) {
        if let Some(work) = self.work.take() {
            self.result = Some(transaction.attempt(work));
        }
    }

    fn reply(self: Box<Self>, commit: Result<(), CommitFailed>) {
        let result = match commit {
            Ok(()) => self.result.unwrap_or(Err(Failure::Panicked)).map_err(StoreError::from),
            // Replaces a conflict too: the call that took the client id was not committed either.
            Err(failed) => Err(failed.into()),
        };
        drop(self.ticket);
        // The caller may have gone away. The change is committed nevertheless.
        let _ = self.caller.send(result);
    }
}

impl Writer {
    /// Starts the thread, with a connection to the database at `path`.
    pub(super) fn start(
        path: PathBuf,
        connection: Connection,
        ledger_keys: LedgerKeys,
        seals: Seals,
        observer: Arc<dyn ChangeObserver>,
        reload: Reload,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            path,
            connection: Some(connection),
            reported: None,
            ledger_keys,
            seals,
            observer,
            reload,
            commits: Arc::clone(&commits),
        };
        let thread = thread::Builder::new()
            .name("gatekey-writer".to_owned())
            .spawn(move || worker.work(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), commits, queued: Arc::default() })
    }

    /// Runs a change in a transaction, and returns its result once it is durable.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (caller, result) = oneshot::channel();
        let ticket = self.ticket();
        self.send(Job::Change(Box::new(QueuedCall {
            work: Some(work),
            result: None,
            caller,
            ticket,
        })));
        result.await.unwrap_or_else(|_| Err(Failure::Panicked.into()))
    }

    /// Runs work between two transactions. It sees only committed changes, and no commit happens
    /// meanwhile.
    pub(super) async fn exclusively<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (caller, result) = oneshot::channel();
        let ticket = self.ticket();
        self.send(Job::Exclusive(Box::new(move |connection| {
            let result = match connection {
                Ok(connection) => work(connection).map_err(StoreError::from),
                Err(failed) => Err(failed.into()),
            };
            drop(ticket);
            let _ = caller.send(result);
        })));
        result.await.unwrap_or_else(|_| Err(Failure::Panicked.into()))
    }

    /// The number of committed transactions.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// The number of calls that are not answered yet.
    pub(super) fn queue_depth(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    fn ticket(&self) -> QueueTicket {
        self.queued.fetch_add(1, Ordering::Relaxed);
        QueueTicket(Arc::clone(&self.queued))
    }

    fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("the sender is taken only when the writer is dropped");
        // If the thread has ended, the job is dropped here, and its channel notifies the caller.
        let _ = jobs.send(job);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            // The observer may hold the last handle, and runs on the writer thread.
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread panicked and has stopped");
        }
    }
}

/// The thread's side of the writer.
struct Worker {
    path: PathBuf,
    /// `None` after it broke, until the next job.
    connection: Option<Connection>,
    /// What was stored after the last commit that was reported to the observer; `None` before the
    /// first transaction.
    reported: Option<Content>,
    ledger_keys: LedgerKeys,
    seals: Seals,
    observer: Arc<dyn ChangeObserver>,
    reload: Reload,
    commits: Arc<AtomicU64>,
}

impl Worker {
    fn work(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut jobs = VecDeque::from([first]);
            jobs.extend(queue.try_iter().take(BATCH - 1));
            let mut batch = VecDeque::new();
            for job in jobs {
                match job {
                    Job::Change(call) => batch.push_back(call),
                    Job::Exclusive(work) => {
                        self.guarded(|worker| worker.commit(mem::take(&mut batch)));
                        self.guarded(|worker| {
                            let connection = worker.take_connection();
                            work(connection.as_ref().map_err(Clone::clone));
                            worker.connection = connection.ok();
                        });
                    }
                }
            }
            self.guarded(|worker| worker.commit(batch));
        }
    }

    /// Survives a panic. It drops the current jobs, which notifies their callers; later jobs run.
    fn guarded(&mut self, step: impl FnOnce(&mut Self)) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| step(self))) {
            // It can be in the middle of a transaction.
            self.connection = None;
            tracing::error!(
                panic = panic_message(&*panic),
                "the store's writer panicked; it continues"
            );
        }
    }

    /// Commits calls in one transaction, or in several if SQLite rolls one back before its end.
    fn commit(&mut self, mut queued: VecDeque<Box<dyn Call>>) {
        while !queued.is_empty() {
            let mut ran = Vec::with_capacity(queued.len());
            let outcome = self.transact(&mut queued, &mut ran);
            match &outcome {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => self.notify(changes),
                Err(failed) => {
                    tracing::error!(calls = ran.len(), error = %failed, "a commit failed");
                }
            }
            let outcome = outcome.map(drop);
            for call in ran {
                call.reply(outcome.clone());
            }
        }
    }

    fn notify(&self, changes: &[Change]) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.observer.observe(changes))) {
            tracing::error!(panic = panic_message(&*panic), "an observer of the store panicked");
        }
    }

    /// Moves calls from `queued` to `ran`, as many as one transaction takes.
    fn transact(
        &mut self,
        queued: &mut VecDeque<Box<dyn Call>>,
        ran: &mut Vec<Box<dyn Call>>,
    ) -> Result<Vec<Change>, CommitFailed> {
        let committed = self.take_connection().and_then(|connection| {
            let mut transaction =
                self.begin(&connection).map_err(|failure| CommitFailed::from(&failure))?;
            while !transaction.has_failed()
                && let Some(mut call) = queued.pop_front()
            {
                call.run(&mut transaction);
                ran.push(call);
            }
            let Finished { outcome, spoils_connection } = transaction.commit();
            if !spoils_connection {
                self.connection = Some(connection);
            }
            outcome
        });
        if ran.is_empty() {
            // No transaction could begin: that answers every call.
            ran.extend(queued.drain(..));
        }
        let (content, changes) = committed?;
        self.reported = Some(content);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(changes)
    }

    /// Begins a transaction that can write.
    ///
    /// A commit whose sync failed is complete in SQLite's log. It takes effect when the log is read
    /// again, although it was reported as failed and not to the observer. Every change adds to the
    /// ledger or changes the digest, so they reveal such a commit.
    fn begin<'a>(&'a mut self, connection: &'a Connection) -> Result<Transaction<'a>, Failure> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let head = ledger_head(connection)?;
        let keys = self.seals.keys();
        let stored = state::state(connection, state::newest_key(connection, &keys)?)?;
        let found = Content::new(head, stored.as_ref());
        if let Some(reported) = &self.reported
            && *reported != found
        {
            if !follows(head, reported.head) {
                return Err(Failure::Tampered(format!(
                    "the database was replaced by an earlier one: its ledger ends at entry {}, but \
                     entry {} was committed",
                    head.sequence, reported.head.sequence
                )));
            }
            tracing::warn!("a commit reported as failed is durable; reloading all state");
            self.notify(&(self.reload)(connection, &self.seals)?);
        }
        self.reported = Some(found);
        Transaction::new(connection, &mut self.ledger_keys, &self.seals, head, stored)
    }

    /// Takes the connection, or opens one if the last one broke.
    fn take_connection(&mut self) -> Result<Connection, CommitFailed> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => {
                connection::open_to_write(&self.path).map_err(|error| CommitFailed::from(&error))
            }
        }
    }
}

/// Whether a ledger with the first head can continue one with the second.
fn follows(head: LedgerHead, earlier: LedgerHead) -> bool {
    head == earlier || head.sequence > earlier.sequence
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use gatekey_core::{
        KeyId, RootKey, Timestamp,
        ledger::{NewEntry, verify_chain},
    };
    use tempfile::TempDir;

    use super::*;
    use crate::sqlite::{ledger, load, open, root_key};

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
        let mut connection = open::open(&path).unwrap();
        let root_key = RootKey::new(&[1; 32]);
        let ledger_keys = root_key::settle(&mut connection, &root_key).ok().unwrap();
        let seals = Seals::new(root_key.seal_keys());
        Writer::start(path, connection, ledger_keys, seals, observer, load::reload).unwrap()
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
            root_key::put_sealed(transaction.connection(), &number.to_string(), b"mark")?;
            transaction.append(&entry(&number.to_string()))?;
            transaction.report(change(number));
            end
        }
    }

    /// Blocks the writer until the sender is dropped. Calls sent meanwhile share a batch.
    async fn hold(writer: &Writer) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (held, is_held) = oneshot::channel();
        writer.send(Job::Exclusive(Box::new(move |_| {
            let _ = held.send(());
            let _ = released.recv();
        })));
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
            writer.write(mark(1, Ok(()))),
            writer.write(mark(2, Err(Failure::Conflict))),
            writer.write(mark(3, Ok(()))),
        );
        let release = async {
            assert_eq!(writer.queue_depth(), 3);
            drop(release);
        };
        let ((first, second, third), ()) = futures::future::join(calls, release).await;
        assert_eq!(writer.queue_depth(), 0);
        assert!(first.is_ok() && third.is_ok());
        assert!(matches!(second, Err(StoreError::Conflict)));
        assert_eq!(writer.commits(), 1);

        let (found, entries) = writer
            .exclusively(|connection| {
                let found = ["1", "2", "3"]
                    .map(|name| root_key::find_sealed(connection, name).unwrap().is_some());
                Ok((found, ledger::entries(connection, 0, 10)?))
            })
            .await
            .unwrap();
        assert_eq!(found, [true, false, true]);
        assert_eq!(
            entries.iter().map(|entry| &*entry.entry.target).collect::<Vec<_>>(),
            ["1", "3"]
        );
        verify_chain(&ledger_keys(), LedgerHead::EMPTY, &entries).unwrap();
        assert_eq!(reported.0.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_panicking_call_does_not_stop_the_writer() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory, Arc::new(Reported::default()));
        let panicking = |transaction: &mut Transaction<'_>| -> Result<(), Failure> {
            root_key::put_sealed(transaction.connection(), "half", b"done")?;
            panic!("a bug in a call");
        };
        assert!(matches!(writer.write(panicking).await, Err(StoreError::Unavailable(_))));
        let panicking =
            |_: &Connection| -> Result<(), Failure> { panic!("a bug between two transactions") };
        assert!(matches!(writer.exclusively(panicking).await, Err(StoreError::Unavailable(_))));
        writer.write(mark(1, Ok(()))).await.unwrap();
        let half = writer
            .exclusively(|connection| root_key::find_sealed(connection, "half"))
            .await
            .unwrap();
        assert_eq!(half, None);
    }

    #[tokio::test]
    async fn a_panicking_observer_does_not_stop_the_writer() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory, Arc::new(Panics));
        for number in [1, 2] {
            writer.write(mark(number, Ok(()))).await.unwrap();
        }
        let head = writer.exclusively(ledger_head).await.unwrap();
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
            transaction.connection().execute_batch("ROLLBACK")?;
            Err(Failure::Panicked)
        };
        let calls = futures::future::join4(
            writer.write(mark(1, Ok(()))),
            writer.write(mark(2, Err(Failure::Conflict))),
            writer.write(losing),
            writer.write(mark(3, Ok(()))),
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
        let entries =
            writer.exclusively(|connection| ledger::entries(connection, 0, 10)).await.unwrap();
        assert_eq!(entries.iter().map(|entry| &*entry.entry.target).collect::<Vec<_>>(), ["3"]);
        assert_eq!(reported.0.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_missing_file_is_unavailable_until_it_returns() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory, Arc::new(Reported::default()));
        writer.write(mark(1, Ok(()))).await.unwrap();
        let path = directory.path().join("gatekey.db");
        // The failure closes the connection, so the next call must open the file again.
        let spoiling = |_: &mut Transaction<'_>| -> Result<(), Failure> {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
            Err(rusqlite::Error::SqliteFailure(code, None).into())
        };
        assert!(matches!(writer.write(spoiling).await, Err(StoreError::Unavailable(_))));
        let away = directory.path().join("away.db");
        std::fs::rename(&path, &away).unwrap();
        assert!(matches!(writer.write(mark(2, Ok(()))).await, Err(StoreError::Unavailable(_))));
        assert!(!path.exists(), "a new, empty database would hide the loss");
        std::fs::rename(&away, &path).unwrap();
        writer.write(mark(3, Ok(()))).await.unwrap();
        let head = writer.exclusively(ledger_head).await.unwrap();
        assert_eq!(head.sequence, 2);
    }
}
