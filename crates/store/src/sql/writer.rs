//! The one writer: a thread that owns the writing connection and commits many calls at once.
//!
//! An fsync costs far more than a change, so calls that arrive during one commit share the next.
//! A call that fails is undone without the others. The observer
//! is notified after the commit, and the callers after the observer.

use std::{
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
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
use gatekey_credentials::ClientId;
use tokio::sync::oneshot;

use super::{
    access::{Session, Sql},
    failure::{CommitFailed, Failure},
    known_seals::Seals,
    state,
    transaction::{Content, Finished, Transaction, ledger_head},
};

/// The most calls that share a commit. Bounds how long the first of them waits for the others.
const BATCH: usize = 256;

/// Reads everything an observer holds, after a commit that was reported as failed proved durable.
pub(crate) type Reload = fn(&dyn Sql, &Seals) -> Result<Vec<Change>, Failure>;

/// Opens another connection that writes, after the last one broke. Dropped with the writer.
pub(crate) trait Open: Send {
    fn open(&mut self) -> Result<Box<dyn Session>, Failure>;
}

/// What a call needs of its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scope {
    /// It changes a key, which is read when the transaction begins.
    Key(ClientId),
    /// It reads nothing.
    Nothing,
    /// It can read and write everything, in a transaction of its own.
    All,
}

/// The handle of the writer thread. Dropping it finishes the queued calls and joins the thread.
pub(crate) struct Writer {
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
    Change(Scope, Box<dyn Call>),
    /// Work that needs the connection between two transactions.
    Exclusive(ExclusiveWork),
}

/// Receives the connection, or the reason why there is none.
type ExclusiveWork = Box<dyn FnOnce(Result<&dyn Session, CommitFailed>) + Send>;

/// A call in two steps: its work in the transaction, and its reply after the commit.
trait Call: Send {
    fn run(&mut self, transaction: &mut Transaction<'_>);
    fn reply(self: Box<Self>, commit: Result<(), CommitFailed>);
}

struct QueuedCall<F, T> {
    work: Option<F>,
    result: Option<Result<T, Failure>>,
    /// Whether no other call is in its transaction.
    is_alone: bool,
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
            // The transaction is lost because the call failed.
            Err(_) if self.is_alone && matches!(self.result, Some(Err(_))) => {
                self.result.unwrap_or(Err(Failure::Panicked)).map_err(StoreError::from)
            }
            // Replaces a conflict too: the call that took the client id was not committed either.
            Err(failed) => Err(failed.into()),
        };
        drop(self.ticket);
        // The caller may have gone away. The change is committed nevertheless.
        let _ = self.caller.send(result);
    }
}

impl Writer {
    /// Starts the thread with its first connection, and with an opener for further ones.
    pub(crate) fn start(
        first: Box<dyn Session + Send>,
        opener: Box<dyn Open>,
        ledger_keys: LedgerKeys,
        seals: Seals,
        observer: Arc<dyn ChangeObserver>,
        reload: Reload,
    ) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&commits);
        let work = move || {
            let worker = Worker {
                session: Some(first),
                opener,
                reported: None,
                ledger_keys,
                seals,
                observer,
                reload,
                commits: counted,
            };
            worker.work(&queue);
        };
        let thread = thread::Builder::new().name("gatekey-writer".to_owned()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), commits, queued: Arc::default() })
    }

    /// Runs a change in a transaction, and returns its result once it is durable.
    pub(crate) async fn write<T, F>(&self, scope: Scope, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (caller, result) = oneshot::channel();
        let ticket = self.ticket();
        let is_alone = scope == Scope::All;
        let call = QueuedCall { work: Some(work), result: None, is_alone, caller, ticket };
        self.send(Job::Change(scope, Box::new(call)));
        result.await.unwrap_or_else(|_| Err(Failure::Panicked.into()))
    }

    /// Runs work between two transactions. It sees only committed changes, and no commit happens
    /// meanwhile.
    pub(crate) async fn exclusively<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Session) -> Result<T, Failure> + Send + 'static,
    {
        let (caller, result) = oneshot::channel();
        let ticket = self.ticket();
        self.send(Job::Exclusive(Box::new(move |session| {
            let result = match session {
                Ok(session) => work(session).map_err(StoreError::from),
                Err(failed) => Err(failed.into()),
            };
            drop(ticket);
            let _ = caller.send(result);
        })));
        result.await.unwrap_or_else(|_| Err(Failure::Panicked.into()))
    }

    /// The number of committed transactions.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// The number of calls that are not answered yet.
    pub(crate) fn queue_depth(&self) -> usize {
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
    /// `None` after it broke, until the next job.
    session: Option<Box<dyn Session>>,
    opener: Box<dyn Open>,
    /// What was stored after the last commit that was reported to the observer; `None` before the
    /// first transaction.
    reported: Option<Content>,
    ledger_keys: LedgerKeys,
    seals: Seals,
    observer: Arc<dyn ChangeObserver>,
    reload: Reload,
    commits: Arc<AtomicU64>,
}

