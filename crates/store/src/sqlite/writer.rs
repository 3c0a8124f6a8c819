//! The one writer: a thread that owns the writing connection and commits many calls at once.
//!
//! An fsync costs far more than a change, so whatever is queued while one commit is on its way to the disk
//! shares the next. Each call runs in a savepoint of its own: when it fails, it fails alone. The observer is
//! told after the commit, and the callers after the observer.

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
    LedgerKey, LedgerKeys, StoreError,
    ledger::{LedgerHead, NewEntry},
    panic,
    store::{Change, ChangeObserver},
};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    connection,
    failure::{self, Failure, spoils_connection},
    ledger, load, root_key,
};

/// The most calls that share a commit: bounds how long the first of them waits for the others.
const BATCH: usize = 256;

/// The handle of the writer thread. Dropping it finishes what is queued and joins the thread.
pub(super) struct Writer {
    /// Unbounded, so that a call is on its way as soon as it is made, whatever becomes of its future; how
    /// many calls are made at once is bounded by the server's limit on requests.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
    commits: Arc<AtomicU64>,
    waiting: Arc<AtomicUsize>,
}

/// Counts a call from when it is made until it is answered, or dropped by a panic.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the thread is asked to do.
enum Job {
    /// A change, which may share its transaction.
    Change(Box<dyn Call>),
    /// Something that wants the connection for itself, between two transactions.
    Alone(Alone),
}

/// Takes the connection, or why there is none.
type Alone = Box<dyn FnOnce(Result<&Connection, Lost>) + Send>;

/// A call in two steps: what it does in the transaction, and its answer after the commit.
trait Call: Send {
    fn run(&mut self, writing: &mut Writing<'_>);
    fn answer(self: Box<Self>, outcome: Result<(), Lost>);
}

/// The transaction that held a call was not committed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the change was not committed: {0}")]
pub(super) struct Lost(Arc<str>);

impl From<&Failure> for Lost {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Sqlite(error) => error.into(),
            Failure::Conflict | Failure::Corrupt(_) | Failure::Panicked => Self(failure.to_string().into()),
        }
    }
}

impl From<&rusqlite::Error> for Lost {
    fn from(error: &rusqlite::Error) -> Self {
        Self(failure::cause(error).into())
    }
}

impl From<Lost> for StoreError {
    fn from(lost: Lost) -> Self {
        Self::Unavailable(Box::new(lost))
    }
}

/// What a call works with inside the transaction.
pub(super) struct Writing<'a> {
    connection: &'a Connection,
    /// What links entries now.
    ledger_key: LedgerKey,
    /// Every version's.
    ledger_keys: &'a mut LedgerKeys,
    head: LedgerHead,
    changes: Vec<Change>,
    /// Set when SQLite gave up the whole transaction, and every call in it.
    lost: Option<Lost>,
    spoiled: bool,
}

impl Writing<'_> {
    /// The connection, in the transaction.
    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// Appends to the ledger.
    pub(super) fn enter(&mut self, entry: &NewEntry) -> Result<(), Failure> {
        self.head = ledger::append(self.connection, self.head, &self.ledger_key, entry)?;
        Ok(())
    }

    /// Links entries under another key from now on, if it is committed.
    pub(super) fn link_under(&mut self, key: LedgerKey) {
        // Kept whatever becomes of the transaction: a commit that was refused may stand.
        *self.ledger_keys = self.ledger_keys.with_newest(&key);
        self.ledger_key = key;
    }

    /// Tells the observer once it is committed.
    pub(super) fn changed(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Runs work that leaves no trace when it fails.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Writing<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (head, changes, ledger_key) = (self.head, self.changes.len(), self.ledger_key.clone());
        let attempted = self.execute("SAVEPOINT call").map_err(Failure::from).and_then(|()| {
            let result = catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or(Err(Failure::Panicked))?;
            self.execute("RELEASE call")?;
            Ok(result)
        });
        if let Err(failure) = &attempted {
            self.head = head;
            self.changes.truncate(changes);
            self.ledger_key = ledger_key;
            self.spoiled |= failure.spoils_connection();
            let undone = self.execute("ROLLBACK TO call").and_then(|()| self.execute("RELEASE call"));
            if undone.is_err() {
                // SQLite rolls the whole transaction back by itself when the disk is full or fails.
                self.lost = Some(failure.into());
            }
        }
        attempted
    }

    fn execute(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(drop)
    }
}

