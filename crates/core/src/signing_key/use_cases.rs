//! [`SigningKeys`]: create, rotate, list and retire signing keys.

use std::{sync::Arc, time::Duration};

use gatekey_credentials::jwt::{Algorithm, SigningKey, UnusableKey};
use serde::{Deserialize, Serialize};

use super::{
    KeyRing, SealedSigningKey, SigningKeyAdded, SigningKeyDates, SigningKeyRetired,
    UnusableSigningKey, sealed::sealing_name, signing_at,
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

/// How long caches may keep the JWKS.
pub const JWKS_MAX_AGE: Duration = Duration::from_mins(5);
/// The shortest time that a key is published before it signs: every cache has expired by then, with
/// a margin for slow fetches and clocks that differ.
pub const MIN_PUBLISH_AHEAD: Duration = JWKS_MAX_AGE.saturating_add(Duration::from_mins(5));

/// When a new key begins to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// Once verifiers had the time to fetch it.
    Ahead,
    /// At once: after a leak, or when nobody has fetched the keys yet.
    Now,
}

/// A new signing key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKeyRotated {
    pub kid: String,
    pub signs_from: Timestamp,
}

/// Why there is no usable signing key.
#[derive(Debug, thiserror::Error)]
pub enum SigningKeyError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Unusable(#[from] UnusableSigningKey),
    #[error(
        "signing key {0} is published already and signs next; use `--now` to sign with a new key at once"
    )]
    NextExists(String),
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
    /// When the key begins to sign, or began to.
    pub signs_from: Timestamp,
    /// When the key leaves the JWKS. `None` for the newest key.
    pub published_until: Option<Timestamp>,
}

impl SigningKeyFacts {
    pub fn dates(&self) -> SigningKeyDates {
        let Self { created_at, signs_from, published_until, .. } = *self;
        SigningKeyDates { created_at, signs_from, published_until }
    }
}

impl From<SealedSigningKey> for SigningKeyFacts {
    fn from(key: SealedSigningKey) -> Self {
        let SealedSigningKey { kid, algorithm, created_at, signs_from, published_until, .. } = key;
        Self { kid, algorithm, created_at, signs_from, published_until }
    }
}

/// The use cases of signing keys.
pub struct SigningKeys {
    key_ring: Arc<KeyRing>,
    root_key: Arc<RootKey>,
    store: Arc<dyn Store>,
    /// How long a key is published before it signs.
    publish_ahead: Duration,
    env: Env,
}

impl SigningKeys {
    pub fn new(
        key_ring: Arc<KeyRing>,
        root_key: Arc<RootKey>,
        store: Arc<dyn Store>,
        publish_ahead: Duration,
        env: Env,
    ) -> Self {
        Self { key_ring, root_key, store, publish_ahead, env }
    }

    /// Loads the stored keys into the key ring. Creates the first key, and the next one if the
    /// newest key has another algorithm; it is returned. Without `algorithm` any will do, and the
    /// first key is for ES256.
    ///
    /// The very first key signs at once; `start` is for the others.
    ///
    /// # Errors
    /// When a stored key does not open, or a key cannot be created or stored.
    pub async fn ensure(
        &self,
        caller: &Caller,
        algorithm: Option<Algorithm>,
        start: Start,
    ) -> Result<Option<SigningKeyRotated>, SigningKeyError> {
        loop {
            let stored = self.store.signing_keys().await?;
            self.key_ring.load(&stored)?;
            let (newest, signing) = self.newest_and_signing(&stored);
            let (algorithm, start) = match (newest, algorithm) {
                (None, algorithm) => (algorithm.unwrap_or(Algorithm::ES256), Start::Now),
                (Some(newest), Some(algorithm)) if newest.algorithm != algorithm => {
                    if signing.is_some_and(|signing| signing.algorithm == algorithm) {
                        // The algorithm was changed, and changed back before the next key signed.
                        self.retire(caller, &newest.kid).await?;
                        return Ok(None);
                    }
                    (algorithm, start)
                }
                (Some(_), _) => return Ok(None),
            };
            let is_next = newest.is_some();
            if let Some(created) = self.create(caller, &stored, algorithm, start).await? {
                return Ok(is_next.then_some(created));
            }
        }
    }