/// Calls that wait for a transaction.
type Queued = VecDeque<(Scope, Box<dyn Call>)>;

impl Worker {
    fn work(mut self, queue: &mpsc::Receiver<Job>) {
        while let Ok(first) = queue.recv() {
            let mut jobs = VecDeque::from([first]);
            jobs.extend(queue.try_iter().take(BATCH - 1));
            let mut batch = VecDeque::new();
            for job in jobs {
                match job {
                    Job::Change(Scope::All, call) => {
                        self.guarded(|worker| worker.commit(mem::take(&mut batch)));
                        self.guarded(|worker| worker.commit([(Scope::All, call)].into()));
                    }
                    Job::Change(scope, call) => batch.push_back((scope, call)),
                    Job::Exclusive(work) => {
                        self.guarded(|worker| worker.commit(mem::take(&mut batch)));
                        self.guarded(|worker| worker.exclusively(work));
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
            self.session = None;
            tracing::error!(
                panic = panic_message(&*panic),
                "the store's writer panicked; it continues"
            );
        }
    }

    fn exclusively(&mut self, work: ExclusiveWork) {
        match self.take_session() {
            Ok(session) => {
                work(Ok(&*session));
                self.put_back(session, false);
            }
            Err(failed) => work(Err(failed)),
        }
    }

    /// Commits calls in one transaction, or in several if one is lost before its end.
    fn commit(&mut self, mut queued: Queued) {
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
        queued: &mut Queued,
        ran: &mut Vec<Box<dyn Call>>,
    ) -> Result<Vec<Change>, CommitFailed> {
        let committed = self.take_session().and_then(|session| {
            let Finished { outcome, spoils_connection } = self.run(&*session, queued, ran);
            self.put_back(session, spoils_connection);
            outcome
        });
        if ran.is_empty() {
            // No transaction could begin: that answers every call.
            ran.extend(queued.drain(..).map(|(_, call)| call));
        }
        let (content, changes) = committed?;
        self.reported = Some(content);
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(changes)
    }

    fn run(
        &mut self,
        session: &dyn Session,
        queued: &mut Queued,
        ran: &mut Vec<Box<dyn Call>>,
    ) -> Finished {
        let mut transaction = match self.begin(session, &keys(queued)) {
            Ok(transaction) => transaction,
            Err(failure) => {
                let is_left = session.roll_back().is_ok();
                let spoils_connection = failure.spoils_connection() || !is_left;
                return Finished { outcome: Err((&failure).into()), spoils_connection };
            }
        };
        while !transaction.has_failed()
            && let Some((_, mut call)) = queued.pop_front()
        {
            call.run(&mut transaction);
            ran.push(call);
        }
        transaction.commit()
    }

    /// Begins a transaction that can write.
    ///
    /// A commit that was reported as failed can take effect later: of SQLite, one whose sync failed
    /// is complete in the log and counts when the log is read again. It was not reported to the
    /// observer. Every change adds to the ledger or changes the digest, so they reveal it.
    fn begin<'a>(
        &'a mut self,
        session: &'a dyn Session,
        keys: &[ClientId],
    ) -> Result<Transaction<'a>, Failure> {
        session.begin(keys)?;
        let head = ledger_head(session)?;
        let seal_keys = self.seals.keys();
        // Read from the database: a rotation whose commit was reported as failed can be durable.
        let seal_key = state::newest_key(session, &seal_keys)?.clone();
        let stored = state::state(session, &seal_key)?;
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
            self.notify(&(self.reload)(session, &self.seals)?);
        }
        self.reported = Some(found);
        Transaction::new(session, &mut self.ledger_keys, &self.seals, head, stored, seal_key)
    }

    /// Takes the session, or opens one if the last one broke.
    fn take_session(&mut self) -> Result<Box<dyn Session>, CommitFailed> {
        match self.session.take() {
            Some(session) => Ok(session),
            None => self.opener.open().map_err(|failure| CommitFailed::from(&failure)),
        }
    }

    fn put_back(&mut self, session: Box<dyn Session>, is_spoiled: bool) {
        if !is_spoiled && !session.is_spoiled() {
            self.session = Some(session);
        }
    }
}

/// The keys that calls change, each once.
fn keys(queued: &Queued) -> Vec<ClientId> {
    let mut keys: Vec<_> = queued
        .iter()
        .filter_map(|(scope, _)| match scope {
            Scope::Key(client_id) => Some(client_id.clone()),
            Scope::Nothing | Scope::All => None,
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Whether a ledger with the first head can continue one with the second.
fn follows(head: LedgerHead, earlier: LedgerHead) -> bool {
    head == earlier || head.sequence > earlier.sequence
}
