//! [`KeyRing`]: the signing keys in memory, fed by the store's changes.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use gatekey_credentials::{
    AccessTokenClaims,
    jwt::{self, Algorithm, InvalidToken, Jwk, SigningKey, UnusableKey, VerifyingKey},
};
use quick_cache::sync::Cache;

use super::{SealedSigningKey, SigningKeyDates, signing_at};
use crate::{
    RootKey, Timestamp,
    memory::Lookups,
    root_key::CannotOpen,
    store::{Change, ChangeObserver},
};

/// Why a stored signing key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum UnusableSigningKey {
    /// The private key is sealed under another root key.
    #[error(transparent)]
    Sealed(#[from] CannotOpen),
    #[error(transparent)]
    Key(#[from] UnusableKey),
}

/// Tokens whose verified claims are cached. Most tokens are presented more than once, and the
/// signature is most of the cost of a verification. An entry takes about 700 bytes, so the cache
/// takes at most 6 MiB; only tokens with a valid signature enter it.
const CACHED_TOKENS: usize = 8192;

struct Ring {
    /// In the order of creation.
    keys: Vec<Held>,
    /// The claims of tokens with a valid signature, by the token's SHA-256. Belongs to this ring:
    /// when keys change, the new ring's cache is empty.
    verified: Cache<[u8; 32], Arc<AccessTokenClaims>>,
}

impl Default for Ring {
    fn default() -> Self {
        Self { keys: Vec::new(), verified: Cache::new(CACHED_TOKENS) }
    }
}

/// A key in memory.
struct Held {
    signing: Arc<SigningKey>,
    verifying: VerifyingKey,
    jwk: Jwk,
    dates: SigningKeyDates,
    high_s_until: Option<Timestamp>,
}

/// The key that signs, and the keys that verify.
pub struct KeyRing {
    root_key: Arc<RootKey>,
    ring: ArcSwap<Ring>,
    lookups: Lookups,
}

impl KeyRing {
    /// An empty ring; the store's changes fill it.
    pub fn new(root_key: Arc<RootKey>) -> Self {
        Self { root_key, ring: ArcSwap::default(), lookups: Lookups::default() }
    }

    /// How often a token was verified before.
    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// The key that signs; `None` before the first one was created.
    pub fn signing_key(&self, now: Timestamp) -> Option<Arc<SigningKey>> {
        let ring = self.ring.load();
        let place = signing_at(&ring.keys.iter().map(|key| key.dates), now)?;
        Some(Arc::clone(&ring.keys[place].signing))
    }

    /// The published keys (RFC 7517 section 5).
    pub fn jwks(&self, now: Timestamp) -> Vec<Jwk> {
        let ring = self.ring.load();
        let published = ring.keys.iter().filter(|key| key.dates.is_published_at(now));
        published.map(|key| key.jwk.clone()).collect()
    }

    /// The algorithms of the published keys, each once.
    pub fn algorithms(&self, now: Timestamp) -> Vec<Algorithm> {
        let mut algorithms = Vec::new();
        for key in self.ring.load().keys.iter().filter(|key| key.dates.is_published_at(now)) {
            let algorithm = key.signing.algorithm();
            if !algorithms.contains(&algorithm) {
                algorithms.push(algorithm);
            }
        }
        algorithms
    }

    /// Verifies a token's signature, or finds it in the cache, and returns its claims.
    ///
    /// The caller must check the token's dates and everything else that can change.
    ///
    /// # Errors
    /// See [`jwt::verify`].
    pub fn verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<AccessTokenClaims>, InvalidToken> {
        let ring = self.ring.load();
        let digest = digest::digest(&digest::SHA256, token.as_bytes());
        let digest = digest.as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(claims) = self.lookups.count(ring.verified.get(&digest)) {
            return Ok(claims);
        }
        let mut used = None;
        let claims = jwt::verify(token, |kid| {
            let mut keys = ring.keys.iter().filter(|key| key.dates.is_published_at(now));
            used = keys.find(|key| key.verifying.kid() == kid);
            used.map(|key| &key.verifying)
        })?;
        let claims = Arc::new(claims);
        // Accept one spelling of each token, so that nobody can get around a list of tokens.
        if used.is_some_and(|key| key.signing.algorithm() == Algorithm::ES256)
            && !jwt::has_low_s(token)
        {
            let may_be_high =
                used.and_then(|key| key.high_s_until).is_some_and(|until| now < until);
            // Not cached: it is refused later.
            return if may_be_high { Ok(claims) } else { Err(InvalidToken::BadSignature) };
        }
        ring.verified.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }

    /// Replaces all keys by the stored ones.
    ///
    /// # Errors
    /// When one cannot be used; then nothing changes.
    pub(super) fn load(&self, stored: &[SealedSigningKey]) -> Result<(), UnusableSigningKey> {
        let mut ring = Ring::default();
        for sealed in stored {
            let key = open(&self.root_key, sealed)?;
            ring.keys.push(Held {
                verifying: key.verifying_key()?,
                jwk: key.jwk(),
                signing: Arc::new(key),
                dates: sealed.dates(),
                high_s_until: sealed.high_s_until,
            });
        }
        self.ring.store(Arc::new(ring));
        Ok(())
    }
}

impl ChangeObserver for KeyRing {
    fn observe(&self, changes: &[Change]) {
        for change in changes {
            if let Change::SigningKeys(stored) = change
                && let Err(error) = self.load(stored)
            {
                tracing::error!(%error, "cannot read the changed signing keys; keeping the earlier ones");
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
/// When it was sealed under another root key, or is not a key.
pub fn open(
    root_key: &RootKey,
    sealed: &SealedSigningKey,
) -> Result<SigningKey, UnusableSigningKey> {
    let private = root_key.open(&sealed.sealing_name(), &sealed.sealed)?;
    Ok(SigningKey::from_pkcs8(sealed.algorithm, &sealed.kid, &private)?)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};

    use super::*;
    use crate::{Env, signing_key::sealed::sealing_name};

    /// The order of P-256's group, minus the `s` of a token's signature.
    fn twin(token: &str) -> String {
        const ORDER: &str = "_____wAAAAD__________7zm-q2nF56E87nKwvxjJVE";
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let [order, mut signature] = [ORDER, signature].map(|part| BASE64URL.decode(part).unwrap());
        let mut borrow = 0;
        for place in (0..32).rev() {
            let difference = i16::from(order[place]) - i16::from(signature[32 + place]) - borrow;
            borrow = i16::from(difference < 0);
            signature[32 + place] = u8::try_from(difference.rem_euclid(256)).unwrap();
        }
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    /// Keys from before an upgrade signed live tokens with it.
    #[test]
    fn a_high_s_is_accepted_until_its_date() {
        let (root_key, env) = (Arc::new(RootKey::new(&[1; 32])), Env::system());
        let at = |seconds: i64| Timestamp::from_seconds(1_767_225_600 + seconds);
        for (high_s_until, accepted) in [(None, false), (Some(at(10)), true)] {
            let private = SigningKey::generate(Algorithm::ES256).unwrap();
            let stored = SealedSigningKey {
                kid: "k".to_owned(),
                algorithm: Algorithm::ES256,
                sealed: root_key.seal(&env, &sealing_name("k"), &private),
                created_at: at(0),
                signs_from: at(0),
                published_until: None,
                high_s_until,
            };
            let ring = KeyRing::new(Arc::clone(&root_key));
            ring.load(&[stored]).unwrap();
            let claims = AccessTokenClaims {
                iss: "i",
                sub: "s",
                client_id: "c",
                aud: vec!["a"],
                exp: 1,
                iat: 0,
                nbf: 0,
                jti: "j",
                scope: "",
                scp: Vec::new(),
                org: "",
                epoch: 1,
                key: "k",
            };
            let token = ring.signing_key(at(0)).unwrap().sign(&claims).unwrap();
            let twin = twin(&token);
            for (seconds, accepted) in [(0, accepted), (9, accepted), (10, false), (11, false)] {
                assert!(ring.verify(&token, at(seconds)).is_ok());
                assert_eq!(ring.verify(&twin, at(seconds)).is_ok(), accepted, "{seconds}");
            }
        }
    }
}
