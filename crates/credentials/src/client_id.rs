//! [`ClientId`]: what names an API key on its server.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

/// The longest client id, in characters.
pub const MAX_LENGTH: usize = 128;

/// Names an API key: 1 to 128 of `A-Z a-z 0-9 . _ -`, with a letter or digit among them.
///
/// Wire field `cloudidl.identity.App.client_id`. The alphabet excludes `:`, which separates the parts of
/// encoded credentials, and everything that form encoding would change. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(Arc<str>);

/// Why a text is no client id. The message names the rule and never repeats more of the input than one
/// character.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidClientId {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text is longer than [`MAX_LENGTH`].
    #[error("must be at most {MAX_LENGTH} characters long, this has {0}")]
    TooLong(usize),
    /// The text holds a character outside the alphabet.
    #[error("may hold only A-Z a-z 0-9 . _ -, not {0:?}")]
    Character(char),
    /// The text has punctuation alone.
    #[error("must hold at least one letter or digit; choose a name with one of A-Z a-z 0-9")]
    NoLetterOrDigit,
    /// A name from which nothing is left once its other characters are replaced.
    #[error(
        "leaves no letter or digit for a client id: only A-Z a-z 0-9 of it count; choose a name with one of them"
    )]
    NothingLeftOfName,
}

impl ClientId {
    /// The client id that the public class `ApiKey` derives from a name: lower case, and every run of
    /// characters other than `0-9 A-Z a-z` becomes one `-`.
    ///
    /// # Errors
    /// [`InvalidClientId::NothingLeftOfName`] when the name has no ASCII letter or digit, and
    /// [`InvalidClientId::TooLong`] when more than 128 characters remain.
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
        // Lower-casing comes first, as in the class: it turns U+212A (the Kelvin sign) into "k".
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

    /// The client id as text.
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
    fn upper_case_and_underscores_are_kept_in_a_given_id() {
        assert_eq!("EAGER_API_KEY".parse::<ClientId>().unwrap().as_str(), "EAGER_API_KEY");
    }

    #[test]
    fn each_broken_rule_has_its_own_answer() {
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
        fn whatever_is_derived_parses_to_itself(name in ".{0,150}") {
            if let Ok(derived) = ClientId::derive_from_name(&name) {
                prop_assert_eq!(derived.as_str().parse::<ClientId>().unwrap(), derived.clone());
                prop_assert!(!derived.as_str().contains("--"));
                prop_assert_eq!(ClientId::derive_from_name(derived.as_str()).unwrap(), derived);
            }
        }
    }
}
