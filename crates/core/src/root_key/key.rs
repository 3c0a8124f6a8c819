//! [`RootKey`]: the root key in memory.

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use super::{
    CannotOpen, LENGTH, Rehash, RootKeyFile, RootKeyMismatch, RootKeyVersions, SecretHash,
    StoredRootKey,
    derived::Version,
    versions::{Versions, derive},
};
use crate::{Env, SecretId, ledger::LedgerKeys, seal::SealKeys, signing_key::SealedSigningKey};

/// The root key in memory, and everything derived from it. `Debug` prints only the type's name.
pub struct RootKey {
    /// The file of the key: only stored here for [`RootKeys`](super::RootKeys), never read.
    file: Option<Arc<dyn RootKeyFile>>,
    /// Whether to accept a store from before the rotation to the newest version.
    older_store: bool,
    versions: ArcSwap<Versions>,
    /// New hashes of secrets that were used under an older version, to be stored.
    rehashes: Mutex<HashMap<SecretId, Rehash>>,
}

impl RootKey {
    /// A root key of one version and without a file, so that it cannot be rotated.
    pub fn new(bytes: &[u8; LENGTH]) -> Self {
        Self::of(Versions::of_file(vec![Arc::new(Version::derive(1, bytes))], false), None)
    }

    /// A root key that was read from a file. Without `file` it cannot be rotated.
    pub fn from_file(keys: &RootKeyVersions, file: Option<Arc<dyn RootKeyFile>>) -> Self {
        Self::of(Versions::of_file(derive(keys), keys.is_pending()), file)
    }

    fn of(versions: Versions, file: Option<Arc<dyn RootKeyFile>>) -> Self {
        Self {
            file,
            older_store: false,
            versions: ArcSwap::from_pointee(versions),
            rehashes: Mutex::default(),
        }
    }

    /// Accepts a store from before the rotation to the newest version, as after a restore.
    #[must_use]
    pub fn for_an_older_store(self) -> Self {
        Self { older_store: true, ..self }
    }

    /// Decides which versions are in use, by the store's records.
    ///
    /// # Errors
    /// When file and store do not belong together; then nothing changes.
    pub fn settle(&self, stored: &[StoredRootKey]) -> Result<(), RootKeyMismatch> {
        self.settle_with(stored, self.older_store)
    }

    pub(super) fn settle_with(
        &self,
        stored: &[StoredRootKey],
        older_store: bool,
    ) -> Result<(), RootKeyMismatch> {
        let versions = self.versions.load();
        self.replace(Versions::settle(versions.all(), versions.pending, stored, older_store)?);
        Ok(())
    }

    pub(super) fn replace(&self, versions: Versions) {
        self.versions.store(Arc::new(versions));
    }

    pub(super) fn file(&self) -> Option<&dyn RootKeyFile> {
        self.file.as_deref()
    }

    pub(super) fn is_pending(&self) -> bool {
        self.versions.load().pending
    }

    /// The first record of a store: the newest version, or version 1 for a store that is older than
    /// versions (`from_before`). `proof` is a sealed key of that store, which the version must
    /// open.
    ///
    /// # Errors
    /// When it does not.
    pub fn first_of_store(
        &self,
        from_before: bool,
        proof: Option<&SealedSigningKey>,
    ) -> Result<StoredRootKey, RootKeyMismatch> {
        let versions = self.versions.load();
        let mut all = versions.all().into_iter();
        let version =
            if from_before { all.find(|version| version.number == 1) } else { all.next() };
        let version = version.ok_or(RootKeyMismatch::Missing(1))?;
        if proof.is_some_and(|proof| version.open(&proof.sealing_name(), &proof.sealed).is_err()) {
            return Err(RootKeyMismatch::Another(version.number));
        }
        Ok(version.stored(None))
    }

    /// The version in use: the newest that the store knows.
    pub fn version(&self) -> u32 {
        self.versions.load().live[0].number
    }

    /// The newest version in the file, if it is not in use yet.
    pub fn version_not_in_use(&self) -> Option<u32> {
        let versions = self.versions.load();
        versions
            .spare
            .first()
            .map(|spare| spare.number)
            .filter(|spare| *spare > versions.live[0].number)
    }

