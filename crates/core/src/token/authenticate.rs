//! Authenticate a key by its secret.

use std::{net::IpAddr, sync::Arc};

use super::{TokenError, Tokens, throttle::Throttled};
use crate::{
    Actor, SecretHash, SecretId, Timestamp,
    api_key::{KeyFacts, MAX_ENDED, MAX_SECRETS, SecretFacts},
    feed::Unavailable,
};

/// A key that authenticated with one of its secrets.
#[derive(Debug, Clone)]
pub struct AuthenticatedKey {
    pub facts: Arc<KeyFacts>,
    pub secret: SecretFacts,
}

impl AuthenticatedKey {
    /// The key as the actor of a ledger entry.
    pub fn actor(&self) -> Actor {
        self.facts.actor(Some(self.secret.id))
    }

    /// The instant from which the key or its secret is refused even if nothing changes.
    pub fn valid_until(&self) -> Timestamp {
        let ends = [self.facts.expires_at, self.secret.expires_at];
        ends.into_iter().flatten().min().unwrap_or(Timestamp::MAX)
    }
}

/// A failed authentication. The caller learns only the error.
#[derive(Debug)]
pub struct FailedAuthentication {
    pub error: TokenError,
    /// For the log.
    pub cause: FailureCause,
    /// The key that the secret belongs to, if the secret is or was one of its own.
    pub actor: Option<Actor>,
}

impl From<FailedAuthentication> for TokenError {
    fn from(failed: FailedAuthentication) -> Self {
        failed.error
    }
}

/// Why an authentication failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FailureCause {
    #[error("no key has the client id")]
    UnknownKey,
    #[error("the secret is wrong")]
    WrongSecret,
    #[error("the key is deleted")]
    KeyDeleted,
    #[error("the key is disabled")]
    KeyDisabled,
    #[error("the key has expired")]
    KeyExpired,
    #[error("the secret has expired")]
    SecretExpired,
    #[error("the secret is retired")]
    SecretRetired,
    #[error("the secret is not valid yet")]
    SecretNotYetValid,
    /// The secret was not checked.
    #[error(transparent)]
    CannotDecide(#[from] Unavailable),
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
    /// one address. [`TokenError::CannotDecide`] while the state in memory is not fresh; then the
    /// secret is not compared.
    pub fn authenticate(
        &self,
        client_id: &str,
        secret: &str,
        from: Option<IpAddr>,
    ) -> Result<AuthenticatedKey, FailedAuthentication> {
        if let Err(unavailable) = self.freshness.check() {
            let (error, cause) = (unavailable.into(), unavailable.into());
            return Err(FailedAuthentication { error, cause, actor: None });
        }
        let now = self.env.now();
        let found = self.directory.find(client_id);
        let facts = found.as_ref().unwrap_or(&self.nobody);
        let mut fitting = None;
        // One for each version of the root key, the newest first.
        let mut hashes = Vec::with_capacity(1);
        // Hashes and compares as often for every key as for one with the most secrets, without
        // stopping early.
        self.root_key.each_hash(secret, |given| {
            for place in 0..facts.secrets.len().max(MAX_SECRETS) {
                let candidate = facts.secrets.get(place).unwrap_or(&self.nobody.secrets[0]);
                let fits = candidate.hash.matches(&given) & candidate.is_valid_at(now);
                fitting = if fits { Some(place) } else { fitting };
            }
            hashes.push(given);
        });
        let fitting =
            fitting.and_then(|place| facts.secrets.get(place)).filter(|_| facts.is_usable_at(now));
        if let Some(secret) = fitting.copied() {
            self.root_key.note_use(secret.id, secret.hash, hashes.first().copied());
            return Ok(AuthenticatedKey { facts: facts.clone(), secret });
        }
        let (cause, actor) = self.diagnose(client_id, found.as_deref(), &hashes, now);
        let error = match from.and_then(|from| self.throttle.note(from, now)) {
            Some(Throttled { retry_after, first }) => {
                TokenError::TooManyFailures { retry_after, first }
            }
            None => TokenError::InvalidClient,
        };
        Err(FailedAuthentication { error, cause, actor })
    }

    /// Finds out why a secret is refused, with the same work for every reason.
    fn diagnose(
        &self,
        client_id: &str,
        found: Option<&KeyFacts>,
        hashes: &[SecretHash],
        now: Timestamp,
    ) -> (FailureCause, Option<Actor>) {
        let deleted = self.directory.find_deleted(client_id);
        let present = found.unwrap_or(&self.nobody);
        let former = deleted.as_deref().unwrap_or(&self.nobody);
        let in_present = self.search(present, hashes, now);
        let in_former = self.search(former, hashes, now);
        let actor = |key: &KeyFacts, secret| Some(key.actor(Some(secret)));
        match (in_present, in_former) {
            (Some((secret, _)), _) if present.disabled => {
                (FailureCause::KeyDisabled, actor(present, secret))
            }
            (Some((secret, _)), _) if !present.is_usable_at(now) => {
                (FailureCause::KeyExpired, actor(present, secret))
            }
            (Some((secret, cause)), _) => (cause, actor(present, secret)),
            (None, Some((secret, _))) => (FailureCause::KeyDeleted, actor(former, secret)),
            (None, None) if found.is_some() => (FailureCause::WrongSecret, None),
            (None, None) => (FailureCause::UnknownKey, None),
        }
    }

    /// Finds the secret of a key, valid or not, that has one of the hashes, and what is wrong with
    /// it unless the key is at fault.
    fn search(
        &self,
        key: &KeyFacts,
        hashes: &[SecretHash],
        now: Timestamp,
    ) -> Option<(SecretId, FailureCause)> {
        let nobodys = &self.nobody.secrets[0];
        let (mut valid, mut ended) = (None, None);
        for given in hashes {
            for place in 0..key.secrets.len().max(MAX_SECRETS) {
                let candidate = key.secrets.get(place).unwrap_or(nobodys);
                valid = if candidate.hash.matches(given) { Some(place) } else { valid };
            }
            for place in 0..MAX_ENDED {
                let hash = key.ended.get(place).map_or(&nobodys.hash, |secret| &secret.hash);
                ended = if hash.matches(given) { Some(place) } else { ended };
            }
        }
        let valid = valid.and_then(|place| key.secrets.get(place)).map(|secret| {
            let is_early = now < secret.not_before;
            let cause = if is_early {
                FailureCause::SecretNotYetValid
            } else {
                FailureCause::SecretExpired
            };
            (secret.id, cause)
        });
        let ended = ended.and_then(|place| key.ended.get(place)).map(|secret| {
            let cause = if secret.retired {
                FailureCause::SecretRetired
            } else {
                FailureCause::SecretExpired
            };
            (secret.id, cause)
        });
        valid.or(ended)
    }
}
