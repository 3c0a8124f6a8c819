//! The embedded store: SQLite in one file, in WAL mode with `synchronous=FULL`.
//!
//! # Layout
//! - `open`, `connection`, `migrations`: from a path to a database with the current schema.
//! - `transaction`: the unit of work.
//! - `writer`: the thread that owns the writing connection and commits calls in groups.
//! - `reader`: the connections that read.
//! - `store`: [`SqliteStore`], through which the files below reach writer and readers.
//! - `api_key`, `token`, `signing_key`, `root_key`, `ledger`: one of the store's traits each, with
//!   its statements.
//! - `state`, `seal`, `known_seals`: the seals of rows. `denial`: the rows of the deny-list.
//! - `load`, `purge`, `snapshot`: the calls that concern the whole store.
//! - [`inspection`]: reads a database without changing it.
//! - `columns`, `failure`: values and errors.

mod api_key;
mod columns;
mod connection;
mod denial;
mod failure;
pub mod inspection;
mod known_seals;
mod ledger;
mod load;
mod migrations;
mod open;
mod purge;
mod reader;
mod root_key;
mod seal;
mod signing_key;
mod snapshot;
mod state;
mod store;
mod token;
mod transaction;
mod writer;

use std::{fs::File, path::Path, sync::Arc};

use async_trait::async_trait;
use gatekey_core::{
    RootKey, Store, StoreError, Timestamp, seal::SealReport, store::ChangeObserver,
};

pub use inspection::Inspection;
use known_seals::Seals;
pub use open::OpenError;
pub use store::SqliteStore;
use writer::Writer;

impl SqliteStore {
    /// Opens the database at `path`, and creates or migrates it if necessary. The root key learns
    /// which of its versions are in use. The observer is notified of each change from then on, and
    /// of everything stored by [`Store::load`].
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
        let mut connection = open::open(&path)?;
        let ledger_keys =
            root_key::settle(&mut connection, root_key).map_err(|error| error.at(&path))?;
        let seals = Seals::new(root_key.seal_keys());
        let writer = Writer::start(
            path.clone(),
            connection,
            ledger_keys,
            seals.clone(),
            Arc::clone(&observer),
            load::reload,
        )
        .map_err(io_error)?;
        Ok(Self::new(path, writer, seals, observer))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<(), StoreError> {
        let (observer, seals) = (self.observer(), self.seals());
        // On the writer's thread: the facts must not be older than a change reported before.
        self.exclusively("store.load", move |connection| {
            connection::read_once(connection, |connection| {
                reader::in_transaction(connection, |connection| {
                    load::load(connection, &seals, &*observer)
                })
            })?;
            Ok(open::leave_log(connection, false)?)
        })
        .await
    }

    async fn verify_seals(&self) -> Result<SealReport, StoreError> {
        let keys = self.seals().keys();
        self.read("store.verify_seals", move |connection| load::verify(connection, &keys)).await
    }

    async fn purge(
        &self,
        now: Timestamp,
        replays_before: Timestamp,
        secrets_before: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("store.purge", move |transaction| {
            purge::purge(transaction, now, replays_before, secrets_before)
        })
        .await
    }

    async fn snapshot(&self) -> Result<File, StoreError> {
        self.blocking("store.snapshot", snapshot::take).await
    }

    fn queue_depth(&self) -> usize {
        SqliteStore::queue_depth(self)
    }
}
