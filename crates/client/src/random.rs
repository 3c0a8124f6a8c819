//! Randomness for request ids and retries. No secret is derived from it.

use std::time::Duration;

#[expect(
    clippy::disallowed_methods,
    reason = "the client's only source of randomness; no secret is derived from it"
)]
fn bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("the operating system's random generator does not fail");
    bytes
}

/// Creates a request id: a UUID version 4 (RFC 9562 section 5.4), as Union's clients send.
pub(crate) fn request_id() -> String {
    let mut number = u128::from_be_bytes(bytes());
    number = number & !(0xf << 76) | 0x4 << 76;
    number = number & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{number:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Returns a random duration from half of `longest` to `longest`, so that clients that failed at
/// the same time do not retry at the same time.
pub(crate) fn jittered(longest: Duration) -> Duration {
    let [high, low, ..] = bytes();
    let share = f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX);
    longest.mul_f64(0.5 + share / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_version_4_and_differ() {
        let (one, two) = (request_id(), request_id());
        assert_ne!(one, two);
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes()[14], b'4');
        assert!(matches!(one.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }

    #[test]
    fn a_jittered_pause_is_at_least_half() {
        for _ in 0..100 {
            let wait = jittered(Duration::from_secs(2));
            assert!((Duration::from_secs(1)..=Duration::from_secs(2)).contains(&wait), "{wait:?}");
        }
    }
}
