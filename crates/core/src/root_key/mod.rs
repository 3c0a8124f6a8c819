//! [`RootKey`]: the one key outside the database, in its versions, and what is derived from it.
//!
//! HKDF-SHA-256 (RFC 5869) gives one key per purpose, so that no two uses ever share one. Beside the database
//! the root key protects a stolen database file, not a stolen directory.
//!
//! A root key that is due or may have leaked gets a newer version ([`RootKey::rotate`]). The newest that the store
//! knows hashes, seals and chains; older ones are there for the secrets that were hashed under them, until
//! [`RootKey::retire`]. Three things follow, in this order: the file, the store, the memory. Whatever happens between
//! them, the store's rows say which version is in use, and the file holds it.
//!
//! # Layout
//! - [`mod@file`]: what the file says.
//! - [`rotation`]: the use cases rotate, list, retire.

pub mod file;
pub mod rotation;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time, hkdf, hmac,
};
use zeroize::Zeroizing;

pub use file::{RootKeyFile, RootKeys};

use crate::{
    Env, SecretId, Timestamp,
    store::{Rehash, SealedSigningKey, StoredRootKey},
};

/// Bytes of a root key.
pub const LENGTH: usize = 32;

/// The root key with what is derived from it. `Debug` prints the type's name.
pub struct RootKey {
    /// Where it is kept; `None` for one that nobody can rotate.
    file: Option<Arc<dyn RootKeyFile>>,
    /// Whether a store may be from before the newest version.
    older_store: bool,
    state: ArcSwap<State>,
    /// Whether somebody rotates or retires: one at a time.
    busy: AtomicBool,
    /// Secrets to be hashed under the newest version, since they have just proven themselves under an older one.
    rehashes: Mutex<HashMap<SecretId, Rehash>>,
}

/// The versions, as file and store together say.
struct State {
    /// Those in use, the newest first: it hashes, seals and chains. Never empty.
    live: Box<[Arc<Version>]>,
    /// Others in the file: not in use yet, not any more, or never in this store.
    spare: Box<[Arc<Version>]>,
    /// Whether the file says that a rotation has begun.
    pending: bool,
    ledger: LedgerKeys,
}

/// What is derived from one version.
struct Version {
    number: u32,
    /// Tells whether a key is the one that a store was made under, and nothing else.
    check: [u8; 16],
    pepper: hmac::Key,
    ledger: LedgerKey,
    page_token: hmac::Key,
    sealing: LessSafeKey,
    backup: Zeroizing<[u8; 32]>,
}

/// The root key and a store do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RootKeyMismatch {
    /// The file lacks a version that the store needs.
    #[error(
        "version {0} of the root key is missing in its file, and the database needs it; put back its line \
         gatekey-root-key-{0}:..., from a copy of the file from before it was taken out"
    )]
    Missing(u32),
    /// The file has another key under that version.
    #[error(
        "version {0} of the root key is another one than the database was made under: what is sealed there does not \
         open; is this the root key that belongs to the data directory?"
    )]
    Another(u32),
    /// The store does not know the newest version, to which it was rotated.
    #[error(
        "the database does not know version {newest} of the root key, only {known}: it is from before the rotation. \
         If you put an older database back, begin version {newest} in it with `gatekey root-key rotate`; if not, \
         somebody may have changed it who knows an old root key"
    )]
    OlderStore {
        /// The newest version in the file.
        newest: u32,
        /// The newest that the store knows.
        known: u32,
    },
}

/// What a secret is compared with: HMAC-SHA-256 of the secret under a versioned pepper.
///
/// No slow hash: a secret carries 184 random bits, and NIST SP 800-63B section 5.1.2.2 asks for a slow one
/// below 112 bits alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretHash {
    /// Which pepper: the root key's version.
    pub pepper_version: u32,
    /// The MAC.
    pub mac: [u8; 32],
}

/// Sealed bytes were not made under this root key and name, or were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is sealed in the store does not open with this root key")]
pub struct CannotOpen;

impl RootKey {
    /// The root key of one version that these 32 bytes are; nobody can rotate it.
    pub fn new(bytes: &[u8; LENGTH]) -> Self {
        Self::of(State::of_file(vec![Arc::new(Version::derive(1, bytes))], false), None)
    }

