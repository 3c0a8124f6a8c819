//! [`LedgerKeys`]: the keys that link the ledger's entries.

use std::{fmt, sync::Arc};

use aws_lc_rs::{constant_time, hmac};
use zeroize::Zeroizing;

/// Links the ledger's entries. Derived from one version of the root key. `Debug` prints only the
/// type's name. Cloning is cheap.
#[derive(Clone)]
pub struct LedgerKey {
    version: u32,
    secret: Arc<LedgerSecret>,
}

struct LedgerSecret {
    /// Kept so that it can be sealed and outlive the root key's version.
    bytes: Zeroizing<[u8; 32]>,
    key: hmac::Key,
}

impl LedgerKey {
    pub(crate) fn new(version: u32, bytes: Zeroizing<[u8; 32]>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref());
        Self { version, secret: Arc::new(LedgerSecret { bytes, key }) }
    }

    /// The version of the root key that it is derived from.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The link of an entry: HMAC-SHA-256 over the previous link and the entry's canonical bytes.
    pub fn link(&self, previous: &[u8; 32], entry: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.secret.key);
        context.update(previous);
        context.update(entry);
        context.sign().as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
    }

    /// A MAC over content that is not an entry. `purpose` is longer than a link, and text, so that
    /// no link is such a MAC.
    pub(super) fn mac(&self, purpose: &[u8; 40], content: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.secret.key);
        context.update(purpose);
        context.update(content);
        context.sign().as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
    }

    /// Whether it is the MAC over the content.
    pub(super) fn is_mac(&self, purpose: &[u8; 40], content: &[u8], mac: &[u8; 32]) -> bool {
        let expected = self.mac(purpose, content);
        constant_time::verify_slices_are_equal(&expected, mac).is_ok()
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.secret.bytes
    }

    /// The name that the ledger key of a version is sealed under in the store.
    pub(crate) fn sealing_name(version: u32) -> String {
        format!("ledger key {version}")
    }
}

impl fmt::Debug for LedgerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LedgerKey")
    }
}

/// The ledger keys of all versions of the root key, the newest first. Never empty. Cloning is
/// cheap.
#[derive(Debug, Clone)]
pub struct LedgerKeys(Arc<[LedgerKey]>);

impl LedgerKeys {
    /// Sorts the keys. There must be at least one.
    pub(crate) fn new(mut keys: Vec<LedgerKey>) -> Self {
        keys.sort_by_key(|key| std::cmp::Reverse(key.version));
        Self(keys.into())
    }

    /// The key that links new entries.
    pub fn newest(&self) -> &LedgerKey {
        &self.0[0]
    }

    pub fn find(&self, version: u32) -> Option<&LedgerKey> {
        self.iter().find(|key| key.version == version)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &LedgerKey> {
        self.0.iter()
    }

    /// Returns these keys with a newer one added.
    #[must_use]
    pub fn with_newest(&self, key: &LedgerKey) -> Self {
        let older = self.iter().filter(|older| older.version != key.version);
        Self([key].into_iter().chain(older).cloned().collect())
    }
}
