//! `[tokens]`: what access tokens contain, and how clients send them.

use std::time::Duration;

use gatekey_core::signing_key::MAX_TOKEN_LIFETIME;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::invalid_setting::Problems;

/// Access tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    /// Lifetime of an access token in seconds.
    #[schemars(range(min = 60, max = MAX_TOKEN_LIFETIME.as_secs()))]
    pub(super) lifetime_seconds: u64,
    /// Audiences that a client may request in addition to the public URL.
    ///
    /// A token that was requested without an audience is for the public URL. Only such a token is
    /// accepted by Gatekey itself, to manage keys or to introspect.
    #[schemars(length(min = 1), extend("x-unset" = "none"))]
    pub(super) audiences: Option<Vec<String>>,
    /// Header in which clients are told to send their token; lower case.
    #[schemars(regex(pattern = "^[a-z0-9-]+$"))]
    pub(super) authorization_metadata_key: String,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            lifetime_seconds: 3600,
            audiences: None,
            authorization_metadata_key: "authorization".to_owned(),
        }
    }
}

/// Access tokens, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub lifetime: Duration,
    /// Audiences that a client may request in addition to the public URL.
    pub audiences: Vec<String>,
    /// Header in which clients are told to send their token.
    pub authorization_metadata_key: String,
}

impl Section {
    pub(super) fn check(&self, problems: &mut Problems) -> Tokens {
        let audiences = self.audiences.as_deref().unwrap_or_default();
        if audiences
            .iter()
            .any(|audience| audience.is_empty() || audience.contains(char::is_whitespace))
        {
            problems.add(
                "tokens.audiences",
                "must not contain an empty audience or one with whitespace",
            );
        }
        let key = &self.authorization_metadata_key;
        let is_allowed =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        // Flyte's clients fail on an empty one.
        if key.is_empty() || !key.bytes().all(is_allowed) {
            problems.add(
                "tokens.authorization_metadata_key",
                "must be the name of a header, in lower case",
            );
        }
        Tokens {
            lifetime: Duration::from_secs(self.lifetime_seconds),
            audiences: audiences.to_owned(),
            authorization_metadata_key: key.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::broken;

    #[test]
    fn the_token_lifetime_has_bounds() {
        for seconds in ["1", "59", "86401", "-1", "true"] {
            let toml = format!("[tokens]\nlifetime_seconds = {seconds}");
            assert_eq!(broken(&toml), ["tokens.lifetime_seconds"], "{seconds}");
        }
    }

    #[test]
    fn there_is_an_audience_and_none_is_blank() {
        for audiences in ["[]", r#"[""]"#, r#"["a", "b c"]"#, r#""a""#] {
            assert_eq!(broken(&format!("[tokens]\naudiences = {audiences}")), ["tokens.audiences"]);
        }
    }

    #[test]
    fn the_metadata_key_is_a_header() {
        for key in ["", "Authorization", "a b"] {
            let toml = format!("[tokens]\nauthorization_metadata_key = \"{key}\"");
            assert_eq!(broken(&toml), ["tokens.authorization_metadata_key"]);
        }
    }
}
