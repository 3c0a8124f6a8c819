//! [`Error`]: what can go wrong with a use case, with a public face and a private cause.

use gatekey_credentials::ClientId;

use crate::store::StoreError;

/// One field of a request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, as the request names it.
    pub field: &'static str,
    /// The rule, as a clause that follows the field's name: "must not be empty".
    pub rule: String,
}

/// Why a use case was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request break rules; all of them at once.
    #[error("invalid argument: {}", violations(.0))]
    Invalid(Vec<Violation>),
    /// No key has that client id.
    #[error("API key {0} does not exist")]
    NotFound(String),
    /// The key has no such secret.
    #[error("API key {client_id} has no secret {secret_id}")]
    SecretNotFound {
        /// The key that was found.
        client_id: ClientId,
        /// The secret that was not.
        secret_id: String,
    },
    /// Another key has that client id.
    #[error("API key {0} already exists; choose another name, or delete that key first")]
    AlreadyExists(ClientId),
    /// The key's state forbids it.
    #[error("{0}")]
    Precondition(String),
    /// The server does not serve that organization.
    #[error("organization {0:?} is not served here")]
    UnknownOrganization(String),
    /// The caller's role does not suffice.
    #[error("permission denied: {0}")]
    Forbidden(String),
    /// The store cannot be reached or written; the same call may succeed later.
    #[error("the store is unavailable, try again")]
    Unavailable(#[source] StoreError),
    /// A fault of ours; the cause is for the log.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// One field that breaks one rule.
    pub fn invalid(field: &'static str, rule: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { field, rule: rule.into() }])
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Unreadable(_) => Self::Unavailable(error),
            StoreError::Conflict | StoreError::Corrupt(_) => Self::Internal(Box::new(error)),
        }
    }
}

fn violations(violations: &[Violation]) -> String {
    let list: Vec<_> = violations.iter().map(|v| format!("{} {}", v.field, v.rule)).collect();
    list.join("; ")
}
