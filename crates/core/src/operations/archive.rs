//! Archives a part of the ledger, in two steps with a durable file between them.

use serde::{Deserialize, Serialize};

use super::{OperationError, Operations};
use crate::{
    Caller, Error, StoreError, Timestamp,
    ledger::{self, Action, ArchiveDraft, ArchiveHeader, LedgerBase, LedgerEntry, NewEntry},
    store::LedgerArchived,
};

/// The most entries that one transaction deletes, so that other changes do not wait long.
const DELETED_AT_ONCE: usize = 5000;

/// Which entries to archive: all from the first one up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchiveLimit {
    /// The sequence number of the last entry.
    Through(i64),
    /// Up to the first entry that is not from before an instant.
    Before(Timestamp),
}

impl ArchiveLimit {
    fn includes(self, entry: &LedgerEntry) -> bool {
        match self {
            Self::Through(last) => entry.sequence <= last,
            Self::Before(instant) => entry.entry.at < instant,
        }
    }
}

/// The outcome of [`Operations::close_ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerClosed {
    /// The ledger now begins after the archive's last entry.
    Done,
    /// It did so before; nothing was changed.
    Already,
}

impl Operations {
    /// Verifies the entries to archive, and makes the header of their archive. Changes nothing: the
    /// caller reads the entries, writes and syncs the file, and then calls [`Self::close_ledger`].
    ///
    /// # Errors
    /// When no entry is to be archived, the ledger is broken, or the store does not match its seal.
    pub async fn prepare_archive(
        &self,
        limit: ArchiveLimit,
    ) -> Result<ArchiveHeader, OperationError> {
        self.root_keys.settle_again().await?;
        if let Some(mismatch) = self.store.verify_seals().await?.mismatch() {
            return Err(OperationError::Unsealed(mismatch));
        }
        loop {
            let version = self.root_key.version();
            let base = self.store.ledger_base().await?;
            let prepared = self.draft(base, limit).await;
            // The root key may have been rotated, or another part archived, meanwhile.
            if prepared.is_ok() || !self.has_moved(version, base).await? {
                return prepared;
            }
        }
    }

    async fn draft(
        &self,
        base: LedgerBase,
        limit: ArchiveLimit,
    ) -> Result<ArchiveHeader, OperationError> {
        if let ArchiveLimit::Through(last) = limit {
            let end = self.store.ledger_head().await?.sequence;
            if last > end {
                return Err(refused(&format!("the ledger ends at entry {end}")));
            }
            if last <= base.sequence() {
                let archived = base.sequence();
                return Err(refused(&format!("entries up to {archived} are archived already")));
            }
        }
        let mut draft = ArchiveDraft::new(self.root_key.ledger_keys(), base);
        loop {
            let page = self.store.ledger_entries(draft.last(), ledger::PAGE).await?;
            let included = page.iter().take_while(|entry| limit.includes(entry)).count();
            draft.add(&page[..included]).map_err(ledger::LedgerFault::Broken)?;
            if included < page.len() || page.is_empty() {
                break;
            }
        }
        let header = draft.finish(self.env.now(), env!("CARGO_PKG_VERSION"));
        header.ok_or_else(|| refused("no entry is from before that time"))
    }

    /// Begins the ledger after the last entry of an archive, and deletes the archive's entries. The
    /// archive must be durable.
    ///
    /// # Errors
    /// When the header is not authentic, or its archive does not continue the last one; then
    /// nothing is changed.
    pub async fn close_ledger(
        &self,
        caller: &Caller,
        header: &ArchiveHeader,
    ) -> Result<LedgerClosed, OperationError> {
        self.root_keys.settle_again().await?;
        header.verify(&self.root_key.ledger_keys())?;
        let range = header.range;
        let action = Action::LedgerArchive { first: range.first(), last: range.end.head };
        let entry = NewEntry::new(self.env.now(), caller, action, "ledger");
        match self.store.archive_ledger(range, entry).await? {
            LedgerArchived::Done => {}
            LedgerArchived::Already => return Ok(LedgerClosed::Already),
            LedgerArchived::Elsewhere { base } => {
                return Err(Error::Precondition(format!(
                    "the archive begins with entry {}, but the ledger begins with entry {}",
                    range.first(),
                    base.sequence() + 1
                ))
                .into());
            }
            LedgerArchived::Another => {
                return Err(Error::Precondition(format!(
                    "entry {} of the ledger is not the last entry of the archive",
                    range.last()
                ))
                .into());
            }
        }
        if let Err(error) = self.delete_archived().await {
            tracing::warn!(%error, "failed to delete all archived entries; the next purge continues");
        }
        Ok(LedgerClosed::Done)
    }

    /// Deletes archived entries that are still stored, in batches.
    ///
    /// # Errors
    /// When the store cannot write; entries deleted before stay so.
    pub(super) async fn delete_archived(&self) -> Result<(), StoreError> {
        while self.store.delete_archived(DELETED_AT_ONCE).await? > 0 {}
        Ok(())
    }

    /// Whether the root key was rotated or a part of the ledger archived since.
    pub(super) async fn has_moved(
        &self,
        version: u32,
        base: LedgerBase,
    ) -> Result<bool, StoreError> {
        Ok(self.root_key.version() != version || self.store.ledger_base().await? != base)
    }
}

fn refused(reason: &str) -> OperationError {
    Error::Precondition(format!("nothing was archived: {reason}")).into()
}
