//! [`SigningKeyStore`]: the signing keys, sealed.

use async_trait::async_trait;

use super::StoreError;
use crate::{
    Timestamp,
    ledger::NewEntry,
    signing_key::{SealedSigningKey, SigningKeyAdded, SigningKeyRetired},
};

/// Stores the signing keys, sealed.
#[async_trait]
pub trait SigningKeyStore: Send + Sync {
    /// All signing keys, in the order of creation.
    async fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError>;

    /// Adds a key at `entry.at`, by [`rotate`](crate::signing_key::rotate), if the key that was
    /// created last is still `after`. Otherwise another node was faster.
    async fn rotate_signing_key(
        &self,
        key: SealedSigningKey,
        after: Option<&str>,
        others_published_until: Timestamp,
        entry: NewEntry,
    ) -> Result<SigningKeyAdded, StoreError>;

    /// Removes a key from the JWKS at `entry.at`, by [`retire`](crate::signing_key::retire).
    async fn retire_signing_key(
        &self,
        kid: &str,
        entry: NewEntry,
    ) -> Result<SigningKeyRetired, StoreError>;
}
