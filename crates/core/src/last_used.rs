//! [`LastUsed`]: when secrets were last used, gathered in memory and written in batches.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use crate::{SecretId, Store, StoreError, Timestamp};

/// Gathers uses between two flushes, one instant a secret: no token costs a write.
#[derive(Debug, Default)]
pub struct LastUsed {
    uses: Mutex<HashMap<SecretId, Timestamp>>,
}

impl LastUsed {
    /// Notes a use.
    pub fn note(&self, secret_id: SecretId, at: Timestamp) {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner).insert(secret_id, at);
    }

    /// Writes what was noted since the last flush.
    ///
    /// # Errors
    /// When the store cannot write; the uses are kept for the next flush.
    pub async fn flush(&self, store: &dyn Store) -> Result<(), StoreError> {
        let uses = mem::take(&mut *self.uses.lock().unwrap_or_else(PoisonError::into_inner));
        if uses.is_empty() {
            return Ok(());
        }
        let batch = uses.iter().map(|(id, at)| (*id, *at)).collect();
        let written = store.record_last_used(batch).await;
        if written.is_err() {
            let mut newer = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, at) in uses {
                newer.entry(id).or_insert(at);
            }
        }
        written
    }
}
