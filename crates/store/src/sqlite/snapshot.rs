//! Copies a database while it is in use.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use gatekey_core::StoreError;
use rusqlite::OpenFlags;

use super::connection;
use crate::sql::failure::Failure;

/// Follows the database's name in the name of a copy, until the copy is unlinked.
const SUFFIX: &str = ".snapshot-";

/// Copies a database into an unlinked file.
pub(super) fn take(database: &Path) -> Result<File, StoreError> {
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    let number = TAKEN.fetch_add(1, Ordering::Relaxed);
    let mut name = database.as_os_str().to_owned();
    name.push(format!("{SUFFIX}{number}"));
    let copy = PathBuf::from(name);
    let taken = copy_to(database, &copy);
    // Unlinked at once: even if the process is killed, no copy remains.
    let removed = fs::remove_file(&copy);
    let file = taken?;
    removed.map_err(unavailable)?;
    Ok(file)
}

fn copy_to(database: &Path, copy: &Path) -> Result<File, StoreError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(copy).map_err(unavailable)?;
    let copied =
        connection::open(database, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
            // Reads in one transaction. Unlike a copy of the pages, it omits deleted data.
            let path =
                copy.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(copy.to_owned()))?;
            connection.execute("VACUUM INTO ?1", [path])
        });
    copied.map_err(|error| StoreError::from(Failure::from(error)))?;
    Ok(file)
}

/// Removes copies that a process left when it was killed.
pub(super) fn clean(database: &Path) -> io::Result<()> {
    let Some(directory) = database.parent() else { return Ok(()) };
    let mut prefix = database.file_name().unwrap_or_default().to_owned();
    prefix.push(SUFFIX);
    for file in fs::read_dir(directory)? {
        let file = file?;
        if file.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            fs::remove_file(file.path())?;
        }
    }
    Ok(())
}

fn unavailable(error: io::Error) -> StoreError {
    StoreError::Unavailable(Box::new(error))
}
