//! Taking a backup while the server serves, or while nothing does.

use std::{
    fs::File,
    io::{self, Write},
};

use gatekey_core::{
    Caller, StoreError, Timestamp,
    ledger::{Action, NewEntry},
    operations::backup::{Passphrase, Sealer},
};
use tokio::task;

use crate::App;

/// A copy of the store, about to be written down.
pub struct Backup {
    sealer: Sealer,
    copy: File,
    length: u64,
}

impl Backup {
    /// Enters into the ledger that a backup is taken, and takes a copy of the store: the entry, and all that was
    /// acknowledged before, are in it.
    ///
    /// # Errors
    /// When the entry cannot be made or the store cannot be copied.
    pub async fn take(
        app: &App,
        caller: &Caller,
        passphrase: Option<Passphrase>,
    ) -> Result<Self, StoreError> {
        let now = app.env.now();
        let action = Action::StoreBackUp { has_passphrase: passphrase.is_some() };
        app.store.append_entry(NewEntry::new(now, caller, action, "store")).await?;
        let copy = app.store.snapshot().await?;
        let app = app.clone();
        let prepared = task::spawn_blocking(move || {
            let version = env!("CARGO_PKG_VERSION");
            let sealer = Sealer::new(&app.root_key, passphrase.as_ref(), &app.env, now, version);
            let length = sealer.sealed_length(copy.metadata()?.len());
            Ok::<_, io::Error>(Self { sealer, copy, length })
        });
        prepared
            .await
            .map_err(|ended| StoreError::Unavailable(Box::new(ended)))?
            .map_err(|error| StoreError::Unavailable(Box::new(error)))
    }

    /// Bytes that [`Self::write`] will write.
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
    /// When reading the copy or writing fails.
    pub fn write(mut self, output: &mut impl Write) -> io::Result<()> {
        self.sealer.seal(&mut self.copy, output)
    }
}
