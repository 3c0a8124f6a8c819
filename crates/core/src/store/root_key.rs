//! [`RootKeyStore`]: the versions of the root key, and everything sealed or hashed under them.

use std::collections::BTreeMap;

use async_trait::async_trait;

use gatekey_credentials::ClientId;

use super::StoreError;
use crate::{
    Timestamp,
    ledger::NewEntry,
    root_key::{Rehash, Reseal, RootKeyRetired, RootKeyRotation, StoredRootKey},
    seal::Sealed,
};

/// Stores the root key's versions, without the keys, and everything sealed or hashed under them.
#[async_trait]
pub trait RootKeyStore: Send + Sync {
    /// The known versions, in their order.
    async fn root_keys(&self) -> Result<Vec<StoredRootKey>, StoreError>;

    /// The number of secrets hashed under each version that can be valid at `now` or later.
    async fn secrets_by_root_key(&self, now: Timestamp) -> Result<BTreeMap<u32, u64>, StoreError>;

    /// Takes a new version into use: seals everything again under it, and links the ledger with it
    /// from `entry` on. Fails with [`StoreError::Corrupt`] if something sealed cannot be decrypted.
    async fn rotate_root_key(
        &self,
        rotation: RootKeyRotation,
        entry: NewEntry,
    ) -> Result<(), StoreError>;

    /// Retires a version, unless [`RootKeyRetired::refuse`] forbids it, or a secret hashed under it
    /// can be valid at `now` or later. Seals everything again that is still sealed under it, rows
    /// included.
    async fn retire_root_key(
        &self,
        version: u32,
        now: Timestamp,
        reseal: Reseal,
        entry: NewEntry,
    ) -> Result<RootKeyRetired, StoreError>;

    /// Replaces the hashes that are unchanged and [`Rehash::is_current`] permits. Appends the entry
    /// that [`Rehash::entry`] completes, unless no hash was replaced.
    async fn rehash_secrets(
        &self,
        rehashes: Vec<Rehash>,
        entry: NewEntry,
    ) -> Result<(), StoreError>;

    /// Seals the rows of a store that is older than seals, and appends the entry that
    /// [`Sealed::entry`] completes. Does nothing, and returns `None`, if they are sealed. Fails
    /// with [`StoreError::Tampered`] if they were sealed before and the seal was removed, or if the
    /// ledger is broken.
    ///
    /// Does not notify the observer: call it before [`Store::load`](super::Store::load).
    async fn seal_store(&self, entry: NewEntry) -> Result<Option<Sealed>, StoreError>;

    /// Seals up to `limit` keys after a client id, and their denials, under the newest version, and
    /// returns the last client id. `None` if there are no more.
    async fn reseal_rows(
        &self,
        after: Option<ClientId>,
        limit: usize,
    ) -> Result<Option<ClientId>, StoreError>;

    /// The bytes sealed under a name.
    async fn find_sealed(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Stores bytes sealed under a name, if those stored now are `earlier`. Returns whether they
    /// are; if not, nothing was changed.
    async fn replace_sealed(
        &self,
        name: &str,
        earlier: Option<Vec<u8>>,
        sealed: Vec<u8>,
    ) -> Result<bool, StoreError>;
}
