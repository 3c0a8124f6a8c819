//! The id of a request: the caller's, or a random one.

use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use gatekey_core::Env;
use gatekey_credentials::detection::holds_credential;

/// The header that carries the id, in requests and responses.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken over from a caller, in bytes. A UUID has 36.
const MAX_LENGTH: usize = 64;

/// Returns the caller's id, if it is usable: short, without characters that a log has to escape,
/// and no credential.
pub(super) fn of(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let usable = (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(is_plain);
    (usable && !holds_credential(id)).then(|| id.to_owned())
}

/// Letters, digits, and what separates the parts of common ids.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.:/+=~@".contains(&byte)
}

/// Bytes of an id.
const BYTES: usize = 16;
/// Ids whose bytes are drawn at once: each draw costs as much as all else about an id.
const DRAWN: usize = 64;

/// Makes ids of requests. A counter would reveal how many requests the server gets.
pub struct RequestIds {
    env: Env,
    /// Random bytes for the next ids.
    left: Mutex<Vec<u8>>,
}

impl RequestIds {
    /// Draws ids from a source of randomness.
    pub fn new(env: Env) -> Self {
        Self { env, left: Mutex::default() }
    }

    /// Returns a random id.
    pub(super) fn generate(&self) -> String {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.is_empty() {
            left.extend_from_slice(&self.env.random::<{ BYTES * DRAWN }>());
        }
        let rest = left.len() - BYTES;
        let id = BASE64_URL_SAFE_NO_PAD.encode(&left[rest..]);
        left.truncate(rest);
        id
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_are_never_repeated() {
        let ids = RequestIds::new(Env::system());
        let made: HashSet<_> = (0..3 * DRAWN).map(|_| ids.generate()).collect();
        assert_eq!(made.len(), 3 * DRAWN);
        assert!(made.iter().all(|id| id.len() == 22));
    }
}
