//! [`Tokens`]: the use cases of access tokens.

use std::{fmt, sync::Arc};

use super::{
    TokenSettings, TooManyChanges, own_changes::OwnChanges, remembered::Remembered,
    throttle::Throttle,
};
use crate::{
    Directory, Env, KeyId, KeyRing, LastUsed, RootKey, Store, Timestamp, api_key::KeyFacts,
    feed::Freshness, memory::Lookups,
};

/// Authenticates keys; issues, verifies, introspects and revokes their tokens.
///
/// A token has no row in the store. Whether it is valid depends on its dates, its key's state and
/// epoch, the secret that fetched it, and the deny-list, and all of them are in memory. Only a
/// revocation calls the store.
pub struct Tokens {
    pub(super) settings: TokenSettings,
    pub(super) directory: Arc<Directory>,
    pub(super) key_ring: Arc<KeyRing>,
    pub(super) last_used: Arc<LastUsed>,
    pub(super) store: Arc<dyn Store>,
    pub(super) root_key: Arc<RootKey>,
    pub(super) freshness: Freshness,
    pub(super) throttle: Throttle,
    pub(super) own_changes: OwnChanges,
    pub(super) remembered: Remembered,
    /// Stands in for a key or secret that does not exist, so that a failed authentication always
    /// costs the same.
    pub(super) nobody: Arc<KeyFacts>,
    pub(super) env: Env,
}

/// The state that the use cases share with others.
pub struct TokenParts {
    pub directory: Arc<Directory>,
    pub key_ring: Arc<KeyRing>,
    pub last_used: Arc<LastUsed>,
    pub store: Arc<dyn Store>,
    pub root_key: Arc<RootKey>,
    /// Of the directory and the key ring.
    pub freshness: Freshness,
}

impl Tokens {
    /// How often encoded credentials had authenticated their key before.
    pub fn lookups(&self) -> &Lookups {
        &self.remembered.lookups
    }

    pub fn new(settings: TokenSettings, parts: TokenParts, env: Env) -> Self {
        let TokenParts { directory, key_ring, last_used, store, root_key, freshness } = parts;
        let throttle = Throttle::new(settings.failed_authentications_per_minute, &env);
        let own_changes = OwnChanges::new(settings.own_changes_per_minute);
        let nobody = Arc::new(KeyFacts::nobody(&env));
        Self {
            settings,
            directory,
            key_ring,
            last_used,
            store,
            root_key,
            freshness,
            throttle,
            own_changes,
            remembered: Remembered::default(),
            nobody,
            env,
        }
    }

    /// Counts a change that a key makes to itself.
    ///
    /// # Errors
    /// [`TooManyChanges`] if it changes itself too often.
    pub fn count_own_change(&self, key: KeyId) -> Result<(), TooManyChanges> {
        self.own_changes.count(key, self.env.now())
    }

    pub fn now(&self) -> Timestamp {
        self.env.now()
    }

    pub fn settings(&self) -> &TokenSettings {
        &self.settings
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Tokens")
    }
}
