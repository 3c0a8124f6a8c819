//! [`KeyFacts`]: the part of a key that tokens and authentication need.

use std::sync::Arc;

use gatekey_credentials::{ClientId, Role};

use super::{ApiKey, EndedSecret, GrantType, Limits, Quota, Roles, SecretFacts, StoredSecret};
use crate::{Actor, Env, KeyId, SecretHash, SecretId, Timestamp};

/// Secrets of a key that are kept in memory although they have ended.
pub(crate) const MAX_ENDED: usize = 4;

/// The part of a key that tokens and authentication need, held in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    pub client_id: ClientId,
    pub key_id: KeyId,
    pub roles: Roles,
    /// The epoch that a token of the key must carry.
    pub epoch: u64,
    /// The key is rejected from this instant on.
    pub expires_at: Option<Timestamp>,
    pub disabled: bool,
    /// Whether the key may use the client credentials grant.
    pub client_credentials: bool,
    pub secrets: Box<[SecretFacts]>,
    /// The newest secrets that will never be valid again, to recognize them.
    pub ended: Box<[EndedSecret]>,
    /// What limits the key's use; `None` for most keys.
    pub limits: Option<Box<LimitFacts>>,
}

/// What limits the use of a key, and how much of its rate is used.
#[derive(Debug, Clone)]
pub struct LimitFacts {
    pub limits: Limits,
    /// Kept when the key changes. A new rate starts a new quota.
    pub quota: Arc<Quota>,
}

impl PartialEq for LimitFacts {
    fn eq(&self, other: &Self) -> bool {
        self.limits == other.limits
    }
}

impl Eq for LimitFacts {}

impl LimitFacts {
    fn of(limits: &Limits) -> Option<Box<Self>> {
        let facts = || Box::new(Self { limits: limits.clone(), quota: Arc::default() });
        (!limits.is_none()).then(facts)
    }
}

impl KeyFacts {
    /// A disabled key whose secret no hash matches. Secrets for unknown client ids are compared
    /// with it, so that the comparison takes as long as for a real key.
    pub(crate) fn nobody(env: &Env) -> Self {
        let secret = SecretFacts {
            id: SecretId::generate(env),
            hash: SecretHash { pepper_version: 0, mac: env.random() },
            not_before: Timestamp::MAX,
            expires_at: None,
        };
        Self {
            client_id: "nobody".parse().expect("this is a client id"),
            key_id: KeyId::generate(env),
            roles: Roles::NONE,
            epoch: 0,
            expires_at: None,
            disabled: true,
            client_credentials: false,
            secrets: Box::new([secret]),
            ended: Box::default(),
            limits: None,
        }
    }

    /// The highest role.
    pub fn role(&self) -> Option<Role> {
        self.roles.highest()
    }

    /// The key as the actor of a ledger entry, by the secret that it used.
    pub fn actor(&self, secret: Option<SecretId>) -> Actor {
        Actor::Key { client_id: self.client_id.clone(), key_id: self.key_id, secret }
    }

    /// Continues the quota of the same key from before a change, unless it has another rate now.
    pub(crate) fn continue_quota(&mut self, before: &Self) {
        if let (Some(now), Some(then)) = (&mut self.limits, &before.limits)
            && self.key_id == before.key_id
            && now.limits.rate == then.limits.rate
        {
            now.quota = Arc::clone(&then.quota);
        }
    }

    /// Whether the key is enabled and within its dates.
    pub fn is_usable_at(&self, now: Timestamp) -> bool {
        !self.disabled && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// The secret with that id, if it is within its dates.
    pub fn valid_secret(&self, id: SecretId, now: Timestamp) -> Option<&SecretFacts> {
        self.secrets.iter().find(|secret| secret.id == id && secret.is_valid_at(now))
    }
}

/// Whether a secret is never valid again: it was retired, or had expired when the key was last
/// changed.
fn has_ended(key: &ApiKey, secret: &StoredSecret) -> bool {
    secret.has_expired(key.updated_at) || SecretFacts::of(secret).is_none()
}

impl From<&ApiKey> for KeyFacts {
    fn from(key: &ApiKey) -> Self {
        Self {
            client_id: key.client_id.clone(),
            key_id: key.key_id,
            roles: key.roles,
            epoch: key.epoch,
            expires_at: key.expires_at,
            disabled: key.disabled_at.is_some(),
            client_credentials: key.application.may_use(GrantType::ClientCredentials),
            secrets: key
                .secrets
                .iter()
                .filter(|secret| !has_ended(key, secret))
                .filter_map(SecretFacts::of)
                .collect(),
            ended: key
                .secrets
                .iter()
                .rev()
                .filter(|secret| has_ended(key, secret))
                .take(MAX_ENDED)
                .map(EndedSecret::of)
                .collect(),
            limits: LimitFacts::of(&key.limits),
        }
    }
}