    /// The root key that was read from a file.
    pub fn from_file(keys: &RootKeys, file: Option<Arc<dyn RootKeyFile>>) -> Self {
        Self::of(State::of_file(derive(keys), keys.is_pending()), file)
    }

    fn of(state: State, file: Option<Arc<dyn RootKeyFile>>) -> Self {
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
        let settled = State::settle(state.versions(), state.pending, stored, self.older_store)?;
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
        let mut versions = state.versions().into_iter();
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
        let state = self.state.load();
        let mut versions = state.live.iter().chain(&state.spare);
        versions.find(|found| found.number == version).map(|found| found.backup.clone())
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
        mac(&self.state.load().live[0].page_token, &[content])
    }

    /// Whether a page token's content has such a MAC, cut short, under a version in use: a list that began before a
    /// rotation goes on after it.
    pub(crate) fn is_page_token_mac(&self, content: &[u8], cut: &[u8]) -> bool {
        self.state.load().live.iter().any(|version| {
            let expected = mac(&version.page_token, &[content]);
            expected
                .get(..cut.len())
                .is_some_and(|expected| constant_time::verify_slices_are_equal(cut, expected).is_ok())
        })
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

impl State {
    /// As the file alone says, before a store was asked: all versions are in use.
    fn of_file(versions: Vec<Arc<Version>>, pending: bool) -> Self {
        let ledger = LedgerKeys(versions.iter().map(|version| version.ledger.clone()).collect());
        Self { live: versions.into(), spare: Box::default(), pending, ledger }
    }

    /// Every version in the file, the newest first.
    fn versions(&self) -> Vec<Arc<Version>> {
        let mut versions: Vec<_> = self.live.iter().chain(&self.spare).cloned().collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.number));
        versions
    }

    /// As file and store say together.
    fn settle(
        versions: Vec<Arc<Version>>,
        pending: bool,
        stored: &[StoredRootKey],
        older_store: bool,
    ) -> Result<Self, RootKeyMismatch> {
        // The newest that a store is known to have been rotated to.
        let newest = versions.get(usize::from(pending)).map_or(0, |version| version.number);
        let known = stored.iter().map(|stored| stored.version).max().unwrap_or_default();
        let of = |version: u32| versions.iter().find(|found| found.number == version);
        for stored in stored {
            match of(stored.version) {
                Some(found) if found.check != stored.check => {
                    return Err(RootKeyMismatch::Another(stored.version));
                }
                None if stored.retired_at.is_none() => return Err(RootKeyMismatch::Missing(stored.version)),
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
                    let bytes = Zeroizing::new(bytes.ok_or(RootKeyMismatch::Missing(stored.version))?);
                    LedgerKey::new(stored.version, bytes)
                }
                (None, None) => return Err(RootKeyMismatch::Missing(stored.version)),
            });
        }
        ledger.sort_by_key(|key| std::cmp::Reverse(key.version));
        let in_use = |version: u32| {
            stored.iter().any(|stored| stored.version == version && stored.retired_at.is_none())
        };
        let (live, spare): (Vec<_>, Vec<_>) =
            versions.into_iter().partition(|version| in_use(version.number));
        if live.first().is_none_or(|first| first.number != known) {
            return Err(RootKeyMismatch::Missing(known));
        }
        Ok(Self { live: live.into(), spare: spare.into(), pending, ledger: LedgerKeys(ledger.into()) })
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let mut versions = self.live.iter().chain(&self.spare);
        versions.find_map(|version| version.open(name, sealed).ok()).ok_or(CannotOpen)
    }
}

/// What is derived from each version, the newest first.
fn derive(keys: &RootKeys) -> Vec<Arc<Version>> {
    keys.iter().map(|(version, bytes)| Arc::new(Version::derive(version, bytes))).collect()
}

