//! [`Remembered`]: encoded credentials that authenticated their key before.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicI64},
};

use gatekey_credentials::ClientId;
use quick_cache::sync::Cache;

use crate::{KeyId, SecretId, memory::Lookups};

/// Encoded credentials that are remembered. An entry takes about 200 bytes, so they take at most
/// 2 MiB; only credentials that authenticated their key enter.
const REMEMBERED: usize = 8192;

/// Encoded credentials by their SHA-256, which has as many bits as their secret needs: 184.
pub(super) struct Remembered {
    pub(super) entries: Cache<[u8; 32], Arc<Entry>>,
    pub(super) lookups: Lookups,
}

/// The key and secret that encoded credentials authenticated.
pub(super) struct Entry {
    pub(super) client_id: ClientId,
    pub(super) key_id: KeyId,
    pub(super) epoch: u64,
    pub(super) secret: SecretId,
    /// The second in which the use of the secret was last noted.
    pub(super) noted_at: AtomicI64,
}

impl Default for Remembered {
    fn default() -> Self {
        Self { entries: Cache::new(REMEMBERED), lookups: Lookups::default() }
    }
}

impl fmt::Debug for Remembered {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Remembered({})", self.entries.len())
    }
}
