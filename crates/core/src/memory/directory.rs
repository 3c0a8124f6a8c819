//! [`Directory`]: the facts of all keys in memory, fed by the store's changes.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    hash::{Hash, Hasher},
    mem,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use gatekey_credentials::ClientId;

use crate::{
    KeyId, Timestamp,
    api_key::KeyFacts,
    store::{Change, ChangeObserver},
    token::DeniedToken,
};

/// The facts of all keys, and the deny-list.
#[derive(Debug, Default)]
pub struct Directory {
    keys: RwLock<HashSet<ByClientId>>,
    denials: RwLock<HashMap<KeyId, HashMap<String, Timestamp>>>,
    tally: Mutex<Tally>,
    deleted: RwLock<Deleted>,
}

/// The facts of a key, found by its client id. A map would store the client id twice, and a place
/// of it takes three times as much; up to half of the places are empty.
#[derive(Debug)]
struct ByClientId(Arc<KeyFacts>);

impl Borrow<str> for ByClientId {
    fn borrow(&self) -> &str {
        self.0.client_id.as_str()
    }
}

impl Hash for ByClientId {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.client_id.as_str().hash(hasher);
    }
}

impl PartialEq for ByClientId {
    fn eq(&self, other: &Self) -> bool {
        self.0.client_id == other.0.client_id
    }
}

impl Eq for ByClientId {}

/// Deleted keys that are remembered, to recognize their secrets.
const MAX_DELETED: usize = 1000;

/// The keys that were deleted last, since the server started.
#[derive(Debug, Default)]
struct Deleted {
    by_client_id: HashMap<ClientId, Arc<KeyFacts>>,
    /// Their client ids, the oldest first.
    order: VecDeque<ClientId>,
}

impl Deleted {
    fn insert(&mut self, key: Arc<KeyFacts>) {
        let client_id = key.client_id.clone();
        if self.by_client_id.insert(client_id.clone(), key).is_none() {
            self.order.push_back(client_id);
        }
        if self.order.len() > MAX_DELETED
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_client_id.remove(&oldest);
        }
    }
}

/// The number of keys by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Neither disabled nor expired.
    pub enabled: usize,
    /// Disabled, and possibly expired.
    pub disabled: usize,
    /// Expired, but not disabled.
    pub expired: usize,
}

/// Counts keys as they change, so that reading a count does not visit every key.
#[derive(Debug, Default)]
struct Tally {
    disabled: usize,
    /// Enabled keys without an expiry.
    lasting: usize,
    /// Number of enabled keys by expiry.
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
    /// Returns the facts of the key with a client id. Takes any text.
    pub fn find(&self, client_id: &str) -> Option<Arc<KeyFacts>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(client_id).map(|ByClientId(key)| Arc::clone(key))
    }

    /// Returns the facts of a key that was deleted, if it is among the last that were. Takes any
    /// text.
    pub(crate) fn find_deleted(&self, client_id: &str) -> Option<Arc<KeyFacts>> {
        let deleted = self.deleted.read().unwrap_or_else(PoisonError::into_inner);
        deleted.by_client_id.get(client_id).cloned()
    }

    /// Whether a token is on the deny-list.
    pub fn is_denied(&self, key_id: KeyId, jti: &str) -> bool {
        let denials = self.denials.read().unwrap_or_else(PoisonError::into_inner);
        denials.get(&key_id).is_some_and(|of_key| of_key.contains_key(jti))
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of keys by state.
    pub fn count(&self, now: Timestamp) -> KeyCounts {
        let tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        let expired = tally.expiring.range(..=now).map(|(_, keys)| keys).sum();
        let expiring: usize = tally.expiring.values().sum();
        KeyCounts { enabled: tally.lasting + expiring - expired, disabled: tally.disabled, expired }
    }

    /// The number of tokens on the deny-list. A purge removes those that have expired.
    pub fn denied_tokens(&self) -> usize {
        self.denials.read().unwrap_or_else(PoisonError::into_inner).values().map(HashMap::len).sum()
    }

    /// Removes denials of tokens that have expired at `now`.
    pub fn remove_expired(&self, now: Timestamp) {
        let mut denials = self.denials.write().unwrap_or_else(PoisonError::into_inner);
        denials.retain(|_, of_key| {
            of_key.retain(|_, expires_at| now < *expires_at);
            !of_key.is_empty()
        });
    }
}

