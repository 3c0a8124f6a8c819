//! [`Refused`]: why a token of another issuer is refused.

use gatekey_credentials::jwt::InvalidToken;

/// Why a token of another issuer is refused. The message never repeats the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Invalid(#[from] InvalidToken),
    #[error("the token's type is not that of an access token")]
    Type,
    #[error("the token is signed with an algorithm that its issuer may not use")]
    Algorithm,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token was issued to a client that may not call")]
    AuthorizedParty,
    #[error("the token has no subject, or one with characters that are not allowed")]
    Subject,
    /// Of RFC 9449 or RFC 8705: whoever has the token alone must not use it.
    #[error("the token is bound to a key, and its possession was not proven")]
    Bound,
    /// The issuer's keys could not be fetched.
    #[error("the keys of the token's issuer are not available, try again")]
    Unavailable,
}
