//! [`KeyRing`]: the signing keys in memory, fed by the store's changes.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use gatekey_credentials::{
    AccessTokenClaims,
    jwt::{self, Algorithm, InvalidToken, Jwk, SigningKey, VerifyingKey},
};
use quick_cache::sync::Cache;

use crate::{
    Caller, Env, RootKey, Store, Timestamp,
    id::SecretId,
    ledger::{Action, NewEntry},
    store::{Change, ChangeObserver, StoreError},
};

use super::{SealedSigningKey, SigningKeyRetired, sealed::sealing_name};

/// The longest that a token may live, by any configuration: so long a key stays published that signs no more.
pub const MAX_TOKEN_LIFETIME: Duration = Duration::from_hours(24);

/// Why there is no usable signing key.
#[derive(Debug, thiserror::Error)]
pub enum KeyRingError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The private key is sealed under another root key.
    #[error(transparent)]
    Sealed(#[from] crate::root_key::CannotOpen),
    /// The private key cannot be made or read.
    #[error(transparent)]
    Key(#[from] gatekey_credentials::jwt::UnusableKey),
}

/// How many tokens are remembered as rightly signed: most tokens come again, and to verify a signature is most of
/// what it takes to check one. About 700 bytes each, so 6 MiB; only tokens that we signed get in.
const REMEMBERED: usize = 8192;

struct Ring {
    signing: Option<Arc<SigningKey>>,
    /// When the key that signs was made.
    signing_since: Option<Timestamp>,
    published: Vec<Published>,
    /// What tokens say whose signature was right, by their SHA-256. Of this ring alone: when keys change it is empty.
    verified: Cache<[u8; 32], Arc<AccessTokenClaims>>,
}

impl Default for Ring {
    fn default() -> Self {
        Self { signing: None, signing_since: None, published: Vec::new(), verified: Cache::new(REMEMBERED) }
    }
}

struct Published {
    key: VerifyingKey,
    jwk: Jwk,
    until: Option<Timestamp>,
}

/// The key that signs, and those whose tokens may still be about.
pub struct KeyRing {
    root_key: Arc<RootKey>,
    ring: ArcSwap<Ring>,
}

impl KeyRing {
    /// An empty ring, to be fed.
    pub fn new(root_key: Arc<RootKey>) -> Self {
        Self { root_key, ring: ArcSwap::default() }
    }

    /// The key that signs; `None` before the first is made.
    pub fn signing_key(&self) -> Option<Arc<SigningKey>> {
        self.ring.load().signing.clone()
    }

    /// What verifiers should know now (RFC 7517 section 5).
    pub fn jwks(&self, now: Timestamp) -> Vec<Jwk> {
        let ring = self.ring.load();
        ring.published.iter().filter(|key| key.is_published_at(now)).map(|key| key.jwk.clone()).collect()
    }

    /// Verifies a token and reads its claims; one that comes again is remembered. Dates and everything else that
    /// can change are the caller's to check.
    ///
    /// # Errors
    /// See [`jwt::verify`].
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<AccessTokenClaims>, InvalidToken> {
        let ring = self.ring.load();
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(claims) = ring.verified.get(&digest) {
            return Ok(claims);
        }
        let claims = jwt::verify(token, |kid| {
            let mut keys = ring.published.iter().filter(|key| key.is_published_at(now));
            keys.find(|published| published.key.kid() == kid).map(|published| &published.key)
        })?;
        let claims = Arc::new(claims);
        ring.verified.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }

    /// Makes a key that signs from now on; the others stay published as long as their tokens may live.
    ///
    /// # Errors
    /// When the key cannot be made or stored; then everything is as before.
    pub async fn rotate(
        &self,
        store: &dyn Store,
        env: &Env,
        algorithm: Algorithm,
        caller: &Caller,
    ) -> Result<String, KeyRingError> {
        let now = env.now();
        let kid = SecretId::generate(env).to_string();
        let private = SigningKey::generate(algorithm)?;
        let key = SealedSigningKey {
            sealed: self.root_key.seal(env, &sealing_name(&kid), &private),
            kid: kid.clone(),
            algorithm,
            created_at: now,
            published_until: None,
        };
        let entry = NewEntry::new(now, caller, Action::SigningKeyRotate { algorithm }, &kid);
        // The lifetime configured now says nothing of tokens signed before it was changed; and a minute more for
        // tokens signed while the change was on its way.
        let until = now.after(MAX_TOKEN_LIFETIME + Duration::from_mins(1));
        store.rotate_signing_key(key, until, entry).await?;
        Ok(kid)
    }

    /// Publishes a key that signs no more from now on no more: the tokens that it signed die.
    ///
    /// # Errors
    /// When the change cannot be stored.
    pub async fn retire(
        &self,
        store: &dyn Store,
        env: &Env,
        kid: &str,
        caller: &Caller,
    ) -> Result<SigningKeyRetired, StoreError> {
        let entry = NewEntry::new(env.now(), caller, Action::SigningKeyRetire, kid);
        store.retire_signing_key(kid, entry).await
    }

    /// Checks that the stored keys open under this root key, and makes one unless one of that algorithm signs
    /// already; without an algorithm any will do, and ES256 is made.
    ///
    /// # Errors
    /// When stored keys do not open, or a key cannot be made or stored.
    pub async fn ensure(
        &self,
        store: &dyn Store,
        env: &Env,
        algorithm: Option<Algorithm>,
        caller: &Caller,
    ) -> Result<(), KeyRingError> {
        self.take(&store.signing_keys().await?)?;
        let fits = |key: Arc<SigningKey>| algorithm.is_none_or(|algorithm| key.algorithm() == algorithm);
        if !self.signing_key().is_some_and(fits) {
            let algorithm = algorithm.unwrap_or(Algorithm::ES256);
            self.rotate(store, env, algorithm, caller).await?;
        }
        Ok(())
    }

    /// Rotates when the key that signs is older than that; gives the new key's id when it did.
    ///
    /// # Errors
    /// As [`Self::rotate`].
    pub async fn rotate_if_older(
        &self,
        max_age: Duration,
        store: &dyn Store,
        env: &Env,
        caller: &Caller,
    ) -> Result<Option<String>, KeyRingError> {
        let ring = self.ring.load();
        let (Some(key), Some(since)) = (&ring.signing, ring.signing_since) else { return Ok(None) };
        if env.now() < since.after(max_age) {
            return Ok(None);
        }
        let algorithm = key.algorithm();
        drop(ring);
        self.rotate(store, env, algorithm, caller).await.map(Some)
    }

    fn take(&self, stored: &[SealedSigningKey]) -> Result<(), KeyRingError> {
        let mut ring = Ring::default();
        for sealed in stored {
            let key = open(&self.root_key, sealed)?;
            ring.published.push(Published {
                key: key.verifying_key()?,
                jwk: key.jwk(),
                until: sealed.published_until,
            });
            if sealed.published_until.is_none() {
                ring.signing = Some(Arc::new(key));
                ring.signing_since = Some(sealed.created_at);
            }
        }
        self.ring.store(Arc::new(ring));
        Ok(())
    }
}

impl Published {
    fn is_published_at(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

impl ChangeObserver for KeyRing {
    fn observe(&self, changes: &[Change]) {
        for change in changes {
            if let Change::SigningKeys(stored) = change
                && let Err(error) = self.take(stored)
            {
                tracing::error!(%error, "signing keys could not be read; the earlier ones stay in use");
            }
        }
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyRing")
    }
}

/// Opens a stored signing key.
///
/// # Errors
/// When it was sealed under another root key, or is no key.
pub fn open(root_key: &RootKey, sealed: &SealedSigningKey) -> Result<SigningKey, KeyRingError> {
    let private = root_key.open(&sealed.sealing_name(), &sealed.sealed)?;
    Ok(SigningKey::from_pkcs8(sealed.algorithm, &sealed.kid, &private)?)
}
