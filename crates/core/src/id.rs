//! Random identifiers: [`KeyId`] and [`SecretId`].

use std::{fmt, str::FromStr};

use crate::Env;

/// The text is not an identifier of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not an identifier; expected {0} lower-case hexadecimal digits")]
pub struct InvalidId(usize);

/// Prints bytes as lower-case hexadecimal digits.
pub struct Hex<'b>(pub &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Avoids the formatter's machinery: every token contains ids.
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = [0; 64];
        for chunk in self.0.chunks(32) {
            for (pair, byte) in text.chunks_exact_mut(2).zip(chunk) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 15)];
            }
            let text = std::str::from_utf8(&text[..chunk.len() * 2]).map_err(|_| fmt::Error)?;
            formatter.write_str(text)?;
        }
        Ok(())
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; $bytes]);

        impl $name {
            pub fn generate(env: &Env) -> Self {
                Self(env.random())
            }

            pub(crate) fn as_bytes(&self) -> &[u8; $bytes] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                Hex(&self.0).fmt(formatter)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(formatter, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId($bytes * 2);
                let mut bytes = [0; $bytes];
                if text.len() != $bytes * 2 {
                    return Err(invalid);
                }
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let digit = |digit: u8| match digit {
                        b'0'..=b'9' => Ok(digit - b'0'),
                        b'a'..=b'f' => Ok(digit - b'a' + 10),
                        _ => Err(invalid),
                    };
                    *byte = digit(pair[0])? << 4 | digit(pair[1])?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

random_id! {
    /// Identifies an API key permanently: a key that is deleted and created again under the same
    /// client id has another one.
    KeyId, 16
}

random_id! {
    /// Identifies a secret of a key. Not secret itself.
    SecretId, 8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_printed_as_two_digits() {
        let bytes: Vec<u8> = (0..=255).collect();
        let expected = bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!(Hex(&bytes).to_string(), expected);
    }

    #[test]
    fn an_id_parses_from_its_text() {
        let id = KeyId::generate(&Env::system());
        assert_eq!(id.to_string().parse::<KeyId>(), Ok(id));
        assert!(
            id.to_string().to_uppercase().parse::<KeyId>().is_err()
                || !id.to_string().contains(char::is_alphabetic)
        );
        assert!("".parse::<SecretId>().is_err());
        assert!("zz00000000000000".parse::<SecretId>().is_err());
    }
}
