//! [`LastUsed`]: when secrets were last used, gathered in memory and written in batches.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{SecretId, Store, StoreError, Timestamp};

/// How often the use of one secret is written at most: whoever uses theirs all the time would else cost a write in
/// every batch.
const APART: Duration = Duration::from_mins(1);

/// Gathers uses between two flushes, one instant a secret: no token costs a write.
#[derive(Debug, Default)]
pub struct LastUsed {
    /// Since the last flush.
    noted: Mutex<HashMap<SecretId, Timestamp>>,
    /// Of the last minute, and what failed to be written.
    recent: Mutex<HashMap<SecretId, Use>>,
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

    /// Whether it has been long enough since it was written, also when the clock was set back since.
    fn is_due(&self, now: Timestamp) -> bool {
        self.written.is_none_or(|written| now < written || written.after(APART) <= now)
    }
}

impl LastUsed {
    /// Notes a use.
    pub fn note(&self, secret_id: SecretId, at: Timestamp) {
        lock(&self.noted).insert(secret_id, at);
    }

    /// Writes what was noted since the last flush, but for secrets whose use was written less than a minute ago.
    ///
    /// # Errors
    /// When the store cannot write; the uses are kept for the next flush.
    pub async fn flush_due(&self, store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
        self.write(store, |one| one.is_due(now)).await?;
        lock(&self.recent).retain(|_, one| !(one.is_written() && one.is_due(now)));
        Ok(())
    }

    /// Writes everything that was noted: for the end.
    ///
    /// # Errors
    /// When the store cannot write; the uses are kept for the next flush.
    pub async fn flush(&self, store: &dyn Store) -> Result<(), StoreError> {
        self.write(store, |_| true).await
    }

    async fn write(&self, store: &dyn Store, due: impl Fn(&Use) -> bool) -> Result<(), StoreError> {
        // Taken first, so that tokens never wait for what follows.
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
        store.record_last_used(batch.clone()).await?;
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
