//! The store on a PostgreSQL server, version 13 or later.
//!
//! # Layout
//! - `address`, `tls`: which servers, and how they are verified.
//! - `connection`, `reconnect`, `error`: a connection that blocks its thread for a limited time.
//! - `value`, `dialect`: the statements of `sql` on PostgreSQL.
//! - `session`, `change`, `commit`: transactions that write.
//! - `reader`: transactions that read.
//! - `schema`: the tables, and their versions.
//! - `lease`: which node may write.

mod address;
mod change;
mod commit;
mod connection;
mod dialect;
pub(crate) mod error;
mod lease;
mod reader;
mod reconnect;
mod schema;
mod session;
mod tls;
mod value;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

pub use address::{DatabaseUrl, InvalidDatabaseUrl, Password};
use error::PostgresError;
use gatekey_core::{
    Env, LedgerKeys, RootKey, StoreError, feed::Freshness, root_key::RootKeyMismatch,
    store::ChangeObserver,
};
use lease::{Lease, Node};
use reader::Readers;

use crate::sql::{
    access::{self, Sql},
    failure::Failure,
    known_seals::Seals,
    load,
    root_key::{self, SettleError},
    store::{Backend, SqlStore},
    writer::{Open, Writer},
};
use crate::sqlite::draft;

/// The readers of a database on a PostgreSQL server.
pub struct Postgres {
    readers: Readers,
    lost: lease::Lost,
    directory: PathBuf,
}

/// A store on a PostgreSQL server.
pub type PostgresStore = SqlStore<Postgres>;

/// How a store on a PostgreSQL server is opened.
pub struct PostgresOptions {
    pub url: DatabaseUrl,
    /// The name of this machine, for people who look for who uses the database.
    pub node_name: String,
    /// For the files of backups, while they are made.
    pub directory: PathBuf,
    pub env: Env,
    /// Updated whenever this node proves that it alone writes, so that its memory is current.
    pub freshness: Freshness,
}

/// Why a database was not opened. Names it without its password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresOpenError {
    /// The root key does not belong to the database.
    #[error(transparent)]
    RootKey(#[from] RootKeyMismatch),
    /// Another node writes to it.
    #[error(
        "{database} is in use by the server on {node}; stop that one first: several servers on one database are \
         not supported yet"
    )]
    InUse { database: String, node: String },
    #[error("cannot open {database}")]
    Failed {
        database: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SqlStore<Postgres> {
    /// Opens a database, and creates or migrates its tables if necessary. The root key learns which
    /// of its versions are in use. The observer is notified of each change from then on, and of
    /// everything stored by [`Store::load`](gatekey_core::Store::load).
    ///
    /// Blocks its thread. Waits up to 12 seconds if the node that used the database last did not
    /// end properly.
    ///
    /// # Errors
    /// If the database cannot be reached or used, has a newer schema, is used by another node, or
    /// if the root key does not belong to it.
    pub fn open(
        options: PostgresOptions,
        root_key: &RootKey,
        observer: Arc<dyn ChangeObserver>,
    ) -> Result<Self, PostgresOpenError> {
        let PostgresOptions { url, node_name, directory, env, freshness } = options;
        let database = url.to_string();
        let url = Arc::new(url);
        let node =
            Node { id: format!("{:032x}", u128::from_be_bytes(env.random())), name: node_name };
        // On a thread of its own: the caller's can belong to a runtime, which must not be blocked
        // by another one.
        let opened = thread::scope(|scope| {
            scope.spawn(|| first(&url, &env, &node, root_key, &freshness)).join()
        });
        let opened = opened.unwrap_or(Err(SettleError::Failure(Failure::Panicked)));
        let (session, lease, ledger_keys) = opened.map_err(|error| refused(error, &database))?;
        let lost = lease.lost();
        let seals = Seals::new(root_key.seal_keys());
        let opener =
            Opener { url: Arc::clone(&url), env: env.clone(), node: node.id, _lease: lease };
        let writer = Writer::start(
            Box::new(session),
            Box::new(opener),
            ledger_keys,
            seals.clone(),
            Arc::clone(&observer),
            load::reload,
        )
        .map_err(|error| refused(PostgresError::Io(error).into(), &database))?;
        let backend = Postgres { readers: Readers::new(url, env), lost, directory };
        Ok(Self::new(backend, writer, seals, observer))
    }

    /// Waits until another node has taken the database over. What this one has in memory is then
    /// out of date, and it must not be served.
    pub fn taken_over(&self) -> impl Future<Output = ()> + Send + 'static {
        self.backend().lost.wait()
    }
}

