//! Implements [`gatekey_core::Store`] on SQLite, in one file, and on PostgreSQL.
//!
//! # Layout
//! - `sql`: what both stores share. A writer thread that commits in groups, and one file of
//!   statements for each trait of the store.
//! - [`sqlite`]: the embedded store, the default.
//! - [`postgres`]: the store on a PostgreSQL server.
//! - `names`: the stored names of the core's enums, the same in every store.
//! - `tests/it`: the contract of the traits, one suite for every store.
//!
//! # Example
//! ```
//! use std::sync::Arc;
//!
//! use gatekey_core::{Directory, RootKey, Store};
//! use gatekey_store::SqliteStore;
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("gatekey.db");
//! # runtime.block_on(async {
//! let root_key = RootKey::new(&[7; 32]);
//! let keys = Arc::new(Directory::default());
//! let store = SqliteStore::open(&path, &root_key, keys.clone())?;
//! store.load().await?;
//! assert!(keys.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod names;
pub mod postgres;
mod sql;
pub mod sqlite;

pub use postgres::{DatabaseUrl, PostgresStore};
pub use sqlite::{Inspection, OpenError, SqliteStore};
