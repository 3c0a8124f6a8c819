//! Sealed bytes by name, such as the private key of the server's own authority.

use rusqlite::{Connection, OptionalExtension, params};

use super::{failure::Failure, rows::Columns};

pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let mut select = connection.prepare_cached("SELECT bytes FROM sealed WHERE name = ?1")?;
    let found = select
        .query_row([name], |row| Ok(Columns::new("sealed", row).bytes(0).map(<[u8]>::to_vec)))
        .optional()?;
    found.transpose()
}

pub(super) fn put(connection: &Connection, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO sealed (name, bytes) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes",
        )?
        .execute(params![name, bytes])?;
    Ok(())
}
