//! [`RootKey`]: the one key outside the database, and what is derived from it.
//!
//! HKDF-SHA-256 (RFC 5869) gives one key per purpose, so that no two uses ever share one. Beside the database
//! the root key protects a stolen database file, not a stolen directory.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time, hkdf, hmac,
};
use zeroize::Zeroizing;

use crate::Env;

/// Bytes of a root key.
pub const LENGTH: usize = 32;

/// The version of the pepper that new secrets are hashed with.
const PEPPER_VERSION: u32 = 1;

/// The root key with what is derived from it. `Debug` prints the type's name.
pub struct RootKey {
    pepper: hmac::Key,
    ledger: hmac::Key,
    page_token: hmac::Key,
    sealing: LessSafeKey,
    backup: Zeroizing<[u8; 32]>,
}

/// What a secret is compared with: HMAC-SHA-256 of the secret under a versioned pepper.
///
/// No slow hash: a secret carries 184 random bits, and NIST SP 800-63B section 5.1.2.2 asks for a slow one
/// below 112 bits alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretHash {
    /// Which pepper.
    pub pepper_version: u32,
    /// The MAC.
    pub mac: [u8; 32],
}

/// Sealed bytes were not made under this root key and name, or were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is sealed in the store does not open with this root key")]
pub struct CannotOpen;

impl RootKey {
    /// Derives every key from the 32 bytes of the root key.
    pub fn new(bytes: &[u8; LENGTH]) -> Self {
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
        Self {
            pepper: mac(b"pepper 1"),
            ledger: mac(b"ledger 1"),
            page_token: mac(b"page token 1"),
            sealing: LessSafeKey::new(sealing),
            backup: derive(b"backup 1"),
        }
    }

    /// What the keys of backups are derived from.
    pub(crate) fn backup_key(&self) -> &[u8; 32] {
        &self.backup
    }

    /// What to store of a secret.
    pub fn hash_secret(&self, secret: &str) -> SecretHash {
        SecretHash { pepper_version: PEPPER_VERSION, mac: mac(&self.pepper, &[secret.as_bytes()]) }
    }

    /// The key of the ledger's links.
    pub fn ledger_key(&self) -> LedgerKey {
        LedgerKey(self.ledger.clone())
    }

    /// A MAC over a page token's content, to notice a changed one.
    pub(crate) fn page_token_mac(&self, content: &[u8]) -> [u8; 32] {
        mac(&self.page_token, &[content])
    }

    /// Seals bytes (AES-256-GCM) so that they open under this root key and that name alone.
    pub fn seal(&self, env: &Env, name: &str, plain: &[u8]) -> Vec<u8> {
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

    /// Opens what [`Self::seal`] sealed under that name.
    ///
    /// # Errors
    /// When it was sealed under another root key or name, or was changed.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
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

/// Links the ledger's entries. `Debug` prints the type's name.
#[derive(Clone)]
pub struct LedgerKey(hmac::Key);

impl LedgerKey {
    /// The link of an entry: HMAC-SHA-256 over the link before it and the entry's canonical bytes.
    pub fn link(&self, previous: &[u8; 32], entry: &[u8]) -> [u8; 32] {
        mac(&self.0, &[previous, entry])
    }
}

impl fmt::Debug for LedgerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("LedgerKey")
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

    #[test]
    fn a_secret_hashes_differently_under_another_root_key() {
        let (one, two) = (RootKey::new(&[1; 32]), RootKey::new(&[2; 32]));
        assert!(one.hash_secret("gk_x").matches(&one.hash_secret("gk_x")));
        assert!(!one.hash_secret("gk_x").matches(&two.hash_secret("gk_x")));
        assert!(!one.hash_secret("gk_x").matches(&one.hash_secret("gk_y")));
    }
}
