//! [`TokenError`] and [`TokenRefusal`]: why no token is issued, and why one is refused.

use std::time::Duration;

use gatekey_credentials::jwt::InvalidToken;

use super::{Limited, TooManyChanges};
use crate::{StoreError, feed::Unavailable};

/// Why a token request was refused or failed, by the names of RFC 6749 section 5.2.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("{0}")]
    InvalidRequest(String),
    /// The key failed to authenticate, for whatever reason.
    #[error("client authentication failed")]
    InvalidClient,
    /// The key failed to authenticate, after too many failures from the same address within a
    /// minute. Not a name of the RFC, but the meaning of HTTP's 429 (RFC 6585 section 4).
    #[error(
        "client authentication failed, too often from this address: the secret was checked and is wrong, and a right \
         one is always accepted; try again in {} s",
        retry_after.as_secs()
    )]
    TooManyFailures {
        /// Whole seconds until failures are no longer throttled, at least one.
        retry_after: Duration,
        /// Whether this is the first throttled failure of the address in this minute.
        first: bool,
    },
    /// The key revokes too often. Not a name of the RFC, but the meaning of HTTP's 429.
    #[error(
        "the API key changes itself too often; try again in {} s",
        retry_after.as_secs()
    )]
    TooManyChanges {
        /// Whole seconds, at least one.
        retry_after: Duration,
    },
    /// The key's limits do not permit the use. For its network, RFC 6749 has `unauthorized_client`:
    /// the client has authenticated, and is not permitted.
    #[error(transparent)]
    Limited(#[from] Limited),
    /// The key may not use the grant, or the token was issued to another key.
    #[error("{0}")]
    UnauthorizedClient(String),
    #[error("grant_type must be client_credentials")]
    UnsupportedGrantType,
    #[error("{0}")]
    InvalidScope(String),
    /// The resource or audience is unknown (RFC 8707 section 2).
    #[error("{0}")]
    InvalidTarget(String),
    /// The state in memory is not fresh enough to decide about a credential.
    #[error("credentials cannot be checked now, try again")]
    CannotDecide,
    /// The store is unavailable; the same call may succeed later.
    #[error("the server is temporarily unavailable, try again")]
    Unavailable(#[source] StoreError),
    /// A fault of the server. The source is for the log.
    #[error("internal error")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<StoreError> for TokenError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::Unreadable(_) => Self::Unavailable(error),
            StoreError::Conflict
            | StoreError::LastAdmin
            | StoreError::Corrupt(_)
            | StoreError::Tampered(_) => Self::Internal(Box::new(error)),
        }
    }
}

impl From<Unavailable> for TokenError {
    fn from(unavailable: Unavailable) -> Self {
        tracing::debug!(%unavailable, "cannot decide about a credential");
        Self::CannotDecide
    }
}

impl From<TooManyChanges> for TokenError {
    fn from(TooManyChanges { retry_after }: TooManyChanges) -> Self {
        Self::TooManyChanges { retry_after }
    }
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenRefusal {
    /// Malformed, expired, not valid yet, or with an invalid signature.
    #[error(transparent)]
    Invalid(#[from] InvalidToken),
    #[error("the token has another issuer")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    /// Its key was deleted, is disabled or has expired, or raised its epoch.
    #[error("the token's key was deleted, disabled or rotated, or has expired")]
    Key,
    #[error("the secret that fetched the token was retired or has expired")]
    Secret,
    #[error("the token was revoked")]
    Revoked,
    /// Not a refusal: whether the token is valid cannot be decided now.
    #[error(transparent)]
    CannotDecide(#[from] Unavailable),
}

impl TokenRefusal {
    /// Whether it is possible that this server did not sign the token, but another issuer.
    pub fn may_be_of_another_issuer(self) -> bool {
        matches!(
            self,
            Self::Invalid(
                InvalidToken::Malformed | InvalidToken::UnknownKey | InvalidToken::BadSignature
            ) | Self::CannotDecide(_)
        )
    }
}