    /// Whether the store is from before a finished rotation to the newest version: see
    /// [`RootKeyMismatch::OlderStore`].
    pub fn is_newer_than_store(&self) -> bool {
        !self.is_pending() && self.version_not_in_use().is_some()
    }

    /// The key that the keys of a version's backups are derived from; `None` if the file lacks the
    /// version.
    pub(crate) fn backup_key(&self, version: u32) -> Option<Zeroizing<[u8; 32]>> {
        self.versions
            .load()
            .iter()
            .find(|found| found.number == version)
            .map(|found| found.backup.clone())
    }

    /// The version in use, and the key that the keys of its backups are derived from.
    pub(crate) fn newest_backup_key(&self) -> (u32, Zeroizing<[u8; 32]>) {
        let versions = self.versions.load();
        (versions.live[0].number, versions.live[0].backup.clone())
    }

    /// The hash of a secret under the version in use.
    pub fn hash_secret(&self, secret: &str) -> SecretHash {
        self.versions.load().live[0].hash_secret(secret)
    }

    /// Passes the secret's hash under each version in use, the newest first. Never stops early, so
    /// that the time taken reveals nothing.
    pub(crate) fn each_hash(&self, secret: &str, mut visit: impl FnMut(SecretHash)) {
        for version in &self.versions.load().live {
            visit(version.hash_secret(secret));
        }
    }

    /// The ledger keys of every version that ever linked the ledger.
    pub fn ledger_keys(&self) -> LedgerKeys {
        self.versions.load().ledger.clone()
    }

    /// The keys that seal rows, of every version in use.
    pub fn seal_keys(&self) -> SealKeys {
        let versions = self.versions.load();
        SealKeys::new(versions.live.iter().map(|version| version.seal.clone()).collect())
    }

    /// A MAC over a page token's content, to detect changes.
    pub(crate) fn page_token_mac(&self, content: &[u8]) -> [u8; 32] {
        self.versions.load().live[0].page_token_mac(content)
    }

    /// Whether a truncated MAC matches a page token's content under any version in use, so that a
    /// list that began before a rotation can continue after it.
    pub(crate) fn is_page_token_mac(&self, content: &[u8], truncated: &[u8]) -> bool {
        self.versions
            .load()
            .live
            .iter()
            .any(|version| version.is_page_token_mac(content, truncated))
    }

    /// Seals bytes with AES-256-GCM under the version in use. They open only with the same name.
    pub fn seal(&self, env: &Env, name: &str, plain: &[u8]) -> Vec<u8> {
        self.versions.load().live[0].seal(env, name, plain)
    }

