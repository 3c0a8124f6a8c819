//! [`Access`]: the role and scope that a request needs.

use std::fmt;

use gatekey_core::api_key::{Roles, Scope};
use gatekey_credentials::Role;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The access that a request needs, from the widest to the narrowest.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// No credential: metadata that clients read before they log in, and health.
    Anonymous,
    /// Any valid key, for example to read user info.
    AnyKey,
    /// Reading: role `viewer`, and scope `read`.
    Read,
    /// Writing: role `contributor`, and scope `all`.
    Write,
    /// Administration: role `admin`, and scope `all`.
    Admin,
    /// Nobody may.
    Denied,
}

impl Access {
    pub const ALL: [Self; 6] =
        [Self::Anonymous, Self::AnyKey, Self::Read, Self::Write, Self::Admin, Self::Denied];

    /// The word in the configuration and in the printed rules.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::AnyKey => "any-key",
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
            Self::Denied => "denied",
        }
    }

    /// The lowest role that suffices; `None` where no role is asked for.
    pub fn role(self) -> Option<Role> {
        match self {
            Self::Anonymous | Self::AnyKey | Self::Denied => None,
            Self::Read => Some(Role::Viewer),
            Self::Write => Some(Role::Contributor),
            Self::Admin => Some(Role::Admin),
        }
    }

    /// The narrowest scope that suffices.
    pub fn scope(self) -> Scope {
        match self {
            Self::Anonymous | Self::AnyKey | Self::Denied => Scope::None,
            Self::Read => Scope::Read,
            Self::Write | Self::Admin => Scope::All,
        }
    }

    /// Whether one of these roles suffices.
    pub fn is_within(self, roles: Roles) -> bool {
        let has = |roles_that_suffice: &[Role]| {
            roles_that_suffice.iter().any(|role| roles.contains(*role))
        };
        match self {
            Self::Anonymous | Self::AnyKey => true,
            Self::Read => has(&[Role::Viewer, Role::Contributor, Role::Admin]),
            Self::Write => has(&[Role::Contributor, Role::Admin]),
            Self::Admin => has(&[Role::Admin]),
            Self::Denied => false,
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
