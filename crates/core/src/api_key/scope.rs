//! [`Scope`]: what a token may be used for.

use gatekey_credentials::Role;

use super::Roles;

/// What a token may be used for, in the order of what it permits. flyteadmin knows only `all`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Only Gatekey's own endpoints, within the key's role.
    None,
    /// Reading in Flyte.
    Read,
    /// Everything in Flyte.
    All,
}

impl Scope {
    /// The scopes that have a name.
    pub const NAMED: [Self; 2] = [Self::All, Self::Read];

    /// The widest scope of a key with these roles. Only roles that may write get `all`.
    pub fn of(roles: Roles) -> Self {
        match roles.highest() {
            Some(Role::Admin | Role::Contributor) => Self::All,
            Some(Role::Viewer) => Self::Read,
            Some(Role::Verifier) | None => Self::None,
        }
    }

    /// The name in a token; empty for no scope.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Read => "read",
            Self::All => "all",
        }
    }
}
