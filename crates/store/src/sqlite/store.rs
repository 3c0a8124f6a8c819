//! [`SqliteStore`]: the writer and the readers of one database.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use gatekey_core::{
    StoreError,
    store::{ChangeObserver, StoreTracer, traced},
};
use rusqlite::Connection;

use super::{
    failure::Failure, known_seals::Seals, reader::Readers, transaction::Transaction, writer::Writer,
};

/// A store in an SQLite file.
///
/// Dropping it finishes the calls in progress, which blocks for about one commit.
pub struct SqliteStore {
    // Dropped before the writer: the last connection to close moves the log into the file, which a
    // reader cannot.
    readers: Readers,
    writer: Writer,
    seals: Seals,
    observer: Arc<dyn ChangeObserver>,
    tracer: Option<Arc<dyn StoreTracer>>,
    path: PathBuf,
}

impl SqliteStore {
    pub(super) fn new(
        path: PathBuf,
        writer: Writer,
        seals: Seals,
        observer: Arc<dyn ChangeObserver>,
    ) -> Self {
        Self { readers: Readers::new(path.clone()), writer, seals, observer, tracer: None, path }
    }

    /// Begins a span for each call.
    #[must_use]
    pub fn with_tracer(self, tracer: Option<Arc<dyn StoreTracer>>) -> Self {
        Self { tracer, ..self }
    }

    /// Runs a change in a transaction, and returns its result once it is durable.
    pub(super) async fn write<T, F>(&self, span: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Transaction<'_>) -> Result<T, Failure> + Send + 'static,
    {
        traced(self.tracer.as_deref(), span, self.writer.write(work)).await
    }

    /// Runs work on the writer's connection, between two transactions.
    pub(super) async fn exclusively<T, F>(
        &self,
        span: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        traced(self.tracer.as_deref(), span, self.writer.exclusively(work)).await
    }

    /// Reads in one transaction.
    pub(super) async fn read<T, F>(&self, span: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        traced(self.tracer.as_deref(), span, self.readers.read(work)).await
    }

    /// Reads rows that must match their seals.
    ///
    /// A reader can see rows from before a commit whose seals are known already. So rows that do
    /// not match are read again between two transactions, when both are the same.
    pub(super) async fn read_verified<T, F>(
        &self,
        span: &'static str,
        work: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&Connection, &Seals) -> Result<T, Failure> + Clone + Send + 'static,
    {
        let (seals, again) = (self.seals(), (self.seals(), work.clone()));
        let read = async {
            match self.readers.read(move |connection| work(connection, &seals)).await {
                Err(StoreError::Tampered(_)) => {
                    let (seals, work) = again;
                    self.writer.exclusively(move |connection| work(connection, &seals)).await
                }
                read => read,
            }
        };
        traced(self.tracer.as_deref(), span, read).await
    }

    /// Runs work that uses no connection of the store, on a thread that can block.
    pub(super) async fn blocking<T, F>(&self, span: &'static str, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Path) -> Result<T, StoreError> + Send + 'static,
    {
        let path = self.path.clone();
        let work = async {
            let ended = tokio::task::spawn_blocking(move || work(&path)).await;
            ended.unwrap_or_else(|error| Err(StoreError::Unavailable(Box::new(error))))
        };
        traced(self.tracer.as_deref(), span, work).await
    }

    pub(super) fn observer(&self) -> Arc<dyn ChangeObserver> {
        Arc::clone(&self.observer)
    }

    pub(super) fn seals(&self) -> Seals {
        self.seals.clone()
    }

    pub(super) fn queue_depth(&self) -> usize {
        self.writer.queue_depth()
    }

    /// The number of committed transactions, so that a test can see that calls share them.
    #[doc(hidden)]
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// Limits the size of the file, as a full disk does.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        self.writer
            .exclusively(move |connection| {
                Ok(connection
                    .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
            })
            .await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SqliteStore")
    }
}
