//! The keys that sign tokens.

mod ring;
mod sealed;

pub use ring::{KeyRing, KeyRingError, MAX_TOKEN_LIFETIME, open};
pub use sealed::{SealedSigningKey, SigningKeyRetired, retire, rotate};
