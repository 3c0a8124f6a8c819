//! Connections and their settings.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

/// How long a connection waits for another process, such as a backup, before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
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
    Ok(connection)
}

/// Opens a database without touching it, but for what every connection sets for itself.
pub(super) fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Sorting in memory: what a list sorts is bounded, and nothing of a key belongs into /tmp.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// What only the writing connection sets. FULL: an acknowledged change survives a power cut.
pub(super) fn set_up_to_write(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")
}
