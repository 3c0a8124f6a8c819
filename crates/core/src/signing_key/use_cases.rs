//! [`SigningKeys`]: create, rotate, list and retire signing keys.

use std::{sync::Arc, time::Duration};

use gatekey_credentials::jwt::{Algorithm, SigningKey, UnusableKey};
use serde::{Deserialize, Serialize};

use super::{
    KeyRing, SealedSigningKey, SigningKeyRetired, UnusableSigningKey, sealed::sealing_name,
};
use crate::{
    Caller, Env, RootKey, SecretId, Store, StoreError, Timestamp,
    ledger::{Action, NewEntry},
};

/// The longest lifetime that can be configured for tokens.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// How long a replaced key stays in the JWKS. It is the longest lifetime that can be configured,
/// because the lifetime may have been longer when a token was signed. The extra minute covers
/// tokens that are signed during the rotation.
const PUBLISHED_AFTER_ROTATION: Duration =
    MAX_TOKEN_LIFETIME.saturating_add(Duration::from_mins(1));

/// Why there is no usable signing key.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unusable(#[from] UnusableSigningKey),
}

impl From<UnusableKey> for SigningKeyError {
    fn from(error: UnusableKey) -> Self {
        Self::Unusable(error.into())
    }
}

/// A signing key, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyFacts {
    /// Its id, the `kid` in a token's header.
    pub kid: String,
    pub algorithm: Algorithm,
    pub created_at: Timestamp,
    /// When the key leaves the JWKS. `None` for the key that signs.
    pub published_until: Option<Timestamp>,
}

impl From<SealedSigningKey> for SigningKeyFacts {
    fn from(key: SealedSigningKey) -> Self {
        let SealedSigningKey { kid, algorithm, created_at, published_until, sealed: _ } = key;
        Self { kid, algorithm, created_at, published_until }
    }
}

/// The use cases of signing keys.
pub struct SigningKeys {
    key_ring: Arc<KeyRing>,
    root_key: Arc<RootKey>,
    store: Arc<dyn Store>,
    env: Env,
}

impl SigningKeys {
    pub fn new(
        key_ring: Arc<KeyRing>,
        root_key: Arc<RootKey>,
        store: Arc<dyn Store>,
        env: Env,
    ) -> Self {
        Self { key_ring, root_key, store, env }
    }

    /// Loads the stored keys into the key ring, and creates a key unless one already signs with
    /// that algorithm. Without `algorithm` any will do, and a new key is for ES256.
    ///
    /// # Errors
    /// When a stored key does not open, or a key cannot be created or stored.
    pub async fn ensure(
        &self,
        caller: &Caller,
        algorithm: Option<Algorithm>,
    ) -> Result<(), SigningKeyError> {
        self.key_ring.load(&self.store.signing_keys().await?)?;
        let fits =
            |key: Arc<SigningKey>| algorithm.is_none_or(|algorithm| key.algorithm() == algorithm);
        if !self.key_ring.signing_key().is_some_and(fits) {
            self.create(caller, algorithm.unwrap_or(Algorithm::ES256)).await?;
        }
        Ok(())
    }

    /// Creates a key that signs from now on, with the algorithm of the key before it, and returns
    /// its `kid`. The other keys stay in the JWKS as long as their tokens may be valid.
    ///
    /// # Errors
    /// When the key cannot be created or stored; then nothing changes.
    pub async fn rotate(&self, caller: &Caller) -> Result<String, SigningKeyError> {
        let algorithm = self.key_ring.signing_key().map_or(Algorithm::ES256, |key| key.algorithm());
        self.create(caller, algorithm).await
    }

    /// Rotates if the key that signs is at least as old as `max_age`, and returns the new key's
    /// `kid` if it did.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub async fn rotate_if_older(
        &self,
        caller: &Caller,
        max_age: Duration,
    ) -> Result<Option<String>, SigningKeyError> {
        let due = self
            .key_ring
            .signing_since()
            .is_some_and(|since| since.after(max_age) <= self.env.now());
        if due { self.rotate(caller).await.map(Some) } else { Ok(None) }
    }

    /// Every stored key, in the order they were created.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list(&self) -> Result<Vec<SigningKeyFacts>, StoreError> {
        Ok(self.store.signing_keys().await?.into_iter().map(SigningKeyFacts::from).collect())
    }

    /// Removes from the JWKS a key that no longer signs: tokens that it signed stop verifying.
    ///
    /// # Errors
    /// When the change cannot be stored.
    pub async fn retire(
        &self,
        caller: &Caller,
        kid: &str,
    ) -> Result<SigningKeyRetired, StoreError> {
        let entry = NewEntry::new(self.env.now(), caller, Action::SigningKeyRetire, kid);
        self.store.retire_signing_key(kid, entry).await
    }

    async fn create(
        &self,
        caller: &Caller,
        algorithm: Algorithm,
    ) -> Result<String, SigningKeyError> {
        let now = self.env.now();
        let kid = SecretId::generate(&self.env).to_string();
        let private = SigningKey::generate(algorithm)?;
        let key = SealedSigningKey {
            sealed: self.root_key.seal(&self.env, &sealing_name(&kid), &private),
            kid: kid.clone(),
            algorithm,
            created_at: now,
            published_until: None,
        };
        let entry = NewEntry::new(now, caller, Action::SigningKeyRotate { algorithm }, &kid);
        self.store.rotate_signing_key(key, now.after(PUBLISHED_AFTER_ROTATION), entry).await?;
        Ok(kid)
    }
}
