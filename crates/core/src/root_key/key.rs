//! [`RootKey`]: the root key in memory.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

use super::{
    CannotOpen, LENGTH, Rehash, RootKeyFile, RootKeyMismatch, RootKeys, SecretHash, StoredRootKey,
    derived::Version,
    versions::{Versions, derive},
};
use crate::{Env, SecretId, ledger::LedgerKeys, signing_key::SealedSigningKey};

/// The root key with what is derived from it. `Debug` prints the type's name.
pub struct RootKey {
    /// Where it is kept; `None` for one that nobody can rotate.
    pub(super) file: Option<Arc<dyn RootKeyFile>>,
    /// Whether a store may be from before the newest version.
    older_store: bool,
    pub(super) state: ArcSwap<Versions>,
    /// Whether somebody rotates or retires: one at a time.
    pub(super) busy: AtomicBool,
    /// Secrets to be hashed under the newest version, since they have just proven themselves under an older one.
    pub(super) rehashes: Mutex<HashMap<SecretId, Rehash>>,
}

impl RootKey {
    /// The root key of one version that these 32 bytes are; nobody can rotate it.
    pub fn new(bytes: &[u8; LENGTH]) -> Self {
        Self::of(Versions::of_file(vec![Arc::new(Version::derive(1, bytes))], false), None)
    }

    /// The root key that was read from a file.
    pub fn from_file(keys: &RootKeys, file: Option<Arc<dyn RootKeyFile>>) -> Self {
        Self::of(Versions::of_file(derive(keys), keys.is_pending()), file)
    }

    fn of(state: Versions, file: Option<Arc<dyn RootKeyFile>>) -> Self {
        Self {
            file,
            older_store: false,
            state: ArcSwap::from_pointee(state),
            busy: AtomicBool::default(),
            rehashes: Mutex::default(),
        }
    }

    /// The same, for a store that may be from before the newest version, because somebody put it back.
    #[must_use]
    pub fn for_an_older_store(self) -> Self {
        Self { older_store: true, ..self }
    }

    /// Settles which versions are in use, by what the store knows of each.
    ///
    /// # Errors
    /// When they do not belong together; then everything is as before.
    pub fn settle(&self, stored: &[StoredRootKey]) -> Result<(), RootKeyMismatch> {
        let state = self.state.load();
        let settled = Versions::settle(state.all(), state.pending, stored, self.older_store)?;
        self.state.store(Arc::new(settled));
        Ok(())
    }

    /// What a store should know first: the newest version, or the first where the store is from before there were
    /// versions. One of that store's sealed keys proves that it is the right one.
    ///
    /// # Errors
    /// When it is not.
    pub fn first_of_store(
        &self,
        from_before: bool,
        proof: Option<&SealedSigningKey>,
    ) -> Result<StoredRootKey, RootKeyMismatch> {
        let state = self.state.load();
        let mut versions = state.all().into_iter();
        let version =
            if from_before { versions.find(|version| version.number == 1) } else { versions.next() };
        let version = version.ok_or(RootKeyMismatch::Missing(1))?;
        if proof.is_some_and(|proof| version.open(&proof.sealing_name(), &proof.sealed).is_err()) {
            return Err(RootKeyMismatch::Another(version.number));
        }
        Ok(version.stored(None))
    }

    /// The version in use: the newest that the store knows.
    pub fn version(&self) -> u32 {
        self.state.load().live[0].number
    }

    /// The newest version in the file, where it is not in use yet.
    pub fn version_not_in_use(&self) -> Option<u32> {
        let state = self.state.load();
        state.spare.first().map(|spare| spare.number).filter(|spare| *spare > state.live[0].number)
    }

    /// Whether the store is from before the newest version, to which it was rotated: see
    /// [`RootKeyMismatch::OlderStore`].
    pub fn is_newer_than_store(&self) -> bool {
        !self.state.load().pending && self.version_not_in_use().is_some()
    }

    /// What the keys of backups of a version are derived from; `None` when the file lacks it.
    pub(crate) fn backup_key(&self, version: u32) -> Option<Zeroizing<[u8; 32]>> {
        self.state.load().iter().find(|found| found.number == version).map(|found| found.backup.clone())
    }

    /// The version in use, and what the keys of its backups are derived from.
    pub(crate) fn newest_backup_key(&self) -> (u32, Zeroizing<[u8; 32]>) {
        let state = self.state.load();
        (state.live[0].number, state.live[0].backup.clone())
    }

    /// What to store of a secret.
    pub fn hash_secret(&self, secret: &str) -> SecretHash {
        self.state.load().live[0].hash_secret(secret)
    }

    /// Gives a secret's hash under each version in use, the newest first: always as many, whatever is found on the
    /// way.
    pub(crate) fn each_hash(&self, secret: &str, mut take: impl FnMut(SecretHash)) {
        for version in &self.state.load().live {
            take(version.hash_secret(secret));
        }
    }

    /// The keys of the ledger's links, of every version that ever chained it.
    pub fn ledger_keys(&self) -> LedgerKeys {
        self.state.load().ledger.clone()
    }

    /// A MAC over a page token's content, to notice a changed one.
    pub(crate) fn page_token_mac(&self, content: &[u8]) -> [u8; 32] {
        self.state.load().live[0].page_token_mac(content)
    }

    /// Whether a page token's content has such a MAC, cut short, under a version in use: a list that began before a
    /// rotation goes on after it.
    pub(crate) fn is_page_token_mac(&self, content: &[u8], cut: &[u8]) -> bool {
        self.state.load().live.iter().any(|version| version.is_page_token_mac(content, cut))
    }

    /// Seals bytes (AES-256-GCM) so that they open under this root key and that name alone.
    pub fn seal(&self, env: &Env, name: &str, plain: &[u8]) -> Vec<u8> {
        self.state.load().live[0].seal(env, name, plain)
    }

    /// Opens what [`Self::seal`] sealed under that name, whichever version it was.
    ///
    /// # Errors
    /// When it was sealed under another root key or name, or was changed.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        self.state.load().open(name, sealed)
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
    fn what_is_sealed_opens_under_the_same_key_and_name_alone() {
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
        let versions =
            versions.iter().map(|(version, byte)| Arc::new(Version::derive(*version, &[*byte; 32])));
        RootKey::of(Versions::of_file(versions.collect(), pending), None)
    }

    /// What a store knows that was rotated to the second of the versions of [`of_versions`].
    fn rotated() -> [StoredRootKey; 2] {
        let (first, second) = (Version::derive(1, &[1; 32]), Version::derive(2, &[2; 32]));
        let sealed = second.seal(&Env::system(), "ledger key 1", first.ledger.expose());
        [StoredRootKey { ledger_key: Some(sealed), ..first.stored(None) }, second.stored(None)]
    }

    #[test]
    fn the_newest_version_that_the_store_knows_is_in_use() {
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
    fn a_store_and_a_file_that_do_not_belong_together_are_told_apart() {
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
    fn a_retired_version_hashes_no_more_and_its_part_of_the_ledger_verifies_without_it() {
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
    fn a_secret_hashes_differently_under_another_root_key() {
        let (one, two) = (RootKey::new(&[1; 32]), RootKey::new(&[2; 32]));
        assert!(one.hash_secret("gk_x").matches(&one.hash_secret("gk_x")));
        assert!(!one.hash_secret("gk_x").matches(&two.hash_secret("gk_x")));
        assert!(!one.hash_secret("gk_x").matches(&one.hash_secret("gk_y")));
    }
}
