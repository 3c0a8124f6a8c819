//! [`Failure`] and [`CommitFailed`]: why a call failed, before it becomes a [`StoreError`].

use std::sync::Arc;

use gatekey_core::StoreError;

use crate::{postgres::error::PostgresError, sqlite::error as sqlite};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the client id is taken")]
    Conflict,
    #[error("no usable admin key would be left")]
    LastAdmin,
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A file beside the database could not be written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
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
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Self::Sqlite(error) => sqlite::spoils_connection(error),
            Self::Postgres(error) => error.spoils_connection(),
            Self::Panicked => true,
            Self::Io(_)
            | Self::Conflict
            | Self::LastAdmin
            | Self::Tampered(_)
            | Self::Corrupt(_) => false,
        }
    }
}

/// The transaction of a call was not committed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the change was not committed: {0}")]
pub(crate) struct CommitFailed(Arc<str>);

impl From<&Failure> for CommitFailed {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Sqlite(error) => Self(sqlite::cause(error).into()),
            Failure::Conflict
            | Failure::LastAdmin
            | Failure::Tampered(_)
            | Failure::Corrupt(_)
            | Failure::Io(_)
            | Failure::Postgres(_)
            | Failure::Panicked => Self(failure.to_string().into()),
        }
    }
}

impl From<CommitFailed> for StoreError {
    fn from(failed: CommitFailed) -> Self {
        Self::Unavailable(Box::new(failed))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Conflict => Self::Conflict,
            Failure::LastAdmin => Self::LastAdmin,
            Failure::Tampered(what) => Self::Tampered(what),
            Failure::Corrupt(what) => Self::Corrupt(what),
            Failure::Panicked | Failure::Io(_) => Self::Unavailable(Box::new(failure)),
            Failure::Sqlite(error) => sqlite::store_error(error),
            Failure::Postgres(error) => error.into(),
        }
    }
}
