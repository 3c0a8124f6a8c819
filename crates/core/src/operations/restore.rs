//! Restoring: every token is revoked, and keys return to their state at the backup.

use std::collections::BTreeMap;

use super::OperationError;
use crate::{
    ApiKey, Caller, Env, Error, Store,
    ledger::{Action, NewEntry},
    seal::Sealed,
};

/// Keys by client id.
pub type Keys = BTreeMap<String, ApiKey>;

/// Seals a restored store that is older than seals, revokes every token, including those that were
/// issued after the backup, and returns the number of keys.
///
/// `backup_of` is the time of the backup in the format of RFC 3339.
///
/// # Errors
/// [`Error::Precondition`] if the clock is before 1970; when the store cannot write.
pub async fn revoke_tokens(
    store: &dyn Store,
    env: &Env,
    caller: &Caller,
    backup_of: &str,
) -> Result<usize, OperationError> {
    let now = env.now();
    // No token can carry this epoch: epochs are raised by one at a time, and never a million times
    // a second.
    let epoch = u64::try_from(now.as_micros())
        .map_err(|_| Error::Precondition("this machine's clock is before 1970".to_owned()))?;
    store.seal_store(Sealed::new_entry(env, caller)).await?;
    let entry = NewEntry::new(now, caller, Action::StoreRestore { backup_of }, "store");
    Ok(store.raise_epochs(epoch, entry).await?)
}

/// The client ids of keys that differ between a backup and a later data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Created after the backup, so not in it.
    pub newer: Vec<String>,
    /// Deleted after the backup, so usable again.
    pub deleted: Vec<String>,
    /// Changed after the backup, so back in their earlier state, with their earlier secrets.
    pub changed: Vec<String>,
}

impl Comparison {
    pub fn of(backup: &Keys, later: &Keys) -> Self {
        let is_in = |keys: &Keys, key: &ApiKey| {
            keys.get(key.client_id.as_str()).is_some_and(|other| other.key_id == key.key_id)
        };
        let newer = later.values().filter(|key| !is_in(backup, key));
        let deleted = backup.values().filter(|key| !is_in(later, key));
        let changed = backup.values().filter(|key| {
            let later =
                later.get(key.client_id.as_str()).filter(|later| later.key_id == key.key_id);
            later.is_some_and(|later| later.updated_at != key.updated_at)
        });
        Self {
            newer: client_ids(newer),
            deleted: client_ids(deleted),
            changed: client_ids(changed),
        }
    }
}

fn client_ids<'k>(keys: impl Iterator<Item = &'k ApiKey>) -> Vec<String> {
    keys.map(|key| key.client_id.to_string()).collect()
}
