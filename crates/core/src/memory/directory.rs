//! [`Directory`]: every key's hot facts in memory, fed by the store's changes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use gatekey_credentials::ClientId;

use crate::{
    KeyId, Timestamp,
    api_key::KeyFacts,
    store::{Change, ChangeObserver},
    token::DeniedToken,
};

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
                    *tally = Tally::default();
                }
                Change::SigningKeys(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ApiKey, Application};

    #[test]
    fn a_reload_does_not_change_the_counts() {
        let key = ApiKey {
            key_id: "00000000000000000000000000000001".parse().unwrap(),
            client_id: "ci".parse().unwrap(),
            organization: String::new(),
            role: None,
            application: Application::named("CI"),
            created_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
            expires_at: None,
            disabled_at: None,
            epoch: 1,
            secrets: Vec::new(),
        };
        let directory = Directory::default();
        for _ in 0..2 {
            directory.observe(&[Change::Reset, Change::KeyPut(Box::new(key.clone()))]);
            let counts = KeyCounts { enabled: 1, disabled: 0, expired: 0 };
            assert_eq!((directory.len(), directory.count(Timestamp::MIN)), (1, counts));
        }
    }
}
