//! The domain of Gatekey: API keys, their rules and use cases. No HTTP, no SQL, no environment.
//!
//! # Layout
//! - [`api_key`], [`redirect_uri`]: what a key is, and the rules its fields obey.
//! - [`api_keys`]: the use cases create, get, list, update, delete, rotate, retire, disable, enable.
//! - [`tokens`]: authenticate a key, issue, verify, introspect and revoke its tokens.
//! - [`directory`], [`key_ring`]: what is held in memory, fed by the store's changes.
//! - [`store`]: the one trait behind which keys are kept.
//! - [`ledger`]: the chained record of changes and refusals.
//! - `refusals`: the same refusal is one entry a minute.
//! - `throttle`: how often secrets from one address may be wrong.
//! - [`backup`]: the form of a backup.
//! - [`list`]: filters, order and page tokens.
//! - [`root_key`]: the one key outside the database, its versions, and all that is derived from it.
//! - [`mod@env`]: time and randomness as arguments.
//! - [`mod@panic`]: what a panic says, for the log.

pub mod api_key;
pub mod api_keys;
pub mod backup;
pub mod directory;
pub mod env;
pub mod error;
pub mod id;
pub mod key_ring;
pub mod last_used;
pub mod ledger;
pub mod list;
pub mod organization;
pub mod panic;
pub mod redirect_uri;
mod refusals;
pub mod root_key;
pub mod store;
mod throttle;
pub mod tokens;

pub use api_key::{ApiKey, ApiKeyPatch, Application, StoredSecret};
pub use api_keys::ApiKeys;
pub use directory::Directory;
pub use env::{Env, Timestamp};
pub use error::Error;
pub use id::{KeyId, SecretId};
pub use key_ring::KeyRing;
pub use last_used::LastUsed;
pub use ledger::{Actor, Caller};
pub use organization::Organization;
pub use root_key::{LedgerKey, LedgerKeys, RootKey, SecretHash};
pub use store::{Store, StoreError};
pub use tokens::Tokens;
