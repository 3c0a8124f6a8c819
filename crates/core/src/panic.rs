//! [`text`]: what a panic says, for the log.

use std::any::Any;

use gatekey_credentials::detection::holds_credential;

/// As many characters of a panic's message as are logged.
const LONGEST: usize = 1000;

/// What a panic says, at most 1,000 characters of it; a mark in its place where it holds a secret or a token, because a
/// failed `expect` prints whatever it was given.
///
/// ```
/// let panic = std::panic::catch_unwind(|| panic!("a fault")).unwrap_err();
/// assert_eq!(gatekey_core::panic::text(&*panic), "a fault");
/// ```
pub fn text(payload: &(dyn Any + Send)) -> String {
    let said = payload.downcast_ref::<&str>().copied();
    let said = said.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    if holds_credential(said) {
        return "[credential]".to_owned();
    }
    said.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use gatekey_credentials::Secret;

    use super::*;

    #[test]
    fn a_panic_message_contains_no_credential() {
        let secret = Secret::from_random(&[7; 23]).expose().to_owned();
        let encoded = BASE64_STANDARD.encode(format!("keys.example.com:ci:{secret}:None"));
        let before = "x".repeat(2 * LONGEST);
        for credential in [secret, encoded, "eyJhbGciOiJFUzI1NiJ9.e30.c2ln".to_owned()] {
            let said: String = format!("{before} called `unwrap()` on {credential:?}");
            assert_eq!(text(&said), "[credential]");
            let said: &'static str = said.leak();
            assert_eq!(text(&said), "[credential]");
        }
        assert_eq!(text(&before).len(), LONGEST);
        assert_eq!(text(&7), "no message");
    }
}
