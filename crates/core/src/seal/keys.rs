//! [`SealKeys`]: the keys that seal rows, and [`Seal`].

use std::{fmt, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    cipher::{AES_256, EncryptingKey, UnboundCipherKey},
    constant_time, hmac,
};
use zeroize::Zeroizing;

/// The only known format of a sealed row's content.
const FORMAT: u8 = 1;
const MAC: usize = 32;
pub(super) const STATE_NAME: &[u8] = b"state 2";
/// The name of a state without the base of the ledger.
pub(super) const STATE_WITHOUT_BASE: &[u8] = b"state 1";
const ENTRY_NAME: &[u8] = b"entry 1";

/// The seal of a row: an HMAC-SHA-256 over the row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// The version of the root key that the row is sealed under.
    pub version: u32,
    mac: [u8; MAC],
}

impl Seal {
    /// The length of a stored seal in bytes.
    pub const LENGTH: usize = 1 + 4 + MAC;

    /// The stored bytes: format, version and MAC.
    pub fn to_bytes(self) -> [u8; Self::LENGTH] {
        let mut bytes = [FORMAT; Self::LENGTH];
        bytes[1..5].copy_from_slice(&self.version.to_be_bytes());
        bytes[5..].copy_from_slice(&self.mac);
        bytes
    }

    /// A part of the MAC that tells a row's seal from its earlier ones.
    ///
    /// The half that makes no term. Two of 2^32 seals of a key share a tag with a probability of
    /// one half, and each is a change in the ledger.
    pub fn tag(&self) -> u64 {
        let half = self.mac.last_chunk().expect("a MAC is longer than a tag");
        u64::from_be_bytes(*half)
    }

    /// Reads stored bytes; `None` if they are not a seal.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[FORMAT], bytes) = bytes.split_first_chunk::<1>()? else { return None };
        let (version, mac) = bytes.split_first_chunk::<4>()?;
        Some(Self { version: u32::from_be_bytes(*version), mac: mac.try_into().ok()? })
    }
}

/// Seals rows. Derived from one version of the root key. `Debug` prints only the type's name.
/// Cloning is cheap.
#[derive(Clone)]
pub struct SealKey(Arc<Keys>);

struct Keys {
    version: u32,
    row: hmac::Key,
    term: EncryptingKey,
    /// For nonces of `state`, and for the MACs in ledger entries.
    digest: hmac::Key,
    state: LessSafeKey,
}

impl SealKey {
    /// `derive` derives a key for a purpose.
    pub(crate) fn derive(version: u32, derive: impl Fn(&[u8]) -> Zeroizing<[u8; 32]>) -> Self {
        let mac = |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, derive(purpose).as_ref());
        let term = UnboundCipherKey::new(&AES_256, derive(b"seal term 1").as_ref());
        let term = term.and_then(EncryptingKey::ecb).expect("AES-256 takes 32 bytes");
        let state = UnboundKey::new(&AES_256_GCM, derive(b"seal state 1").as_ref());
        Self(Arc::new(Keys {
            version,
            row: mac(b"seal row 1"),
            term,
            digest: mac(b"seal digest 1"),
            state: LessSafeKey::new(state.expect("AES-256 takes 32 bytes")),
        }))
    }

    /// The version of the root key that it is derived from.
    pub fn version(&self) -> u32 {
        self.0.version
    }

    /// The seal of a row with that content.
    pub(super) fn seal(&self, content: &[u8]) -> Seal {
        Seal { version: self.0.version, mac: mac(&self.0.row, &[content]) }
    }

    /// Whether it is the seal of a row with that content.
    pub(super) fn verify(&self, content: &[u8], seal: &Seal) -> bool {
        let expected = self.seal(content);
        expected.version == seal.version
            && constant_time::verify_slices_are_equal(&expected.mac, &seal.mac).is_ok()
    }

    /// The number that a seal adds to the sum over its table: the first half of its MAC, encrypted
    /// as one block of AES-256. Never stored or shown.
    pub(super) fn term(&self, seal: &Seal) -> u128 {
        let mut block = [0; 16];
        block.copy_from_slice(&seal.mac[..16]);
        self.0.term.encrypt(&mut block).expect("AES encrypts a block");
        u128::from_be_bytes(block)
    }

    /// The MAC of a digest that a ledger entry carries.
    pub(super) fn entry_mac(&self, digest: &[u8]) -> [u8; MAC] {
        mac(&self.0.digest, &[ENTRY_NAME, digest])
    }

    /// Encrypts a state with AES-256-GCM. The nonce is a MAC of the state, so it needs no
    /// randomness, and two states never share a nonce by mistake.
    pub(super) fn encrypt(&self, state: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&mac(&self.0.digest, &[STATE_NAME, state])[..NONCE_LEN]);
        let mut sealed = state.to_vec();
        self.0
            .state
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(STATE_NAME),
                &mut sealed,
            )
            .expect("AES-GCM seals anything of reasonable size");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts a state of that name; `None` if it was changed, or encrypted under another root
    /// key.
    pub(super) fn decrypt(&self, name: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let opened = self.0.state.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(name),
            &mut bytes,
        );
        let length = opened.ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealKey")
    }
}

fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; MAC] {
    let tag = if let [content] = parts {
        hmac::sign(key, content)
    } else {
        let mut context = hmac::Context::with_key(key);
        for part in parts {
            context.update(part);
        }
        context.sign()
    };
    tag.as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
}

/// The seal keys of the versions in use, the newest first. Never empty. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct SealKeys(Arc<[SealKey]>);

impl SealKeys {
    /// Sorts the keys. There must be at least one.
    pub(crate) fn new(mut keys: Vec<SealKey>) -> Self {
        keys.sort_by_key(|key| std::cmp::Reverse(key.version()));
        Self(keys.into())
    }

    pub fn find(&self, version: u32) -> Option<&SealKey> {
        self.0.iter().find(|key| key.version() == version)
    }

    /// Returns these keys with a newer one added.
    #[must_use]
    pub fn with_newest(&self, key: &SealKey) -> Self {
        let older = self.0.iter().filter(|older| older.version() != key.version());
        Self([key].into_iter().chain(older).cloned().collect())
    }
}
