//! [`Seals`]: what rows are verified with, shared by the writer and the readers.

use std::{
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    mem,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use gatekey_core::{
    ApiKey,
    seal::{Seal, SealKey, SealKeys, SealedRow},
};
use gatekey_credentials::ClientId;

use super::failure::Failure;

/// The seal keys of the versions in use, and the seal that each API key must have. The writer
/// changes both.
#[derive(Debug, Clone)]
pub(crate) struct Seals {
    keys: Arc<RwLock<SealKeys>>,
    known: Arc<RwLock<KnownSeals>>,
}

impl Seals {
    pub(crate) fn new(keys: SealKeys) -> Self {
        Self { keys: Arc::new(RwLock::new(keys)), known: Arc::default() }
    }

    /// The keys of the versions in use.
    pub(crate) fn keys(&self) -> SealKeys {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn add_key(&self, key: &SealKey) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = keys.with_newest(key);
    }

    /// Replaces the seals that are known, after all rows were read.
    pub(crate) fn replace(&self, known: KnownSeals) {
        *self.write() = known;
    }

    /// Fails unless the key has the seal that it must have, and matches it.
    pub(crate) fn verify(&self, key: &ApiKey, stored: Option<&[u8]>) -> Result<(), Failure> {
        self.verify_all([(key, stored.and_then(Seal::from_bytes))])
    }

    /// Verifies several keys with their stored seals.
    pub(crate) fn verify_all<'k>(
        &self,
        keys: impl IntoIterator<Item = (&'k ApiKey, Option<Seal>)>,
    ) -> Result<(), Failure> {
        let (seal_keys, known) = (self.keys(), self.read());
        for (key, seal) in keys {
            let matches = seal.is_some_and(|seal| {
                known.is_latest(&key.client_id, &seal)
                    && SealedRow::ApiKey(key).verify(&seal_keys, &seal)
            });
            if !matches {
                return Err(tampered(
                    &key.client_id,
                    "was changed",
                    "delete it and create it again",
                ));
            }
        }
        Ok(())
    }

    /// Fails if a key must exist of which there is no row.
    pub(crate) fn verify_absent(&self, client_id: &ClientId) -> Result<(), Failure> {
        let known = self.read();
        let is_known = known.tags.contains_key(&known.place(client_id));
        if is_known { Err(tampered(client_id, "was removed", "restore a backup")) } else { Ok(()) }
    }

    fn read(&self) -> RwLockReadGuard<'_, KnownSeals> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, KnownSeals> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tampered(client_id: &ClientId, how: &str, way_out: &str) -> Failure {
    Failure::Tampered(format!("API key {client_id} {how} without the root key; {way_out}"))
}

/// The tag of each API key's seal, by a hash of its client id: 17 bytes for each place in the
/// table, of which at least half are used.
#[derive(Debug, Default)]
pub(crate) struct KnownSeals {
    tags: HashMap<u64, u64, BuildHasherDefault<AsIs>>,
    /// Keyed at random: nobody can choose client ids that share a hash.
    hasher: RandomState,
    /// Whether every row was read. Before that, keys without a tag are accepted.
    is_complete: bool,
}

impl KnownSeals {
    /// For that many keys, all of which will be put.
    pub(crate) fn of_all(keys: u64) -> Self {
        let capacity = usize::try_from(keys).unwrap_or_default();
        let tags = HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default());
        Self { tags, hasher: RandomState::new(), is_complete: true }
    }

    pub(crate) fn put(&mut self, client_id: &ClientId, seal: &Seal) {
        self.tags.insert(self.place(client_id), seal.tag());
    }

    fn is_latest(&self, client_id: &ClientId, seal: &Seal) -> bool {
        match self.tags.get(&self.place(client_id)) {
            Some(tag) => *tag == seal.tag(),
            None => !self.is_complete,
        }
    }

    fn place(&self, client_id: &ClientId) -> u64 {
        self.hasher.hash_one(client_id.as_str())
    }

    fn set(&mut self, place: u64, tag: Option<u64>) -> Option<u64> {
        match tag {
            Some(tag) => self.tags.insert(place, tag),
            None => self.tags.remove(&place),
        }
    }
}

/// Changes to the known seals by a transaction. Undone on drop, unless they are kept.
///
/// Readers see them before the commit. That refuses a row that they would have accepted, and
/// `SqlStore::read_verified` reads it again.
pub(crate) struct SealChanges<'s> {
    seals: &'s Seals,
    /// The tag that each changed place had, the first change first.
    earlier: Vec<(u64, Option<u64>)>,
}

impl<'s> SealChanges<'s> {
    pub(crate) fn new(seals: &'s Seals) -> Self {
        Self { seals, earlier: Vec::new() }
    }

    /// Sets the seal that a key must have; `None` for a deleted key.
    pub(crate) fn set(&mut self, client_id: &ClientId, seal: Option<&Seal>) {
        let mut known = self.seals.write();
        let place = known.place(client_id);
        self.earlier.push((place, known.set(place, seal.map(Seal::tag))));
    }

    /// The number of changes so far.
    pub(crate) fn len(&self) -> usize {
        self.earlier.len()
    }

    /// Undoes all but the first changes.
    pub(crate) fn undo(&mut self, first: usize) {
        let mut known = self.seals.write();
        for (place, tag) in self.earlier.drain(first..).rev() {
            known.set(place, tag);
        }
    }

    /// Keeps the changes, which were committed.
    pub(crate) fn keep(mut self) {
        drop(mem::take(&mut self.earlier));
    }
}

impl Drop for SealChanges<'_> {
    fn drop(&mut self) {
        self.undo(0);
    }
}

/// Hashes a number that is a hash already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