    /// Creates the next key, with the algorithm of the newest one. The other keys stay in the JWKS
    /// as long as their tokens may be valid.
    ///
    /// # Errors
    /// [`SigningKeyError::NextExists`] unless the key is to sign at once; when the key cannot be
    /// created or stored. Then nothing changes.
    pub async fn rotate(
        &self,
        caller: &Caller,
        start: Start,
    ) -> Result<SigningKeyRotated, SigningKeyError> {
        loop {
            let stored = self.store.signing_keys().await?;
            let (newest, signing) = self.newest_and_signing(&stored);
            if let (Start::Ahead, Some(newest)) = (start, newest)
                && signing.is_some_and(|signing| signing.kid != newest.kid)
            {
                return Err(SigningKeyError::NextExists(newest.kid.clone()));
            }
            let algorithm = newest.map_or(Algorithm::ES256, |key| key.algorithm);
            if let Some(created) = self.create(caller, &stored, algorithm, start).await? {
                return Ok(created);
            }
        }
    }

    /// Publishes the next key in time for it to replace the key that signs once that one has signed
    /// for `max_age`, and returns the next key if it did. Of several nodes that do so, one
    /// succeeds.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub async fn rotate_if_older(
        &self,
        caller: &Caller,
        max_age: Duration,
    ) -> Result<Option<SigningKeyRotated>, SigningKeyError> {
        let stored = self.store.signing_keys().await?;
        let (Some(newest), Some(signing)) = self.newest_and_signing(&stored) else {
            return Ok(None);
        };
        let publish_at = signing.signs_from.after(max_age.saturating_sub(self.publish_ahead));
        if newest.kid != signing.kid || self.env.now() < publish_at {
            return Ok(None);
        }
        self.create(caller, &stored, newest.algorithm, Start::Ahead).await
    }

    /// The newest published key, which signs now or next, and the key that signs.
    fn newest_and_signing<'k>(
        &self,
        keys: &'k [SealedSigningKey],
    ) -> (Option<&'k SealedSigningKey>, Option<&'k SealedSigningKey>) {
        let now = self.env.now();
        let signing = signing_at(&keys.iter().map(SealedSigningKey::dates), now);
        let newest = keys.iter().rev().find(|key| key.dates().is_published_at(now));
        (newest, signing.map(|place| &keys[place]))
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

    /// Creates a key after the stored ones. `None` if another node created one meanwhile.
    async fn create(
        &self,
        caller: &Caller,
        stored: &[SealedSigningKey],
        algorithm: Algorithm,
        start: Start,
    ) -> Result<Option<SigningKeyRotated>, SigningKeyError> {
        let now = self.env.now();
        let signs_from = match start {
            Start::Ahead => now.after(self.publish_ahead),
            Start::Now => now,
        };
        let kid = SecretId::generate(&self.env).to_string();
        let private = SigningKey::generate(algorithm)?;
        let key = SealedSigningKey {
            sealed: self.root_key.seal(&self.env, &sealing_name(&kid), &private),
            kid: kid.clone(),
            algorithm,
            created_at: now,
            signs_from,
            published_until: None,
            high_s_until: None,
        };
        let action = Action::SigningKeyRotate { algorithm, is_next: start == Start::Ahead };
        let entry = NewEntry::new(now, caller, action, &kid);
        let others_published_until = signs_from.after(PUBLISHED_AFTER_ROTATION);
        let after = stored.last().map(|last| &*last.kid);
        let added = self.store.rotate_signing_key(key, after, others_published_until, entry);
        Ok(match added.await? {
            SigningKeyAdded::Done => Some(SigningKeyRotated { kid, signs_from }),
            SigningKeyAdded::Overtaken => None,
        })
    }
}
