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
        Ok(LedgerPage { entries, last: self.store.ledger_head().await?.sequence })
    }

    /// Verifies every entry of the ledger and the seal of every row, and returns the ledger's head.
    ///
    /// # Errors
    /// See [`LedgerFault`](ledger::LedgerFault); [`OperationError::Seal`] names rows that were
    /// changed.
    pub async fn verify_ledger(
        &self,
        known: Option<LedgerHead>,
    ) -> Result<LedgerHead, OperationError> {
        self.root_keys.settle_again().await?;
        loop {
            let version = self.root_key.version();
            let read = |after, limit| self.store.ledger_entries(after, limit);
            let verified = ledger::verify(self.root_key.ledger_keys(), known, read).await;
            // If the root key was rotated meanwhile, the keys lacked the new version: retry.
            if verified.is_ok() || self.root_key.version() == version {
                let head = verified?;
                self.verify_seals().await?;
                return Ok(head);
            }
        }
    }

    async fn verify_seals(&self) -> Result<(), OperationError> {
        let faults = match self.store.verify_seals().await {
            Ok(report) => report.faults(),
            Err(StoreError::Tampered(fault)) => vec![fault],
            Err(error) => return Err(error.into()),
        };
        if faults.is_empty() { Ok(()) } else { Err(OperationError::Seal(faults.join("; "))) }
    }
}
