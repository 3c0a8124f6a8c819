//! [`OperationError`]: why an operation was refused or failed.

use serde::{Deserialize, Serialize};

use crate::{
    Error, StoreError,
    ledger::{ArchiveError, LedgerFault},
    root_key::RootKeyError,
    signing_key::SigningKeyError,
};

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error(transparent)]
    Refused(#[from] Error),
    #[error(transparent)]
    SigningKey(#[from] SigningKeyError),
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    #[error(transparent)]
    Ledger(#[from] LedgerFault),
    /// Stored rows do not match their seals.
    #[error("the ledger is intact, but {0}")]
    Seal(String),
    /// The store does not match its seal, and the ledger may not be intact either.
    #[error("{0}")]
    Unsealed(String),
    /// An archive of the ledger was refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A backup could not be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// The kind of an [`OperationError`], which decides the exit code of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    AlreadyExists,
    NotFound,
    /// An argument is invalid, or the object is in the wrong state.
    Invalid,
    Unavailable,
    /// The ledger's chain is broken, or rows do not match their seals.
    BrokenLedger,
    Failed,
}

impl OperationError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(error) => match error {
                Error::AlreadyExists(_) => ErrorKind::AlreadyExists,
                Error::NotFound { .. } => ErrorKind::NotFound,
                Error::Invalid(_) | Error::Precondition(_) => ErrorKind::Invalid,
                Error::Unavailable(_) | Error::TooManyRequests { .. } => ErrorKind::Unavailable,
                Error::Tampered(_) => ErrorKind::BrokenLedger,
                Error::Forbidden(_) | Error::Internal(_) => ErrorKind::Failed,
            },
            Self::SigningKey(SigningKeyError::NextExists(_)) => ErrorKind::Invalid,
            Self::SigningKey(_)
            | Self::RootKey(_)
            | Self::Ledger(LedgerFault::Store(_))
            | Self::Store(_)
            | Self::Io(_) => ErrorKind::Failed,
            Self::Archive(ArchiveError::MissingRootKey(_) | ArchiveError::AnotherRootKey) => {
                ErrorKind::Invalid
            }
            Self::Ledger(_) | Self::Seal(_) | Self::Unsealed(_) | Self::Archive(_) => {
                ErrorKind::BrokenLedger
            }
        }
    }
}
