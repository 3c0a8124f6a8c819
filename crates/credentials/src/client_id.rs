//! [`ClientId`]: the identifier of an API key on its server.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// The longest client id, in characters.
pub const MAX_LENGTH: usize = 128;

/// The OAuth client id of an API key: 1 to 128 characters of `A-Z a-z 0-9 . _ -`, at least one of
/// them a letter or digit.
///
/// Wire field `cloudidl.identity.App.client_id`. The alphabet excludes `:`, which separates the
/// parts of encoded credentials, and all characters that form encoding changes. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

/// Why a text is not a client id.
///
/// The message is a clause that follows the name of a field: "must not be empty". It repeats at
/// most one character of the input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidClientId {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than [`MAX_LENGTH`].
    #[error("must be at most {MAX_LENGTH} characters long, but has {0}")]
    TooLong(usize),
    /// The text contains a character outside the alphabet.
    #[error("may contain only A-Z a-z 0-9 . _ -, not {0:?}")]
    Character(char),
    /// The text contains only punctuation.
    #[error("must contain a letter or digit (A-Z a-z 0-9)")]
    NoLetterOrDigit,
    /// The name contains no ASCII letter or digit, so no client id can be derived from it.
    #[error("must contain a letter or digit (A-Z a-z 0-9), from which to derive the client id")]
    NothingLeftOfName,
}

impl ClientId {
    /// Derives a client id from a name, as Union's class `ApiKey` does: lower case, with every run
    /// of characters other than `0-9 A-Z a-z` replaced by one `-`.
    ///
    /// # Errors
    /// [`InvalidClientId::Empty`] for an empty name, [`InvalidClientId::NothingLeftOfName`] if the
    /// name has no ASCII letter or digit, and [`InvalidClientId::TooLong`] if more than 128
    /// characters remain.
    ///
    /// ```
    /// # use gatekey_credentials::ClientId;
    /// assert_eq!(ClientId::derive_from_name("CI Key é")?.as_str(), "ci-key-");
    /// assert!(ClientId::derive_from_name("ключ").is_err());
    /// # Ok::<(), gatekey_credentials::client_id::InvalidClientId>(())
    /// ```
    pub fn derive_from_name(name: &str) -> Result<Self, InvalidClientId> {
        if name.is_empty() {
            return Err(InvalidClientId::Empty);
        }
        let mut derived = String::with_capacity(name.len());
        // Lower-casing comes first, as in Union's class: it turns U+212A (the Kelvin sign) into
        // "k".
        for character in name.chars().flat_map(char::to_lowercase) {
            if character.is_ascii_alphanumeric() {
                derived.push(character);
            } else if !derived.ends_with('-') {
                derived.push('-');
            }
        }
        if derived == "-" {
            return Err(InvalidClientId::NothingLeftOfName);
        }
        derived.parse()
    }

    /// Returns the client id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientId {
    type Err = InvalidClientId;

    fn from_str(text: &str) -> Result<Self, InvalidClientId> {
        if text.is_empty() {
            return Err(InvalidClientId::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(InvalidClientId::TooLong(text.chars().count().max(MAX_LENGTH + 1)));
        }
        if let Some(character) =
            text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')))
        {
            return Err(InvalidClientId::Character(character));
        }
        if !text.contains(|c: char| c.is_ascii_alphanumeric()) {
            return Err(InvalidClientId::NoLetterOrDigit);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientId({})", self.0)
    }
}

impl Borrow<str> for ClientId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ClientId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_given_client_id_keeps_its_case() {
        assert_eq!("EAGER_API_KEY".parse::<ClientId>().unwrap().as_str(), "EAGER_API_KEY");
    }

    #[test]
    fn each_broken_rule_has_its_own_error() {
        assert_eq!("".parse::<ClientId>(), Err(InvalidClientId::Empty));
        assert_eq!("a:b".parse::<ClientId>(), Err(InvalidClientId::Character(':')));
        assert_eq!("a\nb".parse::<ClientId>(), Err(InvalidClientId::Character('\n')));
        assert_eq!("-._".parse::<ClientId>(), Err(InvalidClientId::NoLetterOrDigit));
        assert_eq!("a".repeat(129).parse::<ClientId>(), Err(InvalidClientId::TooLong(129)));
        assert!("a".repeat(128).parse::<ClientId>().is_ok());
        assert_eq!(ClientId::derive_from_name("***"), Err(InvalidClientId::NothingLeftOfName));
    }

    proptest! {
        #[test]
        fn a_derived_client_id_is_valid_and_stable(name in ".{0,150}") {
            if let Ok(derived) = ClientId::derive_from_name(&name) {
                prop_assert_eq!(derived.as_str().parse::<ClientId>().unwrap(), derived.clone());
                prop_assert!(!derived.as_str().contains("--"));
                prop_assert_eq!(ClientId::derive_from_name(derived.as_str()).unwrap(), derived);
            }
        }
    }
}
