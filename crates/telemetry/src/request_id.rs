//! The id of a request: the caller's, or a random one.

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

/// Returns a random id. A counter would reveal how many requests the server gets.
pub(super) fn generate(env: &Env) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(env.random::<16>())
}
