//! [`Inspection`]: reads a database without changing it.

use std::path::{Path, PathBuf};

use gatekey_core::{
    ApiKey, RootKey, StoreError,
    ledger::{LedgerBase, LedgerEntry},
    seal::SealReport,
    signing_key::SealedSigningKey,
};
use rusqlite::Connection;

use super::{OpenError, open, reader};
use crate::sql::{failure::Failure, ledger, load, root_key, seal, signing_key, transaction};

/// A database opened for reading only, even while a server uses it.
pub struct Inspection {
    connection: Connection,
    path: PathBuf,
}

impl Inspection {
    /// Opens a database.
    ///
    /// # Errors
    /// If the file does not exist, is not a Gatekey database, has a newer schema, is damaged or
    /// cannot be accessed.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { connection: open::open_to_inspect(path)?, path: path.to_owned() })
    }

    /// Up to `limit` faults that SQLite finds in pages, indexes, constraints and references.
    ///
    /// # Errors
    /// If the database cannot be checked.
    pub fn faults(&self, limit: usize) -> Result<Vec<String>, StoreError> {
        self.find_faults(limit).map_err(StoreError::from)
    }

    fn find_faults(&self, limit: usize) -> Result<Vec<String>, Failure> {
        let mut check = self.connection.prepare(&format!("PRAGMA integrity_check({limit})"))?;
        let found = check.query_map([], |row| row.get::<_, String>(0))?;
        let mut faults = found.collect::<Result<Vec<_>, _>>()?;
        faults.retain(|fault| fault != "ok");
        let mut check = self.connection.prepare("PRAGMA foreign_key_check")?;
        let dangling = check.query_map([], |row| row.get::<_, String>(0))?;
        for table in dangling.take(limit.saturating_sub(faults.len())) {
            faults.push(format!("a row of table {} refers to a missing key", table?));
        }
        Ok(faults)
    }

    /// Settles which versions of the root key are in use.
    ///
    /// # Errors
    /// If the root key does not belong to the database, or the database cannot be read.
    pub fn settle(&self, root_key: &RootKey) -> Result<(), OpenError> {
        let known = root_key::known(&self.connection, root_key)
            .map_err(|error| open::refused(error, &self.path))?;
        Ok(root_key.settle(&known)?)
    }

    /// At most `limit` entries of the ledger after a sequence number.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn ledger_entries(&self, after: i64, limit: usize) -> Result<Vec<LedgerEntry>, StoreError> {
        Ok(ledger::entries(&self.connection, after, limit)?)
    }

    /// The sequence number of the ledger's last entry; 0 for an empty ledger.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn last_ledger_sequence(&self) -> Result<i64, StoreError> {
        Ok(ledger::last_sequence(&self.connection)?)
    }

    /// The last archived entry, as it is stored: only [`Self::verify_seals`] verifies it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn ledger_base(&self) -> Result<LedgerBase, StoreError> {
        Ok(transaction::ledger_base(&self.connection)?)
    }

    /// All signing keys, in the order of creation.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError> {
        Ok(signing_key::all(&self.connection)?)
    }

    /// Passes each key to `take`, in the order of client ids.
    ///
    /// # Errors
    /// If a key cannot be read.
    pub fn each_key(&self, mut take: impl FnMut(ApiKey)) -> Result<(), StoreError> {
        Ok(load::each_key(&self.connection, |key, _| {
            take(key);
            Ok(())
        })?)
    }

    /// Verifies the seals of all rows. `None` if the database is older than seals.
    ///
    /// # Errors
    /// If the rows cannot be read, or the seal was removed or changed.
    pub fn verify_seals(&self, root_key: &RootKey) -> Result<Option<SealReport>, StoreError> {
        Ok(reader::in_transaction(&self.connection, |connection| {
            if seal::predates(connection)? {
                return Ok(None);
            }
            load::verify(connection, &root_key.seal_keys()).map(Some)
        })?)
    }
}
