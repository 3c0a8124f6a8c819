//! [`panic_message`]: the message of a panic, for the log.

use std::any::Any;

use gatekey_credentials::detection::holds_credential;

use crate::redact::REDACTED;

/// The longest logged message, in characters.
const MAX_LENGTH: usize = 1000;

/// Returns the message of a panic, truncated to 1,000 characters, or a placeholder if it contains a
/// secret or a token: a failed `expect` prints the value that it was given.
///
/// ```
/// use gatekey_core::panic_message;
///
/// let panic = std::panic::catch_unwind(|| panic!("a fault")).unwrap_err();
/// assert_eq!(panic_message(&*panic), "a fault");
/// ```
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let message = payload.downcast_ref::<&str>().copied();
    let message = message.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("no message");
    if holds_credential(message) {
        return REDACTED.to_owned();
    }
    message.chars().take(MAX_LENGTH).collect()
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
        let before = "x".repeat(2 * MAX_LENGTH);
        for credential in [secret, encoded, "eyJhbGciOiJFUzI1NiJ9.e30.c2ln".to_owned()] {
            let message: String = format!("{before} called `unwrap()` on {credential:?}");
            assert_eq!(panic_message(&message), "[credential]");
            let message: &'static str = message.leak();
            assert_eq!(panic_message(&message), "[credential]");
        }
        assert_eq!(panic_message(&before).len(), MAX_LENGTH);
        assert_eq!(panic_message(&7), "no message");
    }
}
