//! The embedded store: SQLite in one file, in WAL mode with `synchronous=FULL`.
//!
//! # Layout
//! - `open`, `connection`, `migrations`: from a path to a database with the current schema.
//! - `access`: the statements of `sql` on a connection.
//! - `reader`: the connections that read.
//! - `snapshot`: copies a database that is in use. `draft`: makes a file of another database.
//! - [`inspection`]: reads a database without changing it.
//! - `error`: classifies SQLite's errors.

mod access;
mod connection;
pub(crate) mod draft;
pub(crate) mod error;
pub mod inspection;
mod migrations;
mod open;
#[cfg(test)]
mod plans;
mod reader;
mod snapshot;
#[cfg(test)]
mod writer;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use gatekey_core::{RootKey, StoreError, store::ChangeObserver};
use tokio::task;

pub use inspection::Inspection;
pub use open::OpenError;
use reader::Readers;

use crate::sql::{
    access::{Session, Sql},
    failure::Failure,
    known_seals::Seals,
    load, root_key,
    store::{Backend, SqlStore},
    writer::{Open, Writer},
};

/// The readers of an SQLite file.
pub struct Sqlite {
    readers: Readers,
    path: PathBuf,
}

/// A store in an SQLite file.
pub type SqliteStore = SqlStore<Sqlite>;

impl SqlStore<Sqlite> {
    /// Opens the database at `path`, and creates or migrates it if necessary. The root key learns
    /// which of its versions are in use. The observer is notified of each change from then on, and
    /// of everything stored by [`Store::load`](gatekey_core::Store::load).
    ///
    /// The caller must ensure that no other process changes the database: the observer would miss
    /// those changes.
    ///
    /// # Errors
    /// If the file is not a Gatekey database, has a newer schema, is damaged or cannot be accessed,
    /// or if the root key does not belong to it. The file is then unchanged, except that with a
    /// wrong root key its schema can have been migrated.
    pub fn open(
        path: &Path,
        root_key: &RootKey,
        observer: Arc<dyn ChangeObserver>,
    ) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io { path: path.to_owned(), source };
        // Absolute, because SQLite takes a name that begins with "file:" for a URI.
        let path = std::path::absolute(path).map_err(io_error)?;
        let connection = open::open(&path)?;
        let ledger_keys =
            root_key::settle(&connection, root_key).map_err(|error| open::refused(error, &path))?;
        let seals = Seals::new(root_key.seal_keys());
        let writer = Writer::start(
            Box::new(connection),
            Box::new(Opener(path.clone())),
            ledger_keys,
            seals.clone(),
            Arc::clone(&observer),
            load::reload,
        )
        .map_err(|source| OpenError::Io { path: path.clone(), source })?;
        let sqlite = Sqlite { readers: Readers::new(path.clone()), path };
        Ok(Self::new(sqlite, writer, seals, observer))
    }

    /// Limits the size of the file, as a full disk does.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        let limit = format!("PRAGMA max_page_count = {pages}");
        self.writer().exclusively(move |session| session.each(&limit, &[], &mut |_| Ok(()))).await
    }
}

/// Opens the connections that write to an SQLite file.
struct Opener(PathBuf);

impl Open for Opener {
    fn open(&mut self) -> Result<Box<dyn Session>, Failure> {
        Ok(Box::new(connection::open_to_write(&self.0)?))
    }
}

impl Backend for Sqlite {
    const NAME: &'static str = "SqliteStore";

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Failure> + Send + 'static,
    {
        self.readers.read(|connection| work(connection)).await
    }

    async fn snapshot(&self) -> Result<File, StoreError> {
        let path = self.path.clone();
        let taken = task::spawn_blocking(move || snapshot::take(&path)).await;
        taken.unwrap_or_else(|error| Err(StoreError::Unavailable(Box::new(error))))
    }
}
