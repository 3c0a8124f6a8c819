//! [`LedgerStore`]: the ledger.

use async_trait::async_trait;

use super::StoreError;
use crate::ledger::{ArchivedRange, LedgerBase, LedgerEntry, LedgerHead, NewEntry};

/// The outcome of [`LedgerStore::archive_ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerArchived {
    Done,
    /// The ledger begins after the range already; nothing was changed.
    Already,
    /// The ledger begins neither where the range begins, nor after it; nothing was changed.
    Elsewhere {
        base: LedgerBase,
    },
    /// The ledger does not contain the range's last entry; nothing was changed.
    Another,
}

/// Stores the ledger. All other calls that take an entry append it too.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// Appends an entry without another change.
    async fn append_entry(&self, entry: NewEntry) -> Result<(), StoreError>;

    /// At most `limit` entries after a sequence number. Archived entries are omitted.
    async fn ledger_entries(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError>;

    /// The sequence number and link of the last entry.
    async fn ledger_head(&self) -> Result<LedgerHead, StoreError>;

    /// The last archived entry, as it is stored: only [`Store::verify_seals`] verifies it.
    ///
    /// [`Store::verify_seals`]: super::Store::verify_seals
    async fn ledger_base(&self) -> Result<LedgerBase, StoreError>;

    /// Begins the ledger after the last entry of a range that is archived, and appends `entry`.
    /// Fails with [`StoreError::Tampered`] if the base was changed without the root key.
    async fn archive_ledger(
        &self,
        range: ArchivedRange,
        entry: NewEntry,
    ) -> Result<LedgerArchived, StoreError>;

    /// Deletes up to `limit` archived entries, and returns their number.
    async fn delete_archived(&self, limit: usize) -> Result<usize, StoreError>;
}
