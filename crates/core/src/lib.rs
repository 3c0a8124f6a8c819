//! The domain of Gatekey: API keys, their rules and use cases. No HTTP, no SQL, no environment.
//!
//! # Layout
//! - [`api_key`]: the fields of a key and their rules; create, get, list, update, delete, rotate,
//!   disable.
//! - [`token`]: authenticate a key, issue, verify, introspect and revoke its tokens.
//! - [`signing_key`]: the keys that sign tokens.
//! - [`root_key`]: the one key outside the database, its versions, and everything derived from it.
//! - [`seal`]: detects changes to the store that were made without the root key.
//! - [`ledger`]: the chained record of changes and refused calls.
//! - [`policy`][]: permissions.
//! - [`operations`]: administration of a whole server: the first key, backups, purging.
//! - [`memory`]: state held in memory, fed by the store's changes.
//! - [`store`]: the traits of a store.
//! - [`feed`]: how a node follows a database that several nodes share.
//! - [`network`]: networks that are trusted, and the part of an address that counts as one client.
//! - [`mod@env`]: time and randomness as arguments.
//!
//! Each folder contains rules as pure functions, and use cases as an object that owns a store and
//! an [`Env`]: [`ApiKeys`], [`Tokens`], [`signing_key::SigningKeys`], [`root_key::RootKeys`] and
//! [`Operations`].

pub mod api_key;
pub mod env;
pub mod error;
pub mod feed;
pub mod id;
pub mod ledger;
pub mod memory;
pub mod network;
pub mod operations;
pub mod organization;
mod panic_message;
pub mod policy;
mod redact;
pub mod root_key;
pub mod seal;
pub mod signing_key;
pub mod store;
pub mod token;

pub use api_key::{ApiKey, ApiKeyPatch, ApiKeys, Application, StoredSecret};
pub use env::{Env, Timestamp};
pub use error::Error;
pub use id::{KeyId, SecretId};
pub use ledger::{Actor, Caller, LedgerKey, LedgerKeys};
pub use memory::{Directory, LastUsed};
pub use operations::Operations;
pub use organization::Organization;
pub use panic_message::panic_message;
pub use redact::redact;
pub use root_key::{RootKey, SecretHash};
pub use signing_key::KeyRing;
pub use store::{Store, StoreError};
pub use token::Tokens;
