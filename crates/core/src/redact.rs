//! [`redact`]: sanitizes text from outside before it is logged or stored.

use gatekey_credentials::detection::holds_credential;

/// Replaces text that contains a credential: people paste credentials into the wrong fields.
pub(crate) const REDACTED: &str = "[credential]";
/// Characters scanned past the cut: more than a secret has in any encoding.
const MAX_CREDENTIAL: usize = 256;

/// Truncates `text` to `limit` characters, or redacts all of it.
///
/// Scans past the cut, so that a credential that straddles it is still found.
///
/// ```
/// use gatekey_core::redact;
///
/// assert_eq!(redact("/me/devices", 3), "/me");
/// assert_eq!(redact("/me/eyJhbGciOiJFUzI1NiJ9.e30.c2ln", 3), "[credential]");
/// ```
pub fn redact(text: &str, limit: usize) -> String {
    // A character has at least one byte, so most texts need no counting.
    let end = |length: usize| {
        if text.len() <= length {
            return text.len();
        }
        text.char_indices().nth(length).map_or(text.len(), |(at, _)| at)
    };
    if holds_credential(&text[..end(limit + MAX_CREDENTIAL)]) {
        return REDACTED.to_owned();
    }
    text[..end(limit)].to_owned()
}
