//! Access tokens: authenticate a key, then issue, verify, introspect and revoke its tokens.

mod denied;
mod throttle;
mod use_cases;

pub use denied::{Denials, DeniedToken, Revocation, Revoked};
pub use use_cases::{
    AuthenticatedKey, CLOCK_ERROR, IssuedToken, MAX_DENIALS, SCOPE_ALL, TokenError, TokenPolicy,
    TokenRefusal, Tokens, VerifiedToken,
};
