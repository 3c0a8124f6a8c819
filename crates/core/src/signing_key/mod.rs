//! The keys that sign tokens.

mod ring;
mod sealed;
mod use_cases;

pub use ring::{KeyRing, UnusableSigningKey, open};
pub use sealed::{SealedSigningKey, SigningKeyRetired, retire, rotate};
pub use use_cases::{MAX_TOKEN_LIFETIME, SigningKeyError, SigningKeyFacts, SigningKeys};
