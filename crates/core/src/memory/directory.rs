//! [`Directory`]: every key's hot facts in memory, fed by the store's changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use gatekey_credentials::{ClientId, Role};

use crate::{
    Actor, ApiKey, Env, KeyId, SecretHash, SecretId, StoredSecret, Timestamp,
    api_key::GrantType,
    store::{Change, ChangeObserver, DeniedToken},
};

/// What tokens and authentication need to know of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its client id.
    pub client_id: ClientId,
    /// Its key id.
    pub key_id: KeyId,
    /// What it may do.
    pub role: Option<Role>,
    /// What tokens must carry.
    pub epoch: u64,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Refused until enabled.
    pub disabled: bool,
    /// Whether it may use the client credentials grant.
    pub client_credentials: bool,
    /// What proves it.
    pub secrets: Box<[SecretFacts]>,
}

/// What authentication needs to know of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretFacts {
    /// Its id.
    pub id: SecretId,
    /// What it is compared with.
    pub hash: SecretHash,
    /// Refused before.
    pub not_before: Timestamp,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
}

impl SecretFacts {
    /// The facts of a secret; `None` when no time is within its dates.
    pub fn of(secret: &StoredSecret) -> Option<Self> {
        let StoredSecret { id, hash, created_at, not_before, expires_at, .. } = *secret;
        if expires_at.is_some_and(|expires_at| expires_at <= not_before) {
            return None;
        }
        // Nobody has a secret before it is made: only a clock that was ahead then, and is right now, says so.
        let not_before = if not_before <= created_at { Timestamp::MIN } else { not_before };
        Some(Self { id, hash, not_before, expires_at })
    }

    /// Whether the secret is within its dates.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        let ends = self.expires_at.map_or(i64::MAX, Timestamp::as_micros);
        // Neither comparison is cut short: which date a secret breaks must not show in the time taken.
        (self.not_before <= now) & (now.as_micros() < ends)
    }
}

impl KeyFacts {
    /// A key that nobody has, disabled and with one secret that nothing hashes to: what an unknown key is compared
    /// with.
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
            role: None,
            epoch: 0,
            expires_at: None,
            disabled: true,
            client_credentials: false,
            secrets: Box::new([secret]),
        }
    }

    /// The key, as the ledger names it.
    pub fn actor(&self) -> Actor {
        Actor::Key { client_id: self.client_id.clone(), key_id: self.key_id }
    }

    /// Whether the key is enabled and within its dates.
    pub fn is_usable_at(&self, now: Timestamp) -> bool {
        !self.disabled && self.expires_at.is_none_or(|expires_at| now < expires_at)
    }

    /// The secret of that id, if it is still within its dates.
    pub fn valid_secret(&self, id: SecretId, now: Timestamp) -> Option<&SecretFacts> {
        self.secrets.iter().find(|secret| secret.id == id && secret.is_valid_at(now))
    }
}

impl From<&ApiKey> for KeyFacts {
    fn from(key: &ApiKey) -> Self {
        Self {
            client_id: key.client_id.clone(),
            key_id: key.key_id,
            role: key.role,
            epoch: key.epoch,
            expires_at: key.expires_at,
            disabled: key.disabled_at.is_some(),
            client_credentials: key.application.grant_types.contains(&GrantType::ClientCredentials),
            // Those that had expired when the key was last changed can prove nothing any more.
            secrets: key
                .secrets
                .iter()
                .filter(|secret| secret.expires_at.is_none_or(|expires_at| key.updated_at < expires_at))
                .filter_map(SecretFacts::of)
                .collect(),
        }
    }
}

/// Every key's facts and the deny-list.
#[derive(Debug, Default)]
pub struct Directory {
    keys: RwLock<HashMap<ClientId, Arc<KeyFacts>>>,
    denials: RwLock<HashMap<KeyId, HashMap<String, Timestamp>>>,
    tally: Mutex<Tally>,
}

/// How many keys are in which state; together all there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Neither of the others.
    pub enabled: usize,
    /// Disabled, whether expired or not.
    pub disabled: usize,
    /// Expired, and not disabled.
    pub expired: usize,
}

/// The keys counted as they come and go, so that nobody has to walk all of them to tell.
#[derive(Debug, Default)]
struct Tally {
    disabled: usize,
    /// Enabled, and never to expire.
    lasting: usize,
    /// Enabled, by when they expire.
    expiring: BTreeMap<Timestamp, usize>,
}

impl Tally {
    fn add(&mut self, key: &KeyFacts) {
        match (key.disabled, key.expires_at) {
            (true, _) => self.disabled += 1,
            (false, None) => self.lasting += 1,
            (false, Some(at)) => *self.expiring.entry(at).or_default() += 1,
        }
    }

    fn remove(&mut self, key: &KeyFacts) {
        match (key.disabled, key.expires_at) {
            (true, _) => self.disabled -= 1,
            (false, None) => self.lasting -= 1,
            (false, Some(at)) => {
                if let Some(keys) = self.expiring.get_mut(&at) {
                    *keys -= 1;
                    if *keys == 0 {
                        self.expiring.remove(&at);
                    }
                }
            }
        }
    }
}

impl Directory {
    /// The facts of the key of that client id; any text may be asked for.
    pub fn find(&self, client_id: &str) -> Option<Arc<KeyFacts>> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(client_id).cloned()
    }

    /// Whether a token was revoked one by one.
    pub fn is_denied(&self, key_id: KeyId, jti: &str) -> bool {
        let denials = self.denials.read().unwrap_or_else(PoisonError::into_inner);
        denials.get(&key_id).is_some_and(|of_key| of_key.contains_key(jti))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys are in which state.
    pub fn count(&self, now: Timestamp) -> KeyCounts {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = tally.expiring.range(..=now).map(|(_, keys)| keys).sum();
        let expiring: usize = tally.expiring.values().sum();
        KeyCounts { enabled: tally.lasting + expiring - expired, disabled: tally.disabled, expired }
    }

    /// How many tokens are on the deny-list; those that have expired leave it within an hour.
    pub fn denied_tokens(&self) -> usize {
        self.denials.read().unwrap_or_else(PoisonError::into_inner).values().map(HashMap::len).sum()
    }

    /// Forgets denials of tokens that had expired by then.
    pub fn forget_expired(&self, now: Timestamp) {
        let mut denials = self.denials.write().unwrap_or_else(PoisonError::into_inner);
        denials.retain(|_, of_key| {
            of_key.retain(|_, expires_at| now < *expires_at);
            !of_key.is_empty()
        });
    }
}

impl ChangeObserver for Directory {
    fn observe(&self, changes: &[Change]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut denials = self.denials.write().unwrap_or_else(PoisonError::into_inner);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                Change::KeyPut(key) => {
                    let facts = Arc::new(KeyFacts::from(&**key));
                    tally.add(&facts);
                    if let Some(before) = keys.insert(key.client_id.clone(), facts) {
                        tally.remove(&before);
                    }
                }
                Change::KeyDeleted { client_id, key_id } => {
                    if let Some(before) = keys.remove(client_id) {
                        tally.remove(&before);
                    }
                    denials.remove(key_id);
                }
                Change::TokenDenied(DeniedToken { jti, key_id, expires_at }) => {
                    denials.entry(*key_id).or_default().insert(jti.clone(), *expires_at);
                }
                Change::DenialsDropped(key_id) => {
                    denials.remove(key_id);
                }
                Change::Reset => {
                    keys.clear();
                    denials.clear();
                }
                Change::SigningKeys(_) => {}
            }
        }
    }
}
