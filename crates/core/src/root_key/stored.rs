//! [`StoredRootKey`]: the store's record of a root key version, and changes to it.

use gatekey_credentials::ClientId;

use super::{SecretHash, sealing::CannotOpen};
use crate::{
    SecretId, Timestamp,
    ledger::{Action, LedgerKey, NewEntry},
    seal::SealKey,
};

/// The most keys that [`RootKeyRetired::Needed`] names.
pub const SHOWN_KEYS: u32 = 5;

/// The store's record of a version of the root key. Never contains the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRootKey {
    pub version: u32,
    /// Identifies the key, without revealing it.
    pub check: [u8; 16],
    /// When the version came into use; for the first one, when the store was created.
    pub since: Option<Timestamp>,
    /// Set once nothing needs the version, so that it can be removed from the file.
    pub retired_at: Option<Timestamp>,
    /// The version's ledger key, sealed under the newest version; `None` for the newest.
    pub ledger_key: Option<Vec<u8>>,
}

/// Opens what was sealed under a name, and seals it again under the newest version.
pub type Reseal = Box<dyn Fn(&str, &[u8]) -> Result<Vec<u8>, CannotOpen> + Send + Sync>;

/// The arguments of [`Store::rotate_root_key`](crate::store::RootKeyStore::rotate_root_key).
pub struct RootKeyRotation {
    /// The new version.
    pub key: StoredRootKey,
    /// Links the ledger from the entry of the rotation on.
    pub ledger_key: LedgerKey,
    /// Seals rows from the rotation on.
    pub seal_key: SealKey,
    /// The ledger keys of earlier versions, each sealed under the new one.
    pub sealed_ledger_keys: Vec<(u32, Vec<u8>)>,
    /// Opens under any version, and seals under the new one.
    pub reseal: Reseal,
}

/// The outcome of [`Store::retire_root_key`](crate::store::RootKeyStore::retire_root_key).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKeyRetired {
    Done,
    /// It was retired before; nothing was changed.
    Already,
    /// It is in use; nothing was changed.
    Newest,
    /// Secrets are hashed under it; nothing was changed.
    Needed {
        /// Number of secrets.
        secrets: u64,
        /// The first [`SHOWN_KEYS`] of the keys that have them.
        client_ids: Vec<ClientId>,
    },
    Absent,
}

impl RootKeyRetired {
    /// Why a version cannot be retired, even if no secret depends on it. `known` is in the order of
    /// versions.
    pub fn refuse(version: u32, known: &[StoredRootKey]) -> Option<Self> {
        let newest = known.last().map(|key| key.version);
        match known.iter().find(|key| key.version == version) {
            None => Some(Self::Absent),
            Some(key) if key.retired_at.is_some() => Some(Self::Already),
            Some(_) if Some(version) == newest => Some(Self::Newest),
            Some(_) => None,
        }
    }
}

/// A new hash for a secret that was presented while stored under an older version of the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehash {
    pub secret_id: SecretId,
    /// The stored hash.
    pub from: SecretHash,
    /// The hash to store, if its version is still the newest.
    pub to: SecretHash,
}

impl Rehash {
    /// Whether the new hash is of the newest version. A rehash from before another rotation is not,
    /// and its version may be retired.
    pub fn is_current(&self, newest: u32) -> bool {
        self.to.pepper_version == newest
    }

    /// Completes the ledger entry, with the number of replaced hashes.
    pub fn entry(entry: &NewEntry, secrets: u64) -> NewEntry {
        NewEntry { detail: Action::RootKeyRehashSecrets { secrets }.detail(), ..entry.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_older_unretired_version_can_be_retired() {
        let at = Timestamp::from_seconds(1);
        let key = |version, retired_at| StoredRootKey {
            version,
            check: [0; 16],
            since: None,
            retired_at,
            ledger_key: None,
        };
        let known = [key(1, Some(at)), key(2, None), key(4, None)];
        let refuse = |version| RootKeyRetired::refuse(version, &known);
        assert_eq!(refuse(1), Some(RootKeyRetired::Already));
        assert_eq!(refuse(2), None);
        assert_eq!(refuse(3), Some(RootKeyRetired::Absent));
        assert_eq!(refuse(4), Some(RootKeyRetired::Newest));
    }
}
