//! Connections and their settings.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::list;

/// How long a connection waits for another process, such as a backup, before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages that the log gathers before they move into the file, 16 MiB of them. Four times SQLite's own number:
/// every move costs two more fsyncs, and a page that changed twice meanwhile moves once.
const LOG_PAGES: i64 = 4000;
/// Statements are few and fixed but for the filters of lists.
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
    // Half of the default: there are several readers, and the file is in the system's cache as well.
    connection.pragma_update(None, "cache_size", -1024)?;
    list::define_lower_case(&connection)?;
    Ok(connection)
}

/// Opens a database without touching it, but for what every connection sets for itself.
pub(super) fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Plans that do not depend on values: otherwise SQLite, built with STAT4, compiles a statement again for
    // every new value.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Sorting in memory: what a list sorts is bounded, and nothing of a key belongs into /tmp.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// What only the writing connection sets. FULL: an acknowledged change survives a power cut.
pub(super) fn set_up_to_write(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::open;

    #[test]
    fn a_connection_that_writes_waits_for_the_disk_also_when_it_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gatekey.db");
        for connection in [open::open(&path).unwrap(), open_to_write(&path).unwrap()] {
            let number = |pragma: &str| -> i64 {
                connection.pragma_query_value(None, pragma, |row| row.get(0)).unwrap()
            };
            assert_eq!((number("synchronous"), number("foreign_keys")), (2, 1), "2 is FULL");
            assert_eq!((number("busy_timeout"), number("wal_autocheckpoint")), (5000, LOG_PAGES));
            let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn a_connection_that_reads_cannot_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gatekey.db");
        let _writer = open::open(&path).unwrap();
        let reader = open_to_read(&path).unwrap();
        assert!(reader.execute("DELETE FROM api_key", []).is_err());
    }
}
