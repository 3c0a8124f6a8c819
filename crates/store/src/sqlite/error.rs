//! Classifies SQLite's errors.

use gatekey_core::StoreError;
use rusqlite::ErrorCode;

/// The error for the log. The extended code distinguishes errors with the same text, such as a
/// failed write and a failed sync (<https://www.sqlite.org/rescode.html>).
pub(crate) fn cause(error: &rusqlite::Error) -> String {
    match error.sqlite_error() {
        Some(code) => format!("{error} (SQLite's code {})", code.extended_code),
        None => error.to_string(),
    }
}

/// Whether the connection may now have a broken file handle or a stale view of the file.
pub(crate) fn spoils_connection(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::ReadOnly
                | ErrorCode::ApiMisuse
                | ErrorCode::InternalMalfunction
        )
    )
}

/// The error of a call that failed with an error of SQLite.
pub(crate) fn store_error(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        // The same call may succeed later.
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::OutOfMemory
            | ErrorCode::ReadOnly
            | ErrorCode::OperationAborted
            | ErrorCode::OperationInterrupted
            | ErrorCode::PermissionDenied
            | ErrorCode::SystemIoFailure
            | ErrorCode::DiskFull
            | ErrorCode::CannotOpen
            | ErrorCode::FileLockingProtocolFailed,
        ) => StoreError::Unavailable(Box::new(error)),
        // A damaged page, or one that the disk cannot read (EIO): `unixRead` turns that into
        // SQLITE_IOERR_CORRUPTFS, which SQLite reports as SQLITE_CORRUPT.
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Unreadable(cause(&error)),
        // A retry would not help: the file is not a database, or violates the schema.
        Some(_) | None => StoreError::Corrupt(error.to_string()),
    }
}
