//! [`LedgerStore`]: the ledger.

use async_trait::async_trait;

use super::StoreError;
use crate::ledger::{LedgerEntry, LedgerHead, NewEntry};

/// Stores the ledger. All other calls that take an entry append it too.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// Appends an entry without another change.
    async fn append_entry(&self, entry: NewEntry) -> Result<(), StoreError>;

    /// At most `limit` entries after a sequence number.
    async fn ledger_entries(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError>;

    /// The sequence number and link of the last entry.
    async fn ledger_head(&self) -> Result<LedgerHead, StoreError>;
}
