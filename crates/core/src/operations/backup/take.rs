//! Takes a backup.

use std::{
    fs::File,
    io::{self, Write},
    sync::Arc,
};

use super::{Passphrase, Sealer};
use crate::{
    Caller, Env, RootKey, Timestamp,
    ledger::{Action, NewEntry},
    operations::{OperationError, Operations},
};

impl Operations {
    /// Records in the ledger that a backup is taken, and copies the store. The copy contains that
    /// entry, and every change that was acknowledged before.
    ///
    /// # Errors
    /// When the entry cannot be stored, or the store cannot be copied.
    pub async fn back_up(
        &self,
        caller: &Caller,
        passphrase: Option<Passphrase>,
    ) -> Result<Snapshot, OperationError> {
        let taken_at = self.env.now();
        let action = Action::StoreBackUp { has_passphrase: passphrase.is_some() };
        self.store.append_entry(NewEntry::new(taken_at, caller, action, "store")).await?;
        let copy = self.store.snapshot().await?;
        let (root_key, env) = (self.root_key.clone(), self.env.clone());
        Ok(Snapshot { copy, taken_at, passphrase, root_key, env })
    }
}

/// A copy of the store, not sealed yet.
pub struct Snapshot {
    copy: File,
    taken_at: Timestamp,
    passphrase: Option<Passphrase>,
    root_key: Arc<RootKey>,
    env: Env,
}

impl Snapshot {
    /// Derives the backup's key. Blocks for some tenths of a second if there is a passphrase.
    ///
    /// # Errors
    /// When the size of the copy cannot be read.
    pub fn seal(self) -> io::Result<Backup> {
        let version = env!("CARGO_PKG_VERSION");
        let sealer = Sealer::new(
            &self.root_key,
            self.passphrase.as_ref(),
            &self.env,
            self.taken_at,
            version,
        );
        let length = sealer.sealed_length(self.copy.metadata()?.len());
        Ok(Backup { sealer, copy: self.copy, length })
    }
}

/// A backup, ready to be written.
pub struct Backup {
    sealer: Sealer,
    copy: File,
    length: u64,
}

impl Backup {
    /// The number of bytes that [`Self::write`] will write.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// When the copy was taken.
    pub fn created_at(&self) -> Timestamp {
        self.sealer.header().created_at
    }

    /// Writes the backup. Blocks.
    ///
    /// # Errors
    /// When the copy cannot be read, or the output cannot be written.
    pub fn write(mut self, output: &mut impl Write) -> io::Result<()> {
        self.sealer.seal(&mut self.copy, output)
    }
}
