//! [`Operations`]: administration of a whole server, rather than of one key.
//!
//! # Layout
//! - `init`: the first admin key. `purge`: removes expired rows.
//! - [`backup`]: the format of a backup, and how one is taken.
//! - [`restore`]: revokes tokens after a restore, and reports changed keys.
//! - `key`: reads one key. `ledger`: pages of the ledger, and its verification. `archive`: closes a
//!   part of it.
//! - `retire`: signing keys and versions of the root key.

mod archive;
pub mod backup;
mod error;
mod init;
mod key;
mod ledger;
mod purge;
pub mod restore;
mod retire;

use std::{sync::Arc, time::Duration};

pub use archive::{ArchiveLimit, LedgerClosed};
pub use error::{ErrorKind, OperationError};
pub use ledger::{LedgerPage, VerifiedLedger};

use crate::{
    ApiKeys, Directory, Env, KeyRing, RootKey, Store, root_key::RootKeys, signing_key::SigningKeys,
};

/// The use cases of local administration and of scheduled maintenance.
pub struct Operations {
    pub signing_keys: SigningKeys,
    pub root_keys: RootKeys,
    api_keys: ApiKeys,
    directory: Arc<Directory>,
    root_key: Arc<RootKey>,
    store: Arc<dyn Store>,
    env: Env,
}

impl Operations {
    pub fn new(
        api_keys: ApiKeys,
        directory: Arc<Directory>,
        key_ring: Arc<KeyRing>,
        root_key: Arc<RootKey>,
        store: Arc<dyn Store>,
        publish_ahead: Duration,
        env: Env,
    ) -> Self {
        Self {
            signing_keys: SigningKeys::new(
                key_ring,
                root_key.clone(),
                store.clone(),
                publish_ahead,
                env.clone(),
            ),
            root_keys: RootKeys::new(root_key.clone(), store.clone(), env.clone()),
            api_keys,
            directory,
            root_key,
            store,
            env,
        }
    }
}
