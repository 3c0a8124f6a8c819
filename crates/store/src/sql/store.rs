//! [`SqlStore`]: the writer and the readers of one database.

use std::{fmt, fs::File, sync::Arc};

use gatekey_core::{
    StoreError,
    store::{ChangeObserver, StoreTracer, traced},
};
use gatekey_credentials::ClientId;

use super::{
    access::{Session, Sql},
    failure::Failure,
    known_seals::Seals,
    transaction::Transaction,
    writer::{Scope, Writer},
};

/// What a database has beside the connection that writes.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The name of the store in messages.
    const NAME: &'static str;

    /// Reads in one transaction, which sees the database at one moment.
    fn read<T, F>(&self, work: F) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Failure> + Send + 'static;

    /// A copy of everything at one moment, as an unlinked file.
    fn snapshot(&self) -> impl Future<Output = Result<File, StoreError>> + Send;
}

/// A store in a database.
///
/// Dropping it finishes the calls in progress, which blocks for about one commit.
pub struct SqlStore<B> {
    // Dropped before the writer: of SQLite, the last connection to close moves the log into the
    // file, which a reader cannot.
    backend: B,
    writer: Writer,
    seals: Seals,
    observer: Arc<dyn ChangeObserver>,
    tracer: Option<Arc<dyn StoreTracer>>,
}

#[expect(private_bounds, reason = "only this crate implements it")]
impl<B: Backend> SqlStore<B> {
    pub(crate) fn new(
        backend: B,
        writer: Writer,
        seals: Seals,
        observer: Arc<dyn ChangeObserver>,
    ) -> Self {
        Self { backend, writer, seals, observer, tracer: None }
    }

    /// Begins a span for each call.
    #[must_use]
    pub fn with_tracer(self, tracer: Option<Arc<dyn StoreTracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// Runs a change of anything in a transaction, and returns its result once it is durable.
    pub(crate) async fn write<T, F>(&self, span: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.write_in(span, Scope::All, work).await
    }

    /// Like [`Self::write`], for a change that reads nothing.
    pub(crate) async fn append<T, F>(&self, span: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        self.write_in(span, Scope::Nothing, work).await
    }

    /// Like [`Self::write`], for a change of one key.
    pub(crate) async fn change<T, F>(
        &self,
        span: &'static str,
        client_id: &ClientId,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>, &ClientId) -> Result<T, Failure> + Send + 'static,
    {
        let client_id = client_id.clone();
        let scope = Scope::Key(client_id.clone());
        self.write_in(span, scope, move |transaction| work(transaction, &client_id)).await
    }

    async fn write_in<T, F>(
        &self,
        span: &'static str,
        scope: Scope,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        traced(self.tracer.as_deref(), span, self.writer.write(scope, work)).await
    }

    /// Runs work on the writer's connection, between two transactions.
    pub(crate) async fn exclusively<T, F>(
        &self,
        span: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Session) -> Result<T, Failure> + Send + 'static,
    {
        traced(self.tracer.as_deref(), span, self.writer.exclusively(work)).await
    }

    /// Reads in one transaction.
    pub(crate) async fn read<T, F>(&self, span: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Failure> + Send + 'static,
    {
        traced(self.tracer.as_deref(), span, self.backend.read(work)).await
    }

    /// Reads rows that must match their seals.
    ///
    /// A reader can see rows from before a commit whose seals are known already. So rows that do
    /// not match are read again between two transactions, when both are the same.
    pub(crate) async fn read_verified<T, F>(
        &self,
        span: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&dyn Sql, &Seals) -> Result<T, Failure> + Clone + Send + 'static,
    {
        let (seals, again) = (self.seals.clone(), (self.seals.clone(), work.clone()));
        let read = async {
            match self.backend.read(move |sql| work(sql, &seals)).await {
                Err(StoreError::Tampered(_)) => {
                    let (seals, work) = again;
                    self.writer.exclusively(move |session| work(session, &seals)).await
                }
                read => read,
            }
        };
        traced(self.tracer.as_deref(), span, read).await
    }

    /// A copy of everything at one moment, as an unlinked file.
    pub(crate) async fn copy(&self, span: &'static str) -> Result<File, StoreError> {
        traced(self.tracer.as_deref(), span, self.backend.snapshot()).await
    }

    pub(crate) fn observer(&self) -> Arc<dyn ChangeObserver> {
        Arc::clone(&self.observer)
    }

    pub(crate) fn seals(&self) -> Seals {
        self.seals.clone()
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// The number of committed transactions, so that a test can see that calls share them.
    #[doc(hidden)]
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }
}

impl<B: Backend> fmt::Debug for SqlStore<B> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(B::NAME)
    }
}
