//! [`Versions`]: which versions of the root key are in use, according to its file and the store.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{CannotOpen, RootKeyVersions, StoredRootKey, derived::Version};
use crate::ledger::{LedgerKey, LedgerKeys};

/// The root key's file and the store do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootKeyMismatch {
    /// The file lacks a version that the store needs.
    #[error(
        "version {0} of the root key is missing in its file, and the database needs it; restore its line \
         gatekey-root-key-{0}:... from an earlier copy of the file"
    )]
    Missing(u32),
    /// The file has another key under that version.
    #[error(
        "version {0} of the root key does not match the database; use the root key that belongs to the data directory"
    )]
    Another(u32),
    /// The store does not know the newest version, although a rotation to it was finished.
    #[error(
        "the database does not know version {newest} of the root key, only {known}: it is from before the rotation. \
         If you restored an older database, run `gatekey root-key rotate` to use version {newest} in it; if not, \
         someone who knows an old root key may have changed it"
    )]
    OlderStore {
        /// The newest version in the file.
        newest: u32,
        /// The newest version that the store knows.
        known: u32,
    },
}

/// The versions of the root key, and which of them are in use.
pub(super) struct Versions {
    /// The versions in use, the newest first. The first one hashes, seals and links. Never empty.
    pub(super) live: Box<[Arc<Version>]>,
    /// The other versions in the file: not in use yet, retired, or never in this store.
    pub(super) spare: Box<[Arc<Version>]>,
    /// Whether the file marks the newest version as pending.
    pub(super) pending: bool,
    pub(super) ledger: LedgerKeys,
}

impl Versions {
    /// Treats all versions in a file as in use, because the store has not been read yet.
    pub(super) fn of_file(versions: Vec<Arc<Version>>, pending: bool) -> Self {
        let ledger =
            LedgerKeys::new(versions.iter().map(|version| version.ledger.clone()).collect());
        Self { live: versions.into(), spare: Box::default(), pending, ledger }
    }

    /// Decides which versions are in use, by the store's records.
    ///
    /// `older_store` accepts a store from before the rotation to the newest version.
    pub(super) fn settle(
        versions: Vec<Arc<Version>>,
        pending: bool,
        stored: &[StoredRootKey],
        older_store: bool,
    ) -> Result<Self, RootKeyMismatch> {
        // The newest version that the store must know, unless it is an older one.
        let newest = versions.get(usize::from(pending)).map_or(0, |version| version.number);
        let known = stored.iter().map(|stored| stored.version).max().unwrap_or_default();
        let of = |version: u32| versions.iter().find(|found| found.number == version);
        for stored in stored {
            match of(stored.version) {
                Some(found) if found.check != stored.check => {
                    return Err(RootKeyMismatch::Another(stored.version));
                }
                None if stored.retired_at.is_none() => {
                    return Err(RootKeyMismatch::Missing(stored.version));
                }
                Some(_) | None => {}
            }
        }
        let current = of(known).ok_or(RootKeyMismatch::Missing(known))?.clone();
        if newest > known && !older_store {
            return Err(RootKeyMismatch::OlderStore { newest, known });
        }
        let mut ledger = Vec::with_capacity(stored.len());
        for stored in stored {
            ledger.push(match (of(stored.version), &stored.ledger_key) {
                (Some(found), _) => found.ledger.clone(),
                (None, Some(sealed)) => {
                    let opened = current.open(&LedgerKey::sealing_name(stored.version), sealed);
                    let bytes = opened.ok().and_then(|opened| opened.as_slice().try_into().ok());
                    let bytes =
                        Zeroizing::new(bytes.ok_or(RootKeyMismatch::Missing(stored.version))?);
                    LedgerKey::new(stored.version, bytes)
                }
                (None, None) => return Err(RootKeyMismatch::Missing(stored.version)),
            });
        }
        let in_use = |version: u32| {
            stored.iter().any(|stored| stored.version == version && stored.retired_at.is_none())
        };
        let (live, spare): (Vec<_>, Vec<_>) =
            versions.into_iter().partition(|version| in_use(version.number));
        if live.first().is_none_or(|first| first.number != known) {
            return Err(RootKeyMismatch::Missing(known));
        }
        Ok(Self {
            live: live.into(),
            spare: spare.into(),
            pending,
            ledger: LedgerKeys::new(ledger),
        })
    }

    /// Every version in the file, the newest first.
    pub(super) fn all(&self) -> Vec<Arc<Version>> {
        let mut versions: Vec<_> = self.iter().cloned().collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        versions
    }

    /// Every version in the file, those in use first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Version>> {
        self.live.iter().chain(&self.spare)
    }

    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        self.iter().find_map(|version| version.open(name, sealed).ok()).ok_or(CannotOpen)
    }
}

/// The keys derived from each version, the newest first.
pub(super) fn derive(keys: &RootKeyVersions) -> Vec<Arc<Version>> {
    keys.iter().map(|(version, bytes)| Arc::new(Version::derive(version, bytes))).collect()
}
