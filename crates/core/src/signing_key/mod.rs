//! The keys that sign tokens.

mod ring;

pub use ring::{KeyRing, KeyRingError, MAX_TOKEN_LIFETIME, open};