impl ChangeObserver for Directory {
    #[expect(
        clippy::mutable_key_type,
        reason = "keys compare by their client id, which never changes"
    )]
    fn observe(&self, changes: &[Change]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut denials = self.denials.write().unwrap_or_else(PoisonError::into_inner);
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        // The keys from before a reset, whose quotas continue.
        let mut discarded = HashSet::new();
        for change in changes {
            match change {
                Change::KeyPut(key) => {
                    let mut facts = KeyFacts::from(&**key);
                    if facts.limits.is_some()
                        && let Some(ByClientId(before)) = keys
                            .get(key.client_id.as_str())
                            .or_else(|| discarded.get(key.client_id.as_str()))
                    {
                        facts.continue_quota(before);
                    }
                    tally.add(&facts);
                    if let Some(ByClientId(before)) = keys.replace(ByClientId(Arc::new(facts))) {
                        tally.remove(&before);
                    }
                }
                Change::KeyDeleted { client_id, key_id } => {
                    // Not a later key with the same client id: changes can be reported again.
                    let is_present = |key: &ByClientId| key.0.key_id == *key_id;
                    if keys.get(client_id.as_str()).is_some_and(is_present)
                        && let Some(ByClientId(before)) = keys.take(client_id.as_str())
                    {
                        tally.remove(&before);
                        let mut deleted =
                            self.deleted.write().unwrap_or_else(PoisonError::into_inner);
                        deleted.insert(before);
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
                    discarded = mem::take(&mut *keys);
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
    use crate::{
        ApiKey, Application,
        api_key::{Limits, Roles},
    };

    fn key() -> ApiKey {
        ApiKey {
            key_id: "00000000000000000000000000000001".parse().unwrap(),
            client_id: "ci".parse().unwrap(),
            organization: String::new(),
            roles: Roles::NONE,
            application: Application::named("CI"),
            limits: Limits::default(),
            created_at: Timestamp::MIN,
            updated_at: Timestamp::MIN,
            expires_at: None,
            disabled_at: None,
            epoch: 1,
            secrets: Vec::new(),
        }
    }

    /// A new key with the same client id starts a new quota, and so does a new rate.
    #[test]
    fn a_quota_outlives_changes_and_reloads() {
        let directory = Directory::default();
        let mut key = key();
        key.limits.rate = "1/h".parse().ok();
        let put = |key: &ApiKey| Change::KeyPut(Box::new(key.clone()));
        let quota = || Arc::clone(&directory.find("ci").unwrap().limits.as_ref().unwrap().quota);
        directory.observe(&[put(&key)]);
        let first = quota();
        key.epoch = 2;
        directory.observe(&[put(&key)]);
        assert!(Arc::ptr_eq(&first, &quota()));
        directory.observe(&[Change::Reset, put(&key)]);
        assert!(Arc::ptr_eq(&first, &quota()));
        key.limits.rate = "2/h".parse().ok();
        directory.observe(&[put(&key)]);
        let second = quota();
        assert!(!Arc::ptr_eq(&first, &second));
        key.key_id = "00000000000000000000000000000002".parse().unwrap();
        directory.observe(&[put(&key)]);
        assert!(!Arc::ptr_eq(&second, &quota()));
        key.limits = Limits::default();
        directory.observe(&[put(&key)]);
        assert_eq!(directory.find("ci").unwrap().limits, None);
    }

    /// A feed reports a change again when it reads the same row again.
    #[test]
    fn a_deletion_spares_a_later_key() {
        let (directory, earlier) = (Directory::default(), key());
        let later = ApiKey {
            key_id: "00000000000000000000000000000002".parse().unwrap(),
            ..earlier.clone()
        };
        let (client_id, key_id) = (earlier.client_id.clone(), earlier.key_id);
        directory.observe(&[Change::KeyPut(Box::new(later.clone()))]);
        directory.observe(&[Change::KeyDeleted { client_id, key_id }]);
        assert_eq!(directory.find("ci").map(|key| key.key_id), Some(later.key_id));
        assert!(directory.find_deleted("ci").is_none());
    }

    #[test]
    fn a_reload_does_not_change_the_counts() {
        let key = key();
        let directory = Directory::default();
        for _ in 0..2 {
            directory.observe(&[Change::Reset, Change::KeyPut(Box::new(key.clone()))]);
            let counts = KeyCounts { enabled: 1, disabled: 0, expired: 0 };
            assert_eq!((directory.len(), directory.count(Timestamp::MIN)), (1, counts));
        }
    }
}
