//! [`Role`]: the permissions of an API key.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The role of an API key. The server looks it up at each use; tokens do not carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May manage all keys.
    Admin,
    /// May read and write in Flyte.
    Contributor,
    /// May read in Flyte.
    Viewer,
    /// May introspect the tokens of all keys.
    Verifier,
}

/// The text is not the name of a role. The message lists the roles, to follow "unknown role ...; ".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected admin, contributor, viewer or verifier")]
pub struct UnknownRole;

impl Role {
    /// All roles, the highest first.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Contributor, Self::Viewer, Self::Verifier];

    /// Returns the name in lower case, as it is stored and displayed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Contributor => "contributor",
            Self::Viewer => "viewer",
            Self::Verifier => "verifier",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}
