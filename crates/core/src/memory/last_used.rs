//! [`LastUsed`]: when secrets were last used, collected in memory and written in batches.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{SecretId, Store, StoreError, Timestamp};

/// The use of one secret is written at most this often. Otherwise a secret in constant use would
/// cost a write in every batch.
const WRITE_INTERVAL: Duration = Duration::from_mins(1);

/// Collects uses of secrets between two flushes, so that issuing a token costs no write.
pub struct LastUsed {
    store: Arc<dyn Store>,
    /// The last use of each secret since the last flush.
    noted: Mutex<HashMap<SecretId, Timestamp>>,
    /// Uses that were written within the last minute, or are not written yet. In the order of ids:
    /// nodes that write the same secrets in different orders could deadlock.
    recent: Mutex<BTreeMap<SecretId, Use>>,
}

#[derive(Debug, Clone, Copy)]
struct Use {
    at: Timestamp,
    written: Option<Timestamp>,
}

impl Use {
    fn is_written(&self) -> bool {
        self.written.is_some_and(|written| self.at <= written)
    }

    /// Returns whether the interval has passed since the last write, or the clock was set back.
    fn is_due(&self, now: Timestamp) -> bool {
        self.written.is_none_or(|written| now < written || written.after(WRITE_INTERVAL) <= now)
    }
}

impl LastUsed {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, noted: Mutex::default(), recent: Mutex::default() }
    }

    /// Notes a use.
    pub fn note(&self, secret_id: SecretId, at: Timestamp) {
        lock(&self.noted).insert(secret_id, at);
    }

    /// Writes the noted uses, except of secrets whose use was written less than a minute ago.
    ///
    /// # Errors
    /// When the store cannot write; the uses are kept for the next flush.
    pub async fn flush_due(&self, now: Timestamp) -> Result<(), StoreError> {
        self.write(|one| one.is_due(now)).await?;
        lock(&self.recent).retain(|_, one| !(one.is_written() && one.is_due(now)));
        Ok(())
    }

    /// Writes all noted uses, for a shutdown.
    ///
    /// # Errors
    /// When the store cannot write; the uses are kept for the next flush.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.write(|_| true).await
    }

    async fn write(&self, due: impl Fn(&Use) -> bool) -> Result<(), StoreError> {
        // Taken first, so that issuing a token never waits for the rest.
        let noted = mem::take(&mut *lock(&self.noted));
        let batch: Vec<_> = {
            let mut recent = lock(&self.recent);
            for (id, at) in noted {
                recent.entry(id).or_insert(Use { at, written: None }).at = at;
            }
            let due = recent.iter().filter(|(_, one)| !one.is_written() && due(one));
            due.map(|(id, one)| (*id, one.at)).collect()
        };
        if batch.is_empty() {
            return Ok(());
        }
        self.store.record_last_used(batch.clone()).await?;
        let mut recent = lock(&self.recent);
        for (id, at) in batch {
            recent.entry(id).and_modify(|one| one.written = Some(at));
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
