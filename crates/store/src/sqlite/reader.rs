//! [`Readers`]: a few read-only connections, opened on demand and used on threads that can block.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use gatekey_core::StoreError;
use rusqlite::Connection;
use tokio::{sync::Semaphore, task};

use super::connection;
use crate::sql::failure::Failure;

/// The most reads at once. Further reads wait.
const CONNECTIONS: usize = 4;

pub(super) struct Readers {
    path: PathBuf,
    permits: Arc<Semaphore>,
    /// A stack, so that a quiet server uses one connection with a warm cache.
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// Readers of the database at `path`. Opens no connection yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, permits: Arc::new(Semaphore::new(CONNECTIONS)), idle: Arc::default() }
    }

    /// Reads in one transaction, which sees the database at one moment.
    pub(super) async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|closed| StoreError::Unavailable(Box::new(closed)))?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let reading = task::spawn_blocking(move || {
            let pooled = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let connection = match pooled {
                Some(connection) => connection,
                None => connection::open_to_read(&path)?,
            };
            let read = in_transaction(&connection, work);
            // A connection that may be broken, or is still in a transaction, is closed.
            if !read.as_ref().is_err_and(Failure::spoils_connection) && connection.is_autocommit() {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            }
            drop(permit);
            read
        });
        match reading.await {
            Ok(read) => read.map_err(StoreError::from),
            Err(ended) => Err(StoreError::Unavailable(Box::new(ended))),
        }
    }
}

/// Runs work in a read transaction.
pub(super) fn in_transaction<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.prepare_cached("BEGIN DEFERRED")?.execute([])?;
    let read = work(connection);
    let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
    let read = read?;
    ended?;
    Ok(read)
}
