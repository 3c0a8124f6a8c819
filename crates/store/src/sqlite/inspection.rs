//! [`Inspection`]: a database looked at without being changed.

use std::path::{Path, PathBuf};

use gatekey_core::{ApiKey, RootKey, StoreError, ledger::LedgerEntry, signing_key::SealedSigningKey};
use rusqlite::Connection;

use super::{OpenError, failure::Failure, ledger, load, open, root_key, signing_key};

/// A database that is looked at, also while a server uses it. Nothing in it is changed.
pub struct Inspection {
    connection: Connection,
    path: PathBuf,
}

impl Inspection {
    /// Opens a database of our schema to read.
    ///
    /// # Errors
    /// When the file is absent, not ours, of a newer version, damaged or out of reach.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { connection: open::open_to_inspect(path)?, path: path.to_owned() })
    }

    /// What SQLite finds wrong with pages, indexes, constraints and references; at most so many.
    ///
    /// # Errors
    /// When the check cannot be made.
    pub fn faults(&self, most: usize) -> Result<Vec<String>, StoreError> {
        self.find_faults(most).map_err(StoreError::from)
    }

    fn find_faults(&self, most: usize) -> Result<Vec<String>, Failure> {
        let mut check = self.connection.prepare(&format!("PRAGMA integrity_check({most})"))?;
        let found = check.query_map([], |row| row.get::<_, String>(0))?;
        let mut faults = found.collect::<Result<Vec<_>, _>>()?;
        faults.retain(|fault| fault != "ok");
        let mut check = self.connection.prepare("PRAGMA foreign_key_check")?;
        let dangling = check.query_map([], |row| row.get::<_, String>(0))?;
        for table in dangling.take(most.saturating_sub(faults.len())) {
            faults.push(format!("a row of {} refers to a key that is not there", table?));
        }
        Ok(faults)
    }

    /// Settles which versions of the root key are in use.
    ///
    /// # Errors
    /// When the root key is not the one that belongs to the database, or that cannot be read.
    pub fn settle(&self, root_key: &RootKey) -> Result<(), OpenError> {
        let known = root_key::known(&self.connection, root_key).map_err(|why| why.at(&self.path))?;
        Ok(root_key.settle(&known)?)
    }

    /// At most so many entries of the ledger after a sequence number.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ledger_entries(&self, after: i64, limit: usize) -> Result<Vec<LedgerEntry>, StoreError> {
        Ok(ledger::entries(&self.connection, after, limit)?)
    }

    /// Every signing key.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError> {
        Ok(signing_key::all(&self.connection)?)
    }

    /// Gives every key, in the order of client ids.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn each_key(&self, take: impl FnMut(ApiKey)) -> Result<(), StoreError> {
        Ok(load::each_key(&self.connection, take)?)
    }
}
