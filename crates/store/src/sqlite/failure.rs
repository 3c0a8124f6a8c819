//! [`Failure`]: what can go wrong inside the store, before it is a [`StoreError`].

use gatekey_core::StoreError;
use rusqlite::ErrorCode;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The client id is taken.
    #[error("the client id is taken")]
    Conflict,
    /// SQLite refused or could not.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The database holds what this program cannot read.
    #[error("{0}")]
    Corrupt(String),
    /// The code that ran the call panicked, which was logged by the panic itself.
    #[error("the store failed inside; the call was not carried out")]
    Panicked,
}

impl Failure {
    /// Whether the connection that met it is better replaced.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Self::Sqlite(error) => spoils_connection(error),
            Self::Panicked => true,
            Self::Conflict | Self::Corrupt(_) => false,
        }
    }
}

/// What the log is to say of an error. The number tells apart what the words do not, such as a failed write and a
/// failed sync (<https://www.sqlite.org/rescode.html>).
pub(super) fn cause(error: &rusqlite::Error) -> String {
    match error.sqlite_error() {
        Some(code) => format!("{error} (SQLite's code {})", code.extended_code),
        None => error.to_string(),
    }
}

/// Whether a connection that met the error may hold on to a broken file handle or a stale view of the file.
pub(super) fn spoils_connection(error: &rusqlite::Error) -> bool {
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

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict => Self::Conflict,
            Failure::Corrupt(what) => Self::Corrupt(what),
            Failure::Panicked => Self::Unavailable(Box::new(failure)),
            Failure::Sqlite(error) => match error.sqlite_error_code() {
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
                ) => Self::Unavailable(Box::new(error)),
                // SQLite says so of a damaged page, and of one that the disk cannot read (EIO) as well: `unixRead`
                // makes SQLITE_IOERR_CORRUPTFS of it, and that becomes SQLITE_CORRUPT before anybody is told.
                Some(ErrorCode::DatabaseCorrupt) => Self::Unreadable(cause(&error)),
                // It will not: what the file holds is no database, or breaks a rule of the schema.
                Some(_) | None => Self::Corrupt(error.to_string()),
            },
        }
    }
}
