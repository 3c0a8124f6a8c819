//! [`Revoked`]: the revocations that this node saw within the last hour.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gatekey_credentials::ClientId;

use crate::{
    ApiKey, Directory, Env, KeyId, Timestamp,
    api_key::{KeyFacts, Restrictions},
    store::{Change, ChangeObserver},
};

/// How long a revocation is remembered: longer than a failover takes, and as long as a row of a
/// change is kept.
const REMEMBERED: Duration = Duration::from_hours(1);
/// The most keys that are remembered. Beyond, the oldest are not.
const MAX_KEYS: usize = 10_000;

/// A revocation of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    Deleted,
    Restricted(Restrictions),
}

/// What this node saw being revoked within the last hour, in case that the database loses it.
///
/// Tokens are not among it: a repair raises every epoch. Compares each change with the directory,
/// so it must be notified before the directory is.
pub struct Revoked {
    directory: Arc<Directory>,
    env: Env,
    remembered: Mutex<Remembered>,
}

#[derive(Default)]
struct Remembered {
    keys: BTreeMap<KeyId, (ClientId, Revocation)>,
    /// The keys by when something of them was first revoked.
    order: VecDeque<(Timestamp, KeyId)>,
}

impl Revoked {
    pub fn new(directory: Arc<Directory>, env: Env) -> Self {
        Self { directory, env, remembered: Mutex::default() }
    }

    /// The revocations of each key, by key id.
    pub fn keys(&self) -> BTreeMap<KeyId, (ClientId, Revocation)> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.keys.clone()
    }

    fn put(&self, key: &ApiKey, remembered: &mut Remembered) {
        let Some(before) = self.directory.find(key.client_id.as_str()) else { return };
        if before.key_id != key.key_id {
            return remembered.delete(&before.client_id, before.key_id, self.env.now());
        }
        let after = KeyFacts::from(key);
        remembered.restrict(Restrictions::between(&before, &after), &after, self.env.now());
    }
}

impl ChangeObserver for Revoked {
    fn observe(&self, changes: &[Change]) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            match change {
                Change::KeyPut(key) => self.put(key, &mut remembered),
                Change::KeyDeleted { client_id, key_id } => {
                    remembered.delete(client_id, *key_id, self.env.now());
                }
                Change::TokenDenied(_)
                | Change::DenialsDropped(_)
                | Change::SigningKeys(_)
                | Change::Reset => {}
            }
        }
    }
}

impl Remembered {
    fn delete(&mut self, client_id: &ClientId, key_id: KeyId, now: Timestamp) {
        self.insert(client_id, key_id, Revocation::Deleted, now);
    }

    fn restrict(&mut self, restrictions: Restrictions, after: &KeyFacts, now: Timestamp) {
        match self.keys.get_mut(&after.key_id) {
            Some((_, Revocation::Restricted(earlier))) => earlier.extend(restrictions, after),
            Some((_, Revocation::Deleted)) => {}
            None if restrictions.is_empty() => {}
            None => {
                let revocation = Revocation::Restricted(restrictions);
                self.insert(&after.client_id, after.key_id, revocation, now);
            }
        }
    }

    fn insert(
        &mut self,
        client_id: &ClientId,
        key_id: KeyId,
        revocation: Revocation,
        now: Timestamp,
    ) {
        if self.keys.insert(key_id, (client_id.clone(), revocation)).is_none() {
            self.order.push_back((now, key_id));
        }
        while let Some((since, oldest)) = self.order.front().copied()
            && (self.order.len() > MAX_KEYS || since.after(REMEMBERED) < now)
        {
            self.order.pop_front();
            self.keys.remove(&oldest);
        }
    }
}

impl fmt::Debug for Revoked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Revoked({} keys)", self.keys().len())
    }
}