/// Copies a database into a file of the embedded store, beside a server that uses it. The file is
/// made in `directory`, and unlinked.
///
/// Blocks its thread.
///
/// # Errors
/// If the database cannot be read, or the file cannot be written.
pub fn export(url: &DatabaseUrl, directory: &Path) -> Result<File, PostgresOpenError> {
    let copy = || {
        let connection = connection::Connection::open(url)?;
        reader::in_transaction(&connection, |sql| draft::take(&draft_path(directory), sql))
    };
    // On a thread of its own, as in `open`.
    let copied = thread::scope(|scope| scope.spawn(copy).join());
    let copied = copied.unwrap_or(Err(Failure::Panicked));
    copied.map_err(|failure| refused(failure.into(), &url.to_string()))
}

/// A name for a file that is unlinked once it is complete.
fn draft_path(directory: &Path) -> PathBuf {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let number = TAKEN.fetch_add(1, Ordering::Relaxed);
    directory.join(format!("gatekey.db.snapshot-{}-{number}", std::process::id()))
}

/// Opens the first connection, and takes the lease.
fn first(
    url: &Arc<DatabaseUrl>,
    env: &Env,
    node: &Node,
    root_key: &RootKey,
    freshness: &Freshness,
) -> Result<(session::Session, Lease, LedgerKeys), SettleError> {
    let connection = connection::Connection::open(url)?;
    schema::migrate(&connection, env)?;
    lease::take(&connection, node, freshness)?;
    let lease = Lease::keep(Arc::clone(url), env.clone(), node.clone(), freshness.clone())
        .map_err(PostgresError::Io)?;
    let session = session::Session::new(Arc::clone(url), env.clone(), node.id.clone(), connection);
    let ledger_keys = root_key::settle(&session, root_key)?;
    Ok((session, lease, ledger_keys))
}

fn refused(error: SettleError, database: &str) -> PostgresOpenError {
    let database = database.to_owned();
    match error {
        SettleError::Mismatch(mismatch) => mismatch.into(),
        SettleError::Failure(Failure::Postgres(PostgresError::Displaced(node))) => {
            PostgresOpenError::InUse { database, node }
        }
        SettleError::Failure(failure) => {
            PostgresOpenError::Failed { database, source: Box::new(failure) }
        }
    }
}

impl From<PostgresError> for SettleError {
    fn from(error: PostgresError) -> Self {
        Self::Failure(error.into())
    }
}

/// Opens the connections that write.
struct Opener {
    url: Arc<DatabaseUrl>,
    env: Env,
    /// The id of this node.
    node: String,
    /// Given back after the writer's last commit.
    _lease: Lease,
}

impl Open for Opener {
    fn open(&mut self) -> Result<Box<dyn access::Session>, Failure> {
        let connection = reconnect::open(&self.url, &self.env)?;
        let (url, env, node) = (Arc::clone(&self.url), self.env.clone(), self.node.clone());
        Ok(Box::new(session::Session::new(url, env, node, connection)))
    }
}

impl Backend for Postgres {
    const NAME: &'static str = "PostgresStore";

    async fn read<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Failure> + Send + 'static,
    {
        self.readers.read(work).await
    }

    async fn snapshot(&self) -> Result<File, StoreError> {
        let path = draft_path(&self.directory);
        self.readers.read(move |sql| draft::take(&path, sql)).await
    }
}
