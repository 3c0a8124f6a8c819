//! [`Secret`] and [`PlainSecret`]: secrets of API keys.

use std::{fmt, str::FromStr};

use zeroize::Zeroizing;

/// The prefix of every secret. It must never change, because scanners search for it.
pub const PREFIX: &str = "gk_";
/// The length of a secret, in characters.
pub const LENGTH: usize = 40;
/// The number of random bytes in a secret: 184 bits.
pub const RANDOM_BYTES: usize = 23;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const BODY: usize = 31;
const CHECKSUM: usize = 6;

/// A secret that Gatekey generates: `gk_`, 31 characters of base62 that carry 184 random bits, and
/// the CRC-32 of these 34 characters as 6 characters of base62.
///
/// A secret contains only `[A-Za-z0-9_]`, so no shell quoting or decoder can change it. The type
/// has no `Display`, its `Debug` prints only the type's name, and dropping it zeroizes the text.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

/// The text is not a [`Secret`]. The message never repeats the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected gk_ and 37 letters and digits, the last six of which are a checksum")]
pub struct InvalidSecret;

impl Secret {
    /// Creates a secret from random bytes.
    pub fn from_random(random: &[u8; RANDOM_BYTES]) -> Self {
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        let mut digits = Zeroizing::new(*random);
        let mut body = Zeroizing::new([0_u8; BODY]);
        for slot in body.iter_mut().rev() {
            // One step of long division of the big-endian number in `digits` by 62.
            let mut remainder = 0_u32;
            for digit in digits.iter_mut() {
                let value = remainder << 8 | u32::from(*digit);
                *digit = u8::try_from(value / 62)
                    .expect("remainder is below 62, so the quotient is below 256");
                remainder = value % 62;
            }
            *slot = ALPHABET[remainder as usize];
        }
        text.extend(body.iter().map(|byte| char::from(*byte)));
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Self(text)
    }

    /// Returns the secret as text. The method is named `expose` so that its uses stand out.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let well_formed = text.len() == LENGTH
            && text.starts_with(PREFIX)
            && text[PREFIX.len()..].bytes().all(|byte| byte.is_ascii_alphanumeric())
            && checksum(&text[..LENGTH - CHECKSUM]) == text[LENGTH - CHECKSUM..];
        if well_formed { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(InvalidSecret) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// Returns the last six characters of a secret, computed from the others. With them, a scanner
/// recognizes a leaked secret without a request to the server.
fn checksum(text: &str) -> String {
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM];
    for slot in digits.iter_mut().rev() {
        *slot = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits.iter().map(|byte| char::from(*byte)).collect()
}

/// A secret in any format, such as one from a Union server.
///
/// The type has no `Display`, its `Debug` prints only the type's name, and dropping it zeroizes the
/// text.
#[derive(Clone, PartialEq, Eq)]
pub struct PlainSecret(Zeroizing<String>);

impl PlainSecret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Returns the secret as text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&Secret> for PlainSecret {
    fn from(secret: &Secret) -> Self {
        Self::new(secret.expose())
    }
}

impl fmt::Debug for PlainSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PlainSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_secret_has_the_fixed_length(random: [u8; RANDOM_BYTES]) {
            let secret = Secret::from_random(&random);
            prop_assert_eq!(secret.expose().len(), LENGTH);
            prop_assert!(secret.expose().parse::<Secret>().is_ok());
        }

        #[test]
        fn different_random_bytes_make_different_secrets(a: [u8; RANDOM_BYTES], b: [u8; RANDOM_BYTES]) {
            prop_assume!(a != b);
            let (a, b) = (Secret::from_random(&a), Secret::from_random(&b));
            prop_assert_ne!(a.expose(), b.expose());
        }

        #[test]
        fn a_changed_character_is_detected(random: [u8; RANDOM_BYTES], at in 3..LENGTH) {
            let mut text = Secret::from_random(&random).expose().to_owned().into_bytes();
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            prop_assert!(String::from_utf8(text).unwrap().parse::<Secret>().is_err());
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,60}") {
            let _ = text.parse::<Secret>();
        }
    }

    #[test]
    fn debug_prints_only_the_type_name() {
        assert_eq!(format!("{:?}", Secret::from_random(&[7; RANDOM_BYTES])), "Secret");
        assert_eq!(format!("{:?}", PlainSecret::new("hunter2")), "PlainSecret");
    }

    #[test]
    fn the_format_matches_its_documentation() {
        let secret = Secret::from_random(&[0xff; RANDOM_BYTES]);
        assert!(secret.expose().starts_with("gk_"));
        assert_eq!(
            Secret::from_random(&[0; RANDOM_BYTES]).expose()[..34],
            format!("gk_{}", "0".repeat(31))
        );
    }
}
