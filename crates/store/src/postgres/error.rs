//! [`PostgresError`]: why a statement failed on PostgreSQL, and what follows from it.

use std::time::Duration;

use gatekey_core::StoreError;
use tokio_postgres::error::{DbError, SqlState};

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostgresError {
    /// The server refused it.
    #[error("{}", described(.0))]
    Refused(Box<DbError>),
    /// The connection failed, or could not be made.
    #[error("the connection to PostgreSQL failed: {}", source_of(.0))]
    Failed(#[source] tokio_postgres::Error),
    #[error("PostgreSQL did not answer within {} seconds", .0.as_secs())]
    TimedOut(Duration),
    /// A commit may or may not have taken effect.
    #[error("the connection to PostgreSQL failed during a commit")]
    Unknown,
    /// A commit took effect on the server alone, and can be lost with it.
    #[error("PostgreSQL committed without the standby that it waits for")]
    NotReplicated,
    /// The server ended a transaction that was to be committed.
    #[error("PostgreSQL rolled the transaction back")]
    RolledBack,
    /// Another server writes to the database.
    #[error("another server uses the database: {0}")]
    Displaced(String),
    /// The server cannot be used, for a reason that a retry does not change.
    #[error("{0}")]
    Unusable(String),
    #[error("{0}")]
    Io(std::io::Error),
}

impl PostgresError {
    /// Whether the connection must be replaced: after every error but a violated constraint, it can
    /// be in any state.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Self::Refused(error) => !error.code().code().starts_with("23"),
            Self::Failed(_)
            | Self::TimedOut(_)
            | Self::Unknown
            | Self::NotReplicated
            | Self::RolledBack
            | Self::Displaced(_)
            | Self::Unusable(_)
            | Self::Io(_) => true,
        }
    }

    /// Whether another connection may succeed: the server was lost, is ending or starting, is no
    /// longer the primary, or has no connection left.
    pub(crate) fn is_of_connection(&self) -> bool {
        match self {
            Self::Failed(_) | Self::TimedOut(_) | Self::Io(_) => true,
            Self::Refused(error) => {
                let code = error.code().code();
                matches!(code.get(..2), Some("08" | "53"))
                    || matches!(code, "25006" | "57P01" | "57P02" | "57P03" | "25P03")
            }
            Self::Unknown
            | Self::NotReplicated
            | Self::RolledBack
            | Self::Displaced(_)
            | Self::Unusable(_) => false,
        }
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refused) => Self::Refused(Box::new(refused.clone())),
            None => Self::Failed(error),
        }
    }
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        let PostgresError::Refused(refused) = &error else {
            return Self::Unavailable(Box::new(error));
        };
        match refused.code() {
            &SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED => {
                Self::Unreadable(described(refused))
            }
            // A value, name or statement that does not fit the schema: a retry would not help.
            code if matches!(code.code().get(..2), Some("22" | "42")) => {
                Self::Corrupt(described(refused))
            }
            // The same call may succeed later.
            _ => Self::Unavailable(Box::new(error)),
        }
    }
}

/// The message of the server, without the values of rows that its details can quote.
fn described(error: &DbError) -> String {
    format!("{} (PostgreSQL's code {})", error.message(), error.code().code())
}

/// The innermost reason: the outer ones only say that there is one.
fn source_of(error: &tokio_postgres::Error) -> String {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
