//! [`Tokens`]: the use cases of access tokens.

use std::{fmt, sync::Arc};

use super::{TokenSettings, throttle::Throttle};
use crate::{Directory, Env, KeyRing, LastUsed, RootKey, Store, api_key::KeyFacts};

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
    pub(super) throttle: Throttle,
    /// Stands in for a key or secret that does not exist, so that a failed authentication always
    /// costs the same.
    pub(super) nobody: Arc<KeyFacts>,
    pub(super) env: Env,
}

impl Tokens {
    pub fn new(
        settings: TokenSettings,
        directory: Arc<Directory>,
        key_ring: Arc<KeyRing>,
        last_used: Arc<LastUsed>,
        store: Arc<dyn Store>,
        root_key: Arc<RootKey>,
        env: Env,
    ) -> Self {
        let throttle = Throttle::new(settings.failed_authentications_per_minute, &env);
        let nobody = Arc::new(KeyFacts::nobody(&env));
        Self { settings, directory, key_ring, last_used, store, root_key, throttle, nobody, env }
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
