//! Makes a database file of everything that another database has.

use std::{
    fs::{self, File},
    path::Path,
};

use rusqlite::Connection;

use super::{OpenError, open};
use crate::sql::{access::Sql, copy::copy, failure::Failure};

/// Copies everything into a new file at `path`, which is then unlinked.
pub(crate) fn take(path: &Path, from: &dyn Sql) -> Result<File, Failure> {
    let made = make(path, from);
    let file = made.and_then(|()| File::open(path).map_err(failed));
    let removed = fs::remove_file(path);
    let file = file?;
    removed.map_err(failed)?;
    Ok(file)
}

fn make(path: &Path, from: &dyn Sql) -> Result<(), Failure> {
    let connection = open::open(path).map_err(|error| match error {
        OpenError::Sqlite { source, .. } => source.into(),
        error => Failure::Corrupt(error.to_string()),
    })?;
    // One file, without a log beside it.
    connection.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    without_gap_check(&connection, || copy(from, &connection))?;
    Ok(connection.execute_batch("COMMIT")?)
}

/// The entries of a ledger whose beginning is archived do not begin at 1.
fn without_gap_check(
    connection: &Connection,
    work: impl FnOnce() -> Result<(), Failure>,
) -> Result<(), Failure> {
    let select = "SELECT sql FROM sqlite_schema WHERE name = 'ledger_has_no_gaps'";
    let trigger: String = connection.query_row(select, [], |row| row.get(0))?;
    connection.execute_batch("DROP TRIGGER ledger_has_no_gaps")?;
    work()?;
    Ok(connection.execute_batch(&trigger)?)
}

fn failed(error: std::io::Error) -> Failure {
    Failure::Io(error)
}
