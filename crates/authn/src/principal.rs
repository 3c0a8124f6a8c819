//! [`Principal`]: the caller of a request.

use std::time::Duration;

use gatekey_core::{
    feed::Unavailable,
    token::{Limited, TokenRefusal, VerifiedToken},
};
use gatekey_credentials::encoded_credentials::InvalidEncodedCredentials;

/// The caller of a request, by its access token.
///
/// A refused credential does not end a request by itself: the login metadata must stay open to a
/// client whose token has just expired. Endpoints that need a key ask for it with [`Self::key`].
#[derive(Debug, Clone)]
pub enum Principal {
    /// No credential was sent.
    Nobody,
    /// A key, by a valid token.
    Key(VerifiedToken),
    /// A key by a valid token, which its limits do not permit to be used now.
    Limited(VerifiedToken, Limited),
    /// The credential was refused.
    Refused(Refusal),
}

/// Why no key calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    #[error("no credential was sent")]
    Nobody,
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Limited(#[from] Limited),
}

/// Why a credential was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Several credentials, which may contradict each other.
    #[error("more than one credential was sent")]
    Several,
    /// Not `Bearer` and a token (RFC 6750 section 2.1).
    #[error("the credential is not a Bearer token")]
    NotBearer,
    #[error(transparent)]
    Token(TokenRefusal),
    #[error(transparent)]
    EncodedCredentials(#[from] InvalidEncodedCredentials),
    /// Encoded credentials of another server.
    #[error("the API key is for another endpoint than this server")]
    Endpoint,
    #[error("the API key is for another organization than this server's")]
    Organization,
    /// Wrong encoded credentials, whatever the reason.
    #[error(
        "the API key is not valid: it is unknown, deleted, disabled or has expired, or its secret is wrong"
    )]
    ApiKey,
    /// Wrong encoded credentials, after too many failures from the same address.
    #[error(
        "the API key is not valid, and there were too many failures from this address; try again in {} s",
        retry_after.as_secs()
    )]
    TooManyFailures {
        /// Whole seconds, at least one.
        retry_after: Duration,
    },
    /// The key may not use the grant that its secret is for.
    #[error("this API key may not use the client_credentials grant")]
    Grant,
    /// A token of another issuer.
    #[error(transparent)]
    Foreign(gatekey_issuers::Refused),
    /// The credential cannot be checked now.
    #[error("the credential cannot be checked now, try again")]
    Unavailable,
}

impl From<TokenRefusal> for Refusal {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::CannotDecide(unavailable) => unavailable.into(),
            refusal => Self::Token(refusal),
        }
    }
}

impl From<Unavailable> for Refusal {
    fn from(unavailable: Unavailable) -> Self {
        tracing::debug!(%unavailable, "cannot decide about a credential");
        Self::Unavailable
    }
}

impl From<gatekey_issuers::Refused> for Refusal {
    fn from(refused: gatekey_issuers::Refused) -> Self {
        match refused {
            gatekey_issuers::Refused::Unavailable => Self::Unavailable,
            refused => Self::Foreign(refused),
        }
    }
}

impl Principal {
    /// Returns the key that calls.
    ///
    /// # Errors
    /// Why there is none.
    pub fn key(&self) -> Result<&VerifiedToken, NoKey> {
        match self {
            Self::Key(token) => Ok(token),
            Self::Nobody => Err(NoKey::Nobody),
            Self::Refused(refusal) => Err((*refusal).into()),
            Self::Limited(_, limited) => Err((*limited).into()),
        }
    }
}