/// A call on its way: its work, then its result, then its answer.
struct Queued<F, T> {
    work: Option<F>,
    result: Option<Result<T, Failure>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    waiting: Waiting,
}

impl<F, T> Call for Queued<F, T>
where
    F: FnOnce(&mut Writing<'_>) -> Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, writing: &mut Writing<'_>) {
        if let Some(work) = self.work.take() {
            self.result = Some(writing.attempt(work));
        }
    }

    fn answer(self: Box<Self>, outcome: Result<(), Lost>) {
        let answer = match outcome {
            Ok(()) => self.result.unwrap_or(Err(Failure::Panicked)).map_err(StoreError::from),
            // Whatever the call found may have been the work of others in the lost transaction: a client id
            // that was taken there is free.
            Err(lost) => Err(lost.into()),
        };
        drop(self.waiting);
        // Nobody listens any more when the caller went away; the change stands all the same.
        let _ = self.reply.send(answer);
    }
}

impl Writer {
    /// Starts the thread with a connection to that database.
    pub(super) fn start(
        path: PathBuf,
        connection: Connection,
        ledger_keys: LedgerKeys,
        observer: Arc<dyn ChangeObserver>,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            path,
            connection: Some(connection),
            known: None,
            ledger_keys,
            observer,
            commits: Arc::clone(&commits),
        };
        let thread =
            thread::Builder::new().name("gatekey-writer".to_owned()).spawn(move || worker.work(&queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), commits, waiting: Arc::default() })
    }

    /// Runs a change in a transaction, and gives its result once that is on the disk.
    pub(super) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Writing<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let waiting = self.wait();
        self.send(Job::Change(Box::new(Queued { work: Some(work), result: None, reply, waiting })));
        answer.await.unwrap_or_else(|_| Err(Failure::Panicked.into()))
    }

    /// Runs work between two transactions, so that it sees only what is committed and no commit overtakes it.
    pub(super) async fn alone<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let waiting = self.wait();
        self.send(Job::Alone(Box::new(move |connection| {
            let result = match connection {
                Ok(connection) => work(connection).map_err(StoreError::from),
                Err(lost) => Err(lost.into()),
            };
            drop(waiting);
            let _ = reply.send(result);
        })));
        answer.await.unwrap_or_else(|_| Err(Failure::Panicked.into()))
    }

    /// How many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Calls that are made and not answered.
    pub(super) fn queue_depth(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn wait(&self) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(Arc::clone(&self.waiting))
    }

    fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("the sender is taken only when the writer is dropped");
        // Without a thread the job is dropped here, and its caller told so by its channel.
        let _ = jobs.send(job);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            // The observer may hold the last handle, and is called on the thread itself.
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended in a panic");
        }
    }
}

