//! The root key: the one key outside the database, in its versions, and the keys derived from it.
//!
//! HKDF-SHA-256 (RFC 5869) derives one key per purpose. If the root key lies beside the database,
//! it protects a stolen database file, not a stolen directory.
//!
//! [`RootKeys::rotate`] creates a newer version, because the root key is old or may have leaked.
//! The newest version that the store knows hashes, seals and links; older ones verify the secrets
//! that were hashed under them, until [`RootKeys::retire`]. A rotation changes the file, then the
//! store, then the memory. If it fails in between, the store's rows decide which version is in use,
//! and the file contains that version.

mod derived;
mod file;
mod key;
mod sealing;
mod secret_hash;
mod stored;
mod use_cases;
mod versions;

pub use file::{FileError, InvalidRootKeyFile, RootKeyFile, RootKeyVersions};
pub use key::RootKey;
pub use sealing::CannotOpen;
pub use secret_hash::SecretHash;
pub use stored::{Rehash, Reseal, RootKeyRetired, RootKeyRotation, SHOWN_KEYS, StoredRootKey};
pub use use_cases::{Retired, RootKeyError, RootKeyFacts, RootKeyState, RootKeys, Rotated};
pub use versions::RootKeyMismatch;

/// Length of a root key in bytes.
pub const LENGTH: usize = 32;
