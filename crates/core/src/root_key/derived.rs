//! [`Version`]: the keys derived from one version of the root key.

use aws_lc_rs::{constant_time, hkdf, hmac};
use zeroize::Zeroizing;

use super::{CannotOpen, LENGTH, SecretHash, StoredRootKey, sealing::SealingKey};
use crate::{Env, Timestamp, ledger::LedgerKey, seal::SealKey};

/// The keys derived from one version of the root key.
pub(super) struct Version {
    pub(super) number: u32,
    /// Identifies the version to the store, without revealing the key.
    pub(super) check: [u8; 16],
    pub(super) ledger: LedgerKey,
    /// Seals rows.
    pub(super) seal: SealKey,
    /// The keys of backups are derived from it.
    pub(super) backup: Zeroizing<[u8; 32]>,
    pepper: hmac::Key,
    page_token: hmac::Key,
    sealing: SealingKey,
}

impl Version {
    pub(super) fn derive(number: u32, bytes: &[u8; LENGTH]) -> Self {
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
        let mut check = [0; 16];
        check.copy_from_slice(&derive(b"check 1")[..16]);
        Self {
            number,
            check,
            ledger: LedgerKey::new(number, derive(b"ledger 1")),
            seal: SealKey::derive(number, derive),
            backup: derive(b"backup 1"),
            pepper: mac(b"pepper 1"),
            page_token: mac(b"page token 1"),
            sealing: SealingKey::new(&derive(b"sealing 1")),
        }
    }

    /// The version's record in the store, as long as it is the newest.
    pub(super) fn stored(&self, since: Option<Timestamp>) -> StoredRootKey {
        StoredRootKey {
            version: self.number,
            check: self.check,
            since,
            retired_at: None,
            ledger_key: None,
        }
    }

    pub(super) fn hash_secret(&self, secret: &str) -> SecretHash {
        SecretHash { pepper_version: self.number, mac: mac(&self.pepper, secret.as_bytes()) }
    }

    pub(super) fn page_token_mac(&self, content: &[u8]) -> [u8; 32] {
        mac(&self.page_token, content)
    }

    /// Whether `truncated` is the beginning of the MAC of `content`.
    pub(super) fn is_page_token_mac(&self, content: &[u8], truncated: &[u8]) -> bool {
        let expected = self.page_token_mac(content);
        expected.get(..truncated.len()).is_some_and(|expected| {
            constant_time::verify_slices_are_equal(truncated, expected).is_ok()
        })
    }

    pub(super) fn seal(&self, env: &Env, name: &str, plain: &[u8]) -> Vec<u8> {
        self.sealing.seal(env, name, plain)
    }

    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        self.sealing.open(name, sealed)
    }
}

fn mac(key: &hmac::Key, content: &[u8]) -> [u8; 32] {
    hmac::sign(key, content).as_ref().try_into().expect("HMAC-SHA-256 gives 32 bytes")
}
