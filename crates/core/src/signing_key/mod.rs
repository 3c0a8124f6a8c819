//! The keys that sign tokens.

mod ring;
mod sealed;
mod use_cases;

pub use ring::{KeyRing, UnusableSigningKey, open};
pub use sealed::{
    SealedSigningKey, SigningKeyAdded, SigningKeyDates, SigningKeyRetired, SigningKeyState, retire,
    rotate, signing_at, states,
};
pub use use_cases::{
    JWKS_MAX_AGE, MAX_TOKEN_LIFETIME, MIN_PUBLISH_AHEAD, SigningKeyError, SigningKeyFacts,
    SigningKeyRotated, SigningKeys, Start,
};