impl Version {
    fn derive(version: u32, bytes: &[u8; LENGTH]) -> Self {
        let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, b"gatekey root key").extract(bytes);
        let derive = |purpose: &[u8]| {
            let mut key = Zeroizing::new([0; 32]);
            pseudorandom
                .expand(&[purpose], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(key.as_mut()))
                .expect("HKDF-SHA-256 gives 32 bytes for any purpose");
            key
        };
        let mac = |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, derive(purpose).as_ref());
        let sealing =
            UnboundKey::new(&AES_256_GCM, derive(b"sealing 1").as_ref()).expect("AES-256 takes 32 bytes");
        let mut check = [0; 16];
        check.copy_from_slice(&derive(b"check 1")[..16]);
        Self {
            number: version,
            check,
            pepper: mac(b"pepper 1"),
            ledger: LedgerKey::new(version, derive(b"ledger 1")),
            page_token: mac(b"page token 1"),
            sealing: LessSafeKey::new(sealing),
            backup: derive(b"backup 1"),
        }
    }

    /// What a store should know of the version.
    fn stored(&self, since: Option<Timestamp>) -> StoredRootKey {
        StoredRootKey { version: self.number, check: self.check, since, retired_at: None, ledger_key: None }
    }

    fn hash_secret(&self, secret: &str) -> SecretHash {
        SecretHash { pepper_version: self.number, mac: mac(&self.pepper, &[secret.as_bytes()]) }
    }

    fn seal(&self, env: &Env, name: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = env.random();
        let mut sealed = plain.to_vec();
        self.sealing
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut sealed,
            )
            .expect("AES-GCM seals anything of reasonable size");
        [nonce.as_slice(), &sealed].concat()
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CannotOpen)?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let length = self
            .sealing
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(name.as_bytes()), &mut bytes)
            .map_err(|_| CannotOpen)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RootKey")
    }
}

impl SecretHash {
    /// Whether both are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        let same = constant_time::verify_slices_are_equal(&self.mac, &other.mac).is_ok();
        #[expect(clippy::needless_bitwise_bool, reason = "neither comparison may depend on the other")]
        let same = same & (self.pepper_version == other.pepper_version);
        same
    }
}

/// Links the ledger's entries, of one version. `Debug` prints the type's name. Cloning is cheap.
#[derive(Clone)]
pub struct LedgerKey {
    version: u32,
    secret: Arc<LedgerSecret>,
}

struct LedgerSecret {
    /// To be sealed for the time when the root key's version is gone: entries must verify for ever.
    bytes: Zeroizing<[u8; 32]>,
    key: hmac::Key,
}

impl LedgerKey {
    fn new(version: u32, bytes: Zeroizing<[u8; 32]>) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes.as_ref());
        Self { version, secret: Arc::new(LedgerSecret { bytes, key }) }
    }

    /// The root key's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The link of an entry: HMAC-SHA-256 over the link before it and the entry's canonical bytes.
    pub fn link(&self, previous: &[u8; 32], entry: &[u8]) -> [u8; 32] {
        mac(&self.secret.key, &[previous, entry])
    }

    /// Under which name it is sealed in the store.
    fn sealing_name(version: u32) -> String {
        format!("ledger key {version}")
    }
}

impl fmt::Debug for LedgerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LedgerKey")
    }
}

/// The keys of the ledger's links, of every version, the newest first. Never empty. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct LedgerKeys(Arc<[LedgerKey]>);

impl LedgerKeys {
    /// The one that links now.
    pub fn newest(&self) -> &LedgerKey {
        &self.0[0]
    }

    /// That of a version.
    pub fn find(&self, version: u32) -> Option<&LedgerKey> {
        self.0.iter().find(|key| key.version == version)
    }

    /// With one more, newer than these.
    #[must_use]
    pub fn with_newest(&self, key: &LedgerKey) -> Self {
        let older = self.0.iter().filter(|older| older.version != key.version);
        Self([key].into_iter().chain(older).cloned().collect())
    }
}

fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        RootKey::of(State::of_file(versions.collect(), pending), None)
    }

    /// What a store knows that was rotated to the second of the versions of [`of_versions`].
    fn rotated() -> [StoredRootKey; 2] {
        let (first, second) = (Version::derive(1, &[1; 32]), Version::derive(2, &[2; 32]));
        let sealed = second.seal(&Env::system(), "ledger key 1", first.ledger.secret.bytes.as_slice());
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
