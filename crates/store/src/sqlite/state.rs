//! The seal keys in use, and the stored state of all seals.

use std::sync::{Arc, PoisonError, RwLock};

use gatekey_core::seal::{SealKey, SealKeys, State};
use rusqlite::{Connection, OptionalExtension, params};

use super::{columns::Columns, failure::Failure};

/// The seal keys of the versions in use. Shared by the writer, which adds one when the root key is
/// rotated, and the readers.
#[derive(Debug, Clone)]
pub(super) struct KeysInUse(Arc<RwLock<SealKeys>>);

impl KeysInUse {
    pub(super) fn new(keys: SealKeys) -> Self {
        Self(Arc::new(RwLock::new(keys)))
    }

    pub(super) fn get(&self) -> SealKeys {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, key: &SealKey) {
        let mut keys = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *keys = keys.with_newest(key);
    }
}

/// The key of the newest version of the root key that the database knows.
pub(super) fn newest_key<'k>(
    connection: &Connection,
    keys: &'k SealKeys,
) -> Result<&'k SealKey, Failure> {
    let newest = newest_root_key(connection)?;
    keys.find(newest).ok_or_else(|| {
        Failure::Corrupt(format!("version {newest} of the root key was created by another process"))
    })
}

/// The stored state; `None` if the database is not sealed.
pub(super) fn state(connection: &Connection, key: &SealKey) -> Result<Option<State>, Failure> {
    let mut select = connection.prepare_cached("SELECT sealed FROM state")?;
    let found = select.query_row([], |row| {
        let columns = Columns::new("state", row);
        Ok(columns.bytes(0).and_then(|sealed| {
            State::decrypt(key, sealed).map_err(|error| Failure::Tampered(error.to_string()))
        }))
    });
    found.optional()?.transpose()
}

/// Replaces the stored state.
pub(super) fn put_state(
    connection: &Connection,
    key: &SealKey,
    state: &State,
) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO state (id, sealed) VALUES (1, ?1)
             ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
        )?
        .execute(params![state.encrypt(key)])?;
    Ok(())
}

/// The newest version of the root key that the database knows.
pub(super) fn newest_root_key(connection: &Connection) -> Result<u32, Failure> {
    let mut select = connection.prepare_cached("SELECT max(version) FROM root_key")?;
    select.query_row([], |row| Ok(Columns::new("root_key", row).integer(0)))?
}
