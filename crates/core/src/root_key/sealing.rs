//! [`SealingKey`]: encrypts private keys for the store.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::Env;

/// The sealed bytes were changed, or sealed under another root key or name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this root key cannot decrypt the data in the store")]
pub struct CannotOpen;

/// Seals bytes with AES-256-GCM under a random nonce, so that they open only under the same key
/// and name.
pub(super) struct SealingKey(LessSafeKey);

impl SealingKey {
    pub(super) fn new(bytes: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(
            UnboundKey::new(&AES_256_GCM, bytes).expect("AES-256 takes 32 bytes"),
        ))
    }

    pub(super) fn seal(&self, env: &Env, name: &str, plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = env.random();
        let mut sealed = plain.to_vec();
        self.0
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name.as_bytes()),
                &mut sealed,
            )
            .expect("AES-GCM seals anything of reasonable size");
        [nonce.as_slice(), &sealed].concat()
    }

    pub(super) fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CannotOpen> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CannotOpen)?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let length = self
            .0
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(name.as_bytes()),
                &mut bytes,
            )
            .map_err(|_| CannotOpen)?
            .len();
        bytes.truncate(length);
        Ok(bytes)
    }
}