/// The thread's own side.
struct Worker {
    path: PathBuf,
    /// Absent after it broke, until the next job.
    connection: Option<Connection>,
    /// Where the ledger stood after the last commit that the observer was told of; `None` before the first
    /// transaction.
    known: Option<LedgerHead>,
    ledger_keys: LedgerKeys,
    observer: Arc<dyn ChangeObserver>,
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
                    Job::Alone(work) => {
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

    /// Survives a panic. The jobs at hand are dropped by it, which answers their callers; the others go on.
    fn guarded(&mut self, step: impl FnOnce(&mut Self)) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| step(self))) {
            // It may be in the middle of a transaction.
            self.connection = None;
            tracing::error!(panic = panic::text(&*panic), "the store's writer panicked and goes on");
        }
    }

    /// Commits calls in one transaction; in more than one only when SQLite gives one up on the way.
    fn commit(&mut self, mut waiting: VecDeque<Box<dyn Call>>) {
        while !waiting.is_empty() {
            let mut ran = Vec::with_capacity(waiting.len());
            let outcome = self.transact(&mut waiting, &mut ran);
            match &outcome {
                Ok(changes) if changes.is_empty() => {}
                Ok(changes) => self.tell(changes),
                Err(lost) => tracing::error!(calls = ran.len(), error = %lost, "a commit failed"),
            }
            let outcome = outcome.map(drop);
            for call in ran {
                call.answer(outcome.clone());
            }
        }
    }

    fn tell(&self, changes: &[Change]) {
        let told = catch_unwind(AssertUnwindSafe(|| self.observer.observe(changes)));
        if let Err(panic) = told {
            tracing::error!(panic = panic::text(&*panic), "an observer of the store panicked");
        }
    }

    /// Moves calls from `waiting` to `ran` as far as one transaction takes them.
    fn transact(
        &mut self,
        waiting: &mut VecDeque<Box<dyn Call>>,
        ran: &mut Vec<Box<dyn Call>>,
    ) -> Result<Vec<Change>, Lost> {
        let begun = self.take_connection().and_then(|connection| {
            let (head, ledger_key) = self.begin(&connection).map_err(|failure| Lost::from(&failure))?;
            Ok((connection, head, ledger_key))
        });
        let (connection, head, ledger_key) = match begun {
            Ok(begun) => begun,
            Err(lost) => {
                ran.extend(waiting.drain(..));
                return Err(lost);
            }
        };
        let mut writing = Writing {
            connection: &connection,
            ledger_key,
            ledger_keys: &mut self.ledger_keys,
            head,
            changes: Vec::new(),
            lost: None,
            spoiled: false,
        };
        while let Some(mut call) = waiting.pop_front() {
            call.run(&mut writing);
            ran.push(call);
            if writing.lost.is_some() {
                break;
            }
        }
        let Writing { head, changes, lost, mut spoiled, .. } = writing;
        let outcome = match lost {
            Some(lost) => Err(lost),
            None => connection.execute_batch("COMMIT").map_err(|error| {
                spoiled |= spoils_connection(&error);
                Lost::from(&error)
            }),
        };
        if outcome.is_err() && !connection.is_autocommit() {
            spoiled |= connection.execute_batch("ROLLBACK").is_err();
        }
        if !spoiled {
            self.connection = Some(connection);
        }
        outcome.map(|()| {
            self.known = Some(head);
            self.commits.fetch_add(1, Ordering::Relaxed);
            changes
        })
    }

    /// Begins a transaction that may write, and reads where the ledger stands and what links it: the newest version
    /// of the root key that the database knows.
    ///
    /// A commit whose sync failed is whole in SQLite's log, and when the log is read anew it stands, though it was
    /// refused and the observer not told. Every change has its entry, so the ledger's head shows that.
    fn begin(&mut self, connection: &Connection) -> Result<(LedgerHead, LedgerKey), Failure> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        let head = ledger::head(connection)?;
        if self.known.is_some_and(|known| known != head) {
            tracing::warn!(
                "changes that were refused when the disk failed were made: everything is read anew"
            );
            self.tell(&load::anew(connection)?);
        }
        self.known = Some(head);
        let newest = root_key::newest(connection)?;
        let unknown = || Failure::Corrupt(format!("version {newest} of the root key came from elsewhere"));
        Ok((head, self.ledger_keys.find(newest).cloned().ok_or_else(unknown)?))
    }

    /// The connection, opened anew when the last one broke. Whoever takes it puts it back, unless it breaks.
    fn take_connection(&mut self) -> Result<Connection, Lost> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => connection::open_to_write(&self.path).map_err(|error| Lost::from(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use gatekey_core::{KeyId, RootKey, Timestamp, ledger::verify_chain};
    use tempfile::TempDir;

    use super::*;
    use crate::sqlite::{open, sealed};

    #[derive(Default)]
    struct Told(Mutex<Vec<KeyId>>);

    impl ChangeObserver for Told {
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
            panic!("an observer's fault");
        }
    }

    fn ledger_keys() -> LedgerKeys {
        RootKey::new(&[1; 32]).ledger_keys()
    }

    fn writer(directory: &TempDir, observer: Arc<dyn ChangeObserver>) -> Writer {
        let path = directory.path().join("gatekey.db");
        let mut connection = open::open(&path).unwrap();
        let ledger_keys = root_key::settle(&mut connection, &RootKey::new(&[1; 32])).ok().unwrap();
        Writer::start(path, connection, ledger_keys, observer).unwrap()
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

    fn news(number: u8) -> Change {
        Change::DenialsDropped(format!("{number:032x}").parse().unwrap())
    }

    /// A change that leaves a mark in a table, in the ledger and with the observer, and then succeeds or not.
    fn mark(number: u8, end: Result<(), Failure>) -> impl FnOnce(&mut Writing<'_>) -> Result<(), Failure> {
        move |writing| {
            sealed::put(writing.connection(), &number.to_string(), b"mark")?;
            writing.enter(&entry(&number.to_string()))?;
            writing.changed(news(number));
            end
        }
    }

    /// Holds the writer up until the sender is dropped, so that what is sent meanwhile shares a batch.
    async fn hold(writer: &Writer) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (held, is_held) = oneshot::channel();
        writer.send(Job::Alone(Box::new(move |_| {
            let _ = held.send(());
            let _ = released.recv();
        })));
        is_held.await.unwrap();
        release
    }

    #[tokio::test]
    async fn a_call_that_fails_leaves_no_trace_and_its_neighbours_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let told = Arc::new(Told::default());
        let writer = writer(&directory, told.clone());
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
            .alone(|connection| {
                let found = ["1", "2", "3"].map(|name| sealed::find(connection, name).unwrap().is_some());
                Ok((found, ledger::entries(connection, 0, 10)?))
            })
            .await
            .unwrap();
        assert_eq!(found, [true, false, true]);
        assert_eq!(entries.iter().map(|entry| &*entry.entry.target).collect::<Vec<_>>(), ["1", "3"]);
        verify_chain(&ledger_keys(), LedgerHead::EMPTY, &entries).unwrap();
        assert_eq!(told.0.lock().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_call_that_panics_is_answered_and_the_next_one_carried_out() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory, Arc::new(Told::default()));
        let panicking = |writing: &mut Writing<'_>| -> Result<(), Failure> {
            sealed::put(writing.connection(), "half", b"done")?;
            panic!("a fault in a call");
        };
        assert!(matches!(writer.write(panicking).await, Err(StoreError::Unavailable(_))));
        let panicking =
            |_: &Connection| -> Result<(), Failure> { panic!("a fault between two transactions") };
        assert!(matches!(writer.alone(panicking).await, Err(StoreError::Unavailable(_))));
        writer.write(mark(1, Ok(()))).await.unwrap();
        let half = writer.alone(|connection| sealed::find(connection, "half")).await.unwrap();
        assert_eq!(half, None);
    }

    #[tokio::test]
    async fn an_observer_that_panics_does_not_undo_the_commit_or_stop_the_writer() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory, Arc::new(Panics));
        for number in [1, 2] {
            writer.write(mark(number, Ok(()))).await.unwrap();
        }
        let head = writer.alone(ledger::head).await.unwrap();
        assert_eq!(head.sequence, 2);
    }

    #[tokio::test]
    async fn when_the_transaction_is_lost_every_call_in_it_is_told_so_and_none_is_observed() {
        let directory = tempfile::tempdir().unwrap();
        let told = Arc::new(Told::default());
        let writer = writer(&directory, told.clone());
        let release = hold(&writer).await;
        // What SQLite does by itself when the disk fails in the middle.
        let losing = |writing: &mut Writing<'_>| -> Result<(), Failure> {
            writing.connection().execute_batch("ROLLBACK")?;
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
        assert!(matches!(conflict, Err(StoreError::Unavailable(_))), "what it clashed with may be lost");
        assert!(matches!(losing, Err(StoreError::Unavailable(_))));
        after.unwrap();
        let entries = writer.alone(|connection| ledger::entries(connection, 0, 10)).await.unwrap();
        assert_eq!(entries.iter().map(|entry| &*entry.entry.target).collect::<Vec<_>>(), ["3"]);
        assert_eq!(told.0.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_file_that_is_gone_for_a_while_is_unavailable_until_it_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let writer = writer(&directory, Arc::new(Told::default()));
        writer.write(mark(1, Ok(()))).await.unwrap();
        let path = directory.path().join("gatekey.db");
        // A spoiled connection is closed, so that the next call has to open the file again.
        let spoiling = |_: &mut Writing<'_>| -> Result<(), Failure> {
            let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
            Err(rusqlite::Error::SqliteFailure(code, None).into())
        };
        assert!(matches!(writer.write(spoiling).await, Err(StoreError::Unavailable(_))));
        let away = directory.path().join("away.db");
        std::fs::rename(&path, &away).unwrap();
        assert!(matches!(writer.write(mark(2, Ok(()))).await, Err(StoreError::Unavailable(_))));
        assert!(!path.exists(), "a new and empty database would hide the loss");
        std::fs::rename(&away, &path).unwrap();
        writer.write(mark(3, Ok(()))).await.unwrap();
        let head = writer.alone(ledger::head).await.unwrap();
        assert_eq!(head.sequence, 2);
    }
}
