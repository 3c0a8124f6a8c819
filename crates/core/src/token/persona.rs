//! [`Persona`]: how an API key is presented where a person is expected.

use serde::Serialize;

/// Stands for the key's client id in [`Persona::email`].
pub const CLIENT_ID_PLACEHOLDER: &str = "{client_id}";

/// How API keys are presented where a person is expected. An empty text is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Persona {
    /// The family name of every key. The given name is the key's.
    pub family_name: String,
    /// The address, with [`CLIENT_ID_PLACEHOLDER`] for the client id.
    pub email: String,
}

/// The claims about a person (OpenID Connect Core section 5.1) that a token carries about its key.
///
/// Flyte 2 asks `UserInfo` for those that are missing. flyteadmin reads `user_info` and `email`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PersonClaims {
    #[serde(flatten)]
    names: Names,
    user_info: UserInfo,
}

/// The names that [`PersonClaims`] has twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Names {
    given_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    family_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    email: String,
}

/// A message `UserInfoResponse` of Flyte, as flyteadmin reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct UserInfo {
    subject: String,
    name: String,
    preferred_username: String,
    #[serde(flatten)]
    names: Names,
}

impl Persona {
    /// The address of a key; empty if none is configured.
    pub fn email_of(&self, client_id: &str) -> String {
        self.email.replace(CLIENT_ID_PLACEHOLDER, client_id)
    }

    /// The same persona, without gaps: Flyte 2 asks `UserInfo` about each token that lacks one of
    /// the claims. The domain `invalid` has no mailboxes (RFC 6761 section 6.4).
    #[must_use]
    pub fn without_gaps(&self) -> Self {
        let or = |text: &str, other: &str| if text.is_empty() { other } else { text }.to_owned();
        Self {
            family_name: or(&self.family_name, "(API key)"),
            email: or(&self.email, &format!("{CLIENT_ID_PLACEHOLDER}@gatekey.invalid")),
        }
    }

    /// The claims about a key.
    pub fn claims(&self, client_id: &str, client_name: &str) -> PersonClaims {
        let names = Names {
            given_name: client_name.to_owned(),
            family_name: self.family_name.clone(),
            email: self.email_of(client_id),
        };
        let user_info = UserInfo {
            subject: client_id.to_string(),
            name: client_name.to_owned(),
            preferred_username: client_id.to_string(),
            names: names.clone(),
        };
        PersonClaims { names, user_info }
    }
}
