//! Connections and their settings.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig, functions::FunctionFlags};

/// How long a connection waits for a lock that another process holds, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages in the log before a checkpoint moves them into the file: 16 MiB. Four times SQLite's
/// default: each checkpoint costs two more fsyncs, and moves a page once however often it changed.
const LOG_PAGES: i64 = 4000;
/// More than the fixed statements; the filters of lists make further ones.
const CACHED_STATEMENTS: usize = 64;

/// Opens an existing database to write.
pub(super) fn open_to_write(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    set_up_to_write(&connection)?;
    Ok(connection)
}

/// Opens an existing database to read.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // Half of the default: there are several readers, and the kernel caches the file too.
    connection.pragma_update(None, "cache_size", -1024)?;
    define_lower_case(&connection)?;
    Ok(connection)
}

/// Opens a database without changing it. The settings apply to the connection only.
pub(super) fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Plans independent of values: otherwise SQLite, built with STAT4, compiles a statement again
    // for each new value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Sorts in memory: the size of a sort is bounded, and key data must not reach /tmp.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Applies the settings of the writing connection. With FULL, an acknowledged change survives a
/// power cut.
pub(super) fn set_up_to_write(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // For lists, which the writing connection reads again if rows seem to be changed.
    define_lower_case(connection)?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)
}

/// Pages kept while everything is read once, each page once: 256 KiB.
const ONCE_CACHE: i64 = -256;
/// SQLite's default, 2 MiB.
const CACHE: i64 = -2000;

/// Reads everything. Its pages do not stay in memory: they would be a tenth of an idle server's.
pub(super) fn read_once<T, E: From<rusqlite::Error>>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    connection.pragma_update(None, "cache_size", ONCE_CACHE)?;
    let read = work(connection);
    connection.pragma_update(None, "cache_size", CACHE)?;
    read
}

/// The SQL function that converts text to lower case by Unicode's rules. SQLite's `lower` only
/// converts ASCII.
pub(super) const LOWER_CASE: &str = "gatekey_lower_case";

/// Adds the function [`LOWER_CASE`] to a connection.
pub(super) fn define_lower_case(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_DIRECTONLY;
    connection.create_scalar_function(LOWER_CASE, 1, flags, |call| {
        Ok(call.get_raw(0).as_str()?.to_lowercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::open;

    #[test]
    fn a_reopened_writing_connection_still_syncs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gatekey.db");
        for connection in [open::open(&path).unwrap(), open_to_write(&path).unwrap()] {
            let number = |pragma: &str| -> i64 {
                connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap()
            };
            assert_eq!((number("synchronous"), number("foreign_keys")), (2, 1), "2 is FULL");
            assert_eq!((number("busy_timeout"), number("wal_autocheckpoint")), (5000, LOG_PAGES));
            let mode: String =
                connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn a_reading_connection_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gatekey.db");
        let _writer = open::open(&path).unwrap();
        let reader = open_to_read(&path).unwrap();
        assert!(reader.execute("DELETE FROM api_key", []).is_err());
    }
}
