//! `[identity]`: how an API key is presented where a person is expected.

use gatekey_core::token::{CLIENT_ID_PLACEHOLDER, Persona};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::invalid_setting::Problems;

/// The longest family name, in characters.
const MAX_FAMILY_NAME: usize = 100;
/// The longest address (RFC 5321 section 4.5.3.1.3, without the angle brackets).
const MAX_EMAIL: usize = 254;

/// How an API key is presented where Flyte expects a person.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    /// Family name of every API key in `UserInfo`; the given name is the key's name.
    #[schemars(extend("x-unset" = "none"))]
    pub(super) family_name: Option<String>,
    /// E-mail address of every API key in `UserInfo`; `{client_id}` stands for the key's client id.
    #[schemars(extend("x-unset" = "none"))]
    pub(super) email: Option<String>,
    /// Whether tokens carry the names and the address, too.
    ///
    /// Flyte 2 then need not ask for them, if all three are set, and flyteadmin shows them. Each
    /// token costs one read of the database.
    pub(super) in_tokens: bool,
}

/// How an API key is presented, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub persona: Persona,
    /// Whether tokens carry it, too.
    pub in_tokens: bool,
}

impl Section {
    pub(super) fn check(&self, problems: &mut Problems) -> Identity {
        let family_name = self.family_name.clone().unwrap_or_default();
        if self.family_name.is_some() && !is_name(&family_name) {
            let rule = format!(
                "must be 1 to {MAX_FAMILY_NAME} characters, not blank and without control characters"
            );
            problems.add("identity.family_name", rule);
        }
        let email = self.email.clone().unwrap_or_default();
        if self.email.is_some() && !is_email(&email) {
            problems.add(
                "identity.email",
                "must be an e-mail address, in which {client_id} may stand for the key's client id",
            );
        }
        Identity { persona: Persona { family_name, email }, in_tokens: self.in_tokens }
    }
}

fn is_name(name: &str) -> bool {
    !name.trim().is_empty()
        && name.chars().count() <= MAX_FAMILY_NAME
        && !name.chars().any(char::is_control)
}

fn is_email(email: &str) -> bool {
    let filled = email.replace(CLIENT_ID_PLACEHOLDER, "client-id");
    let parts = filled.split_once('@');
    parts.is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.is_empty() && !domain.contains('@')
    }) && filled.len() <= MAX_EMAIL
        && filled.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '{' | '}'))
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{broken, resolve};

    #[test]
    fn the_email_is_an_address() {
        for email in ["", "a", "@a", "a@", "a@b@c", "a b@c", "a@{name}", "ä@b"] {
            let toml = format!("[identity]\nemail = \"{email}\"");
            assert_eq!(broken(&toml), ["identity.email"], "{email}");
        }
        for email in ["bots@example.com", "{client_id}@keys.example.com", "a+{client_id}@b"] {
            let toml = format!("[identity]\nemail = \"{email}\"");
            assert!(resolve(&toml).is_ok(), "{email}");
        }
    }

    #[test]
    fn the_family_name_is_a_name() {
        for name in ["", " ", "a\\u0007", &"x".repeat(101)] {
            let toml = format!("[identity]\nfamily_name = \"{name}\"");
            assert_eq!(broken(&toml), ["identity.family_name"], "{name}");
        }
    }
}
