//! [`Failure`] and [`CommitFailed`]: why a call failed, before it becomes a [`StoreError`].

use std::sync::Arc;

use gatekey_core::StoreError;
use rusqlite::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the client id is taken")]
    Conflict,
    #[error("no usable admin key would be left")]
    LastAdmin,
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// Rows were changed without the root key.
    #[error("{0}")]
    Tampered(String),
    /// The database contains something that this program cannot read.
    #[error("{0}")]
    Corrupt(String),
    /// The code of the call panicked. The panic itself is in the log.
    #[error("internal error in the store; the call had no effect")]
    Panicked,
}

impl Failure {
    /// Whether the connection must be replaced.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Self::Sqlite(error) => spoils_connection(error),
            Self::Panicked => true,
            Self::Conflict | Self::LastAdmin | Self::Tampered(_) | Self::Corrupt(_) => false,
        }
    }
}

/// The transaction of a call was not committed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the change was not committed: {0}")]
pub(super) struct CommitFailed(Arc<str>);

impl From<&Failure> for CommitFailed {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Sqlite(error) => error.into(),
            Failure::Conflict
            | Failure::LastAdmin
            | Failure::Tampered(_)
            | Failure::Corrupt(_)
            | Failure::Panicked => Self(failure.to_string().into()),
        }
    }
}

impl From<&rusqlite::Error> for CommitFailed {
    fn from(error: &rusqlite::Error) -> Self {
        Self(cause(error).into())
    }
}

impl From<CommitFailed> for StoreError {
    fn from(failed: CommitFailed) -> Self {
        Self::Unavailable(Box::new(failed))
    }
}

/// The error for the log. The extended code distinguishes errors with the same text, such as a
/// failed write and a failed sync (<https://www.sqlite.org/rescode.html>).
fn cause(error: &rusqlite::Error) -> String {
    match error.sqlite_error() {
        Some(code) => format!("{error} (SQLite's code {})", code.extended_code),
        None => error.to_string(),
    }
}

/// Whether the connection may now have a broken file handle or a stale view of the file.
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
            Failure::LastAdmin => Self::LastAdmin,
            Failure::Tampered(what) => Self::Tampered(what),
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
                // A damaged page, or one that the disk cannot read (EIO): `unixRead` turns that
                // into SQLITE_IOERR_CORRUPTFS, which SQLite reports as SQLITE_CORRUPT.
                Some(ErrorCode::DatabaseCorrupt) => Self::Unreadable(cause(&error)),
                // A retry would not help: the file is not a database, or violates the schema.
                Some(_) | None => Self::Corrupt(error.to_string()),
            },
        }
    }
}
