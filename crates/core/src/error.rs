//! [`Error`]: why a use case was refused or failed.

use std::time::Duration;

use gatekey_credentials::{ClientId, role::UnknownRole};

use crate::store::StoreError;

/// A field of a request that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field's name in the request.
    pub field: &'static str,
    /// The rule, as a clause that follows the field's name: "must not be empty".
    pub rule: String,
}

/// The kind of an object that a request names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    ApiKey,
    /// A secret of a key.
    Secret {
        client_id: ClientId,
    },
    /// A policy of the public API. Each is named after a role.
    Policy,
    /// A role of the public API.
    Role,
    /// A policy that a key holds.
    Assignment {
        client_id: ClientId,
    },
    SigningKey,
    RootKeyVersion,
}

impl Kind {
    fn absence(&self, id: &str) -> String {
        match self {
            Self::ApiKey => format!("API key {id} does not exist"),
            Self::Secret { client_id } => format!("API key {client_id} has no secret {id}"),
            Self::Policy => format!("policy {id} does not exist; {UnknownRole}"),
            Self::Role => format!("role {id} does not exist; {UnknownRole}"),
            Self::Assignment { client_id } => {
                format!("API key {client_id} does not hold the policy {id}")
            }
            Self::SigningKey => format!("signing key {id} does not exist"),
            Self::RootKeyVersion => format!("the database knows no version {id} of the root key"),
        }
    }
}

/// Why a use case was refused or failed. The text is for the caller, the source for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fields of the request break rules; all of them at once.
    #[error("invalid argument: {}", violations(.0))]
    Invalid(Vec<Violation>),
    #[error("{}", .kind.absence(.id))]
    NotFound { kind: Kind, id: String },
    /// Another key has that client id.
    #[error("API key {0} already exists; choose another name, or delete that key first")]
    AlreadyExists(ClientId),
    /// The object is in the wrong state.
    #[error("{0}")]
    Precondition(String),
    /// The caller's role does not allow it, or the organization is not served.
    #[error("permission denied: {0}")]
    Forbidden(String),
    /// The caller has to wait; the same call may succeed later.
    #[error("{reason}; try again in {} s", .retry_after.as_secs())]
    TooManyRequests {
        /// A clause.
        reason: String,
        /// Whole seconds, at least one.
        retry_after: Duration,
    },
    /// The store cannot be reached or written; the same call may succeed later.
    #[error("the store is unavailable, try again")]
    Unavailable(#[source] StoreError),
    /// Rows were changed without the root key. The text says which, and what to do.
    #[error("{0}")]
    Tampered(String),
    /// A fault of the server.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// A field that breaks a rule.
    pub fn invalid(field: &'static str, rule: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { field, rule: rule.into() }])
    }

    pub fn not_found(kind: Kind, id: &impl ToString) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }
}

/// Names the way out, because the key may be the caller's only one.
const LAST_ADMIN: &str = "this is the last admin key that works, and no key could manage the \
     others; create another admin key first, or run `gatekey init` on the server";

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Unreadable(_) => Self::Unavailable(error),
            StoreError::LastAdmin => Self::Precondition(LAST_ADMIN.to_owned()),
            StoreError::Tampered(what) => Self::Tampered(what),
            StoreError::Conflict | StoreError::Corrupt(_) => Self::Internal(Box::new(error)),
        }
    }
}

fn violations(violations: &[Violation]) -> String {
    let list: Vec<_> = violations.iter().map(|v| format!("{} {}", v.field, v.rule)).collect();
    list.join("; ")
}