    /// Opens bytes that were sealed under any version.
    ///
    /// # Errors
    /// When they were sealed under another root key or name, or were changed.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        self.versions.load().open(name, sealed)
    }

    /// Records that a secret was used. If its stored hash is of an older version, the hash under
    /// the newest one is stored with the next flush.
    pub(crate) fn note_use(
        &self,
        secret_id: SecretId,
        stored: SecretHash,
        newest: Option<SecretHash>,
    ) {
        let Some(to) = newest.filter(|newest| newest.pepper_version != stored.pepper_version)
        else {
            return;
        };
        self.rehashes().insert(secret_id, Rehash { secret_id, from: stored, to });
    }

    pub(super) fn take_rehashes(&self) -> Vec<Rehash> {
        mem::take(&mut *self.rehashes()).into_values().collect()
    }

    /// Keeps hashes that could not be stored, unless there are newer ones.
    pub(super) fn put_back(&self, failed: impl IntoIterator<Item = Rehash>) {
        let mut rehashes = self.rehashes();
        for rehash in failed {
            rehashes.entry(rehash.secret_id).or_insert(rehash);
        }
    }

    fn rehashes(&self) -> MutexGuard<'_, HashMap<SecretId, Rehash>> {
        self.rehashes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RootKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn sealing_is_bound_to_key_and_name() {
        let env = Env::system();
        let root = RootKey::new(&[1; 32]);
        let sealed = root.seal(&env, "signing key", b"private");
        assert_eq!(root.open("signing key", &sealed).unwrap().as_slice(), b"private");
        assert_eq!(root.open("another name", &sealed), Err(CannotOpen));
        assert_eq!(RootKey::new(&[2; 32]).open("signing key", &sealed), Err(CannotOpen));
        assert_eq!(root.open("signing key", &sealed[..20]), Err(CannotOpen));
        assert_eq!(root.open("signing key", &[]), Err(CannotOpen));
    }

    fn of_versions(versions: &[(u32, u8)], pending: bool) -> RootKey {
        let versions = versions
            .iter()
            .map(|(version, byte)| Arc::new(Version::derive(*version, &[*byte; 32])));
        RootKey::of(Versions::of_file(versions.collect(), pending), None)
    }

    /// The records of a store that was rotated from version 1 to version 2 of [`of_versions`].
    fn rotated() -> [StoredRootKey; 2] {
        let (first, second) = (Version::derive(1, &[1; 32]), Version::derive(2, &[2; 32]));
        let sealed = second.seal(&Env::system(), "ledger key 1", first.ledger.expose());
        [StoredRootKey { ledger_key: Some(sealed), ..first.stored(None) }, second.stored(None)]
    }

    #[test]
    fn the_stores_newest_version_is_used() {
        let root_key = of_versions(&[(2, 2), (1, 1)], true);
        root_key.settle(&rotated()[..1]).unwrap();
        assert_eq!((root_key.version(), root_key.version_not_in_use()), (1, Some(2)));
        assert_eq!(root_key.hash_secret("gk_x").pepper_version, 1);
        root_key.settle(&rotated()).unwrap();
        assert_eq!((root_key.version(), root_key.version_not_in_use()), (2, None));
        assert_eq!(root_key.hash_secret("gk_x").pepper_version, 2);
        let mut hashes = Vec::new();
        root_key.each_hash("gk_x", |hash| hashes.push(hash.pepper_version));
        assert_eq!(hashes, [2, 1]);
    }

    #[test]
    fn a_mismatched_store_and_file_are_detected() {
        let settle = |versions: &[(u32, u8)], stored: &[StoredRootKey]| {
            of_versions(versions, false).settle(stored).unwrap_err()
        };
        let stored = rotated();
        assert_eq!(settle(&[(2, 2)], &stored), RootKeyMismatch::Missing(1));
        assert_eq!(settle(&[(1, 1)], &stored), RootKeyMismatch::Missing(2));
        assert_eq!(settle(&[(2, 3), (1, 1)], &stored), RootKeyMismatch::Another(2));
        assert_eq!(settle(&[(2, 2), (1, 9)], &stored), RootKeyMismatch::Another(1));
        let older = RootKeyMismatch::OlderStore { newest: 2, known: 1 };
        assert_eq!(settle(&[(2, 2), (1, 1)], &stored[..1]), older);
        let allowed = of_versions(&[(2, 2), (1, 1)], false).for_an_older_store();
        allowed.settle(&stored[..1]).unwrap();
        assert_eq!(allowed.version(), 1);
    }

    #[test]
    fn a_retired_version_only_verifies_the_ledger() {
        let mut stored = rotated();
        stored[0].retired_at = Some(Timestamp::from_seconds(1));
        let link = of_versions(&[(1, 1)], false).ledger_keys().newest().link(&[0; 32], b"entry");
        for versions in [&[(2, 2), (1, 1)][..], &[(2, 2)]] {
            let root_key = of_versions(versions, false);
            root_key.settle(&stored).unwrap();
            let mut hashes = Vec::new();
            root_key.each_hash("gk_x", |hash| hashes.push(hash.pepper_version));
            assert_eq!(hashes, [2]);
            assert_eq!(root_key.ledger_keys().find(1).unwrap().link(&[0; 32], b"entry"), link);
        }
    }

    #[test]
    fn another_root_key_gives_another_hash() {
        let (one, two) = (RootKey::new(&[1; 32]), RootKey::new(&[2; 32]));
        assert!(one.hash_secret("gk_x").matches(&one.hash_secret("gk_x")));
        assert!(!one.hash_secret("gk_x").matches(&two.hash_secret("gk_x")));
        assert!(!one.hash_secret("gk_x").matches(&one.hash_secret("gk_y")));
    }
}
