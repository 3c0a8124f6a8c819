//! Authenticate a key by its secret.

use std::{net::IpAddr, sync::Arc};

use super::{TokenError, Tokens, throttle::Throttled};
use crate::api_key::{KeyFacts, MAX_SECRETS, SecretFacts};

/// A key that authenticated with one of its secrets.
#[derive(Debug, Clone)]
pub struct AuthenticatedKey {
    pub facts: Arc<KeyFacts>,
    pub secret: SecretFacts,
}

impl Tokens {
    /// Checks a key's secret.
    ///
    /// A failure costs the same work whatever its reason, so that timing reveals nothing. A correct
    /// secret is accepted no matter how many wrong ones came from the same address.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`] for an unknown, disabled or expired key, and for a wrong,
    /// retired or expired secret. [`TokenError::TooManyFailures`] if that happens too often from
    /// one address.
    pub fn authenticate(
        &self,
        client_id: &str,
        secret: &str,
        from: Option<IpAddr>,
    ) -> Result<AuthenticatedKey, TokenError> {
        let now = self.env.now();
        let facts = self.directory.find(client_id).unwrap_or_else(|| self.nobody.clone());
        let (mut fitting, mut newest) = (None, None);
        // Hashes and compares as often for every key as for one with the most secrets, without
        // stopping early.
        self.root_key.each_hash(secret, |given| {
            for place in 0..facts.secrets.len().max(MAX_SECRETS) {
                let candidate = facts.secrets.get(place).unwrap_or(&self.nobody.secrets[0]);
                let fits = candidate.hash.matches(&given) & candidate.is_valid_at(now);
                fitting = if fits { Some(place) } else { fitting };
            }
            newest.get_or_insert(given);
        });
        let fitting =
            fitting.and_then(|place| facts.secrets.get(place)).filter(|_| facts.is_usable_at(now));
        match fitting.copied() {
            Some(secret) => {
                self.root_key.note_use(secret.id, secret.hash, newest);
                Ok(AuthenticatedKey { facts, secret })
            }
            None => Err(match from.and_then(|from| self.throttle.note(from, now)) {
                Some(Throttled { retry_after, first }) => {
                    TokenError::TooManyFailures { retry_after, first }
                }
                None => TokenError::InvalidClient,
            }),
        }
    }
}
