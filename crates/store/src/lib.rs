//! Where keys are kept: [`gatekey_core::Store`] on SQLite, in one file beside the server.
//!
//! # Layout
//! - [`sqlite`]: the embedded store, the default. One writer thread that commits in groups, a few read
//!   connections, and one file of statements for each idea of the domain.
//! - `names`: the stored names of the domain's enums, the same in every store.
//! - `tests/it`: the contract, one suite for every store.
//!
//! A second store, for several nodes, will stand beside the first as `postgres`.
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
pub mod sqlite;

pub use sqlite::{Inspection, OpenError, SqliteStore};
