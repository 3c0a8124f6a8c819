//! Pages of the ledger, and its verification.

use serde::{Deserialize, Serialize};

use super::{OperationError, Operations};
use crate::{
    StoreError,
    ledger::{self, LedgerEntry, LedgerHead},
};

/// A page of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerPage {
    pub entries: Vec<LedgerEntry>,
    /// The sequence number of the ledger's last entry; 0 for an empty ledger.
    pub last: i64,
    /// The last archived entry: entries up to it are not in any page.
    pub base: LedgerHead,
}

/// A ledger that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedLedger {
    /// The last archived entry, which the first entry follows.
    pub base: LedgerHead,
    pub head: LedgerHead,
}

impl VerifiedLedger {
    /// The number of entries that are not archived.
    pub fn entries(&self) -> i64 {
        self.head.sequence - self.base.sequence
    }
}

impl Operations {
    /// At most `limit` entries after a sequence number, and at most [`ledger::PAGE`].
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn ledger_page(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<LedgerPage, OperationError> {
        let entries = self.store.ledger_entries(after, limit.min(ledger::PAGE)).await?;
        let last = self.store.ledger_head().await?.sequence;
        Ok(LedgerPage { entries, last, base: self.store.ledger_base().await?.head })
    }

    /// Verifies every entry of the ledger and the seal of every row. `known` are heads that the
    /// ledger must contain.
    ///
    /// # Errors
    /// See [`LedgerFault`](ledger::LedgerFault); [`OperationError::Seal`] names rows that were
    /// changed.
    pub async fn verify_ledger(
        &self,
        known: &[LedgerHead],
    ) -> Result<VerifiedLedger, OperationError> {
        self.root_keys.settle_again().await?;
        loop {
            let version = self.root_key.version();
            let base = self.store.ledger_base().await?;
            let read = |after, limit| self.store.ledger_entries(after, limit);
            let verified = ledger::verify(self.root_key.ledger_keys(), base, known, read).await;
            // If the root key was rotated meanwhile, the keys lacked the new version; if entries
            // were archived meanwhile, they could not be read: retry.
            if verified.is_ok() || !self.has_moved(version, base).await? {
                let head = verified?;
                self.verify_seals().await?;
                return Ok(VerifiedLedger { base: base.head, head });
            }
        }
    }

    async fn verify_seals(&self) -> Result<(), OperationError> {
        let faults = match self.store.verify_seals().await {
            Ok(report) => match report.moved_base() {
                Some(moved) => return Err(OperationError::Unsealed(moved)),
                None => report.faults(),
            },
            Err(StoreError::Tampered(fault)) => vec![fault],
            Err(error) => return Err(error.into()),
        };
        if faults.is_empty() { Ok(()) } else { Err(OperationError::Seal(faults.join("; "))) }
    }
}
