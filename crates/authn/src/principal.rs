//! [`Principal`]: the caller of a request.

use gatekey_core::token::{TokenRefusal, VerifiedToken};

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
    /// The credential was refused.
    Refused(Refusal),
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
    Token(#[from] TokenRefusal),
}

impl Principal {
    /// Returns the key that calls.
    ///
    /// # Errors
    /// Why there is none, as a clause for the caller.
    pub fn key(&self) -> Result<&VerifiedToken, String> {
        match self {
            Self::Key(token) => Ok(token),
            Self::Nobody => Err("no credential was sent".to_owned()),
            Self::Refused(refusal) => Err(refusal.to_string()),
        }
    }
}
