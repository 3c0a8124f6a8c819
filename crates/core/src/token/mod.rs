//! Access tokens: authenticate a key, then issue, verify, introspect and revoke its tokens.

mod admit;
mod authenticate;
mod denied;
mod error;
mod issue;
mod own_changes;
mod persona;
mod remember;
mod remembered;
mod revoke;
mod settings;
mod throttle;
mod upstream;
mod use_cases;
mod verify;

pub use admit::Limited;
pub use authenticate::{AuthenticatedKey, FailedAuthentication, FailureCause};
pub use denied::{Denials, DeniedToken, Revocation, Revoked};
pub use error::{TokenError, TokenRefusal};
pub use issue::IssuedToken;
pub use own_changes::TooManyChanges;
pub use persona::{CLIENT_ID_PLACEHOLDER, PersonClaims, Persona};
pub use revoke::MAX_DENIALS;
pub use settings::TokenSettings;
pub use upstream::{MAX_UPSTREAM_LIFETIME, UpstreamToken};
pub use use_cases::{TokenParts, Tokens};
pub use verify::VerifiedToken;
