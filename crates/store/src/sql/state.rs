//! The stored state of all seals.

use gatekey_core::seal::{SealKey, SealKeys, State};

use super::{
    access::{Sql, one, optional, values},
    columns::Columns,
    failure::Failure,
};

/// The key of the newest version of the root key that the database knows.
pub(crate) fn newest_key<'k>(sql: &dyn Sql, keys: &'k SealKeys) -> Result<&'k SealKey, Failure> {
    let newest = newest_root_key(sql)?;
    keys.find(newest).ok_or_else(|| unknown_root_key(newest))
}

pub(crate) fn unknown_root_key(version: u32) -> Failure {
    Failure::Corrupt(format!("version {version} of the root key was created by another process"))
}

/// The stored state; `None` if the database is not sealed.
pub(crate) fn state(sql: &dyn Sql, key: &SealKey) -> Result<Option<State>, Failure> {
    optional(sql, STATE, values![], |row| {
        let sealed = Columns::new("state", row).bytes(0)?;
        State::decrypt(key, sealed).map_err(|error| Failure::Tampered(error.to_string()))
    })
}

pub(crate) const STATE: &str = "SELECT sealed FROM state";

/// Replaces the stored state.
pub(crate) fn put_state(sql: &dyn Sql, key: &SealKey, state: &State) -> Result<(), Failure> {
    sql.execute(
        "INSERT INTO state (id, sealed) VALUES (1, ?1)
         ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
        values![&state.encrypt(key)],
    )
}

pub(crate) const NEWEST_ROOT_KEY: &str = "SELECT max(version) FROM root_key";

/// The newest version of the root key that the database knows.
fn newest_root_key(sql: &dyn Sql) -> Result<u32, Failure> {
    one(sql, NEWEST_ROOT_KEY, values![], |row| Columns::new("root_key", row).integer(0))
}
