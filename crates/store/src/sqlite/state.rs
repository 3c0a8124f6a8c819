//! The stored state of all seals.

use gatekey_core::seal::{SealKey, SealKeys, State};
use rusqlite::{Connection, OptionalExtension, params};

use super::{columns::Columns, failure::Failure};

/// The key of the newest version of the root key that the database knows.
pub(super) fn newest_key<'k>(
    connection: &Connection,
    keys: &'k SealKeys,
) -> Result<&'k SealKey, Failure> {
    let newest = newest_root_key(connection)?;
    keys.find(newest).ok_or_else(|| unknown_root_key(newest))
}

pub(super) fn unknown_root_key(version: u32) -> Failure {
    Failure::Corrupt(format!("version {version} of the root key was created by another process"))
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
fn newest_root_key(connection: &Connection) -> Result<u32, Failure> {
    let mut select = connection.prepare_cached("SELECT max(version) FROM root_key")?;
    select.query_row([], |row| Ok(Columns::new("root_key", row).integer(0)))?
}
