//! [`SealedSigningKey`]: a signing key as it is stored.

use gatekey_credentials::jwt::Algorithm;

use crate::Timestamp;

/// A signing key as it is stored: the private key is sealed under the root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSigningKey {
    /// Its id, the `kid` in a token's header.
    pub kid: String,
    pub algorithm: Algorithm,
    /// The private key, sealed under [`Self::sealing_name`].
    pub sealed: Vec<u8>,
    pub created_at: Timestamp,
    /// When the key leaves the JWKS. `None` for the key that signs.
    pub published_until: Option<Timestamp>,
}

impl SealedSigningKey {
    /// The name that the private key is sealed under.
    pub fn sealing_name(&self) -> String {
        sealing_name(&self.kid)
    }
}

/// The name that the private key of a signing key is sealed under.
pub(super) fn sealing_name(kid: &str) -> String {
    format!("signing key {kid}")
}

/// The outcome of [`Store::retire_signing_key`](crate::Store::retire_signing_key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKeyRetired {
    /// The key left the JWKS.
    Done,
    /// The key signs; nothing was changed.
    Signs,
    Absent,
}
