//! [`Roles`]: the roles that a key holds.

use std::fmt;

use gatekey_credentials::Role;

/// The roles that a key holds. [`Self::highest`] is the one that applies in Flyte and in scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Roles(u8);

impl Roles {
    /// No role: the key can only view and rotate itself.
    pub const NONE: Self = Self(0);

    /// The highest role, in the order of [`Role::ALL`].
    pub fn highest(self) -> Option<Role> {
        self.iter().next()
    }

    pub fn contains(self, role: Role) -> bool {
        self.0 & bit(role) != 0
    }

    #[must_use]
    pub fn with(self, role: Role) -> Self {
        Self(self.0 | bit(role))
    }

    #[must_use]
    pub fn without(self, role: Role) -> Self {
        Self(self.0 & !bit(role))
    }

    /// The roles, the highest first.
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.contains(*role))
    }
}

fn bit(role: Role) -> u8 {
    match role {
        Role::Admin => 1,
        Role::Contributor => 2,
        Role::Viewer => 4,
        Role::Verifier => 8,
    }
}

impl From<Role> for Roles {
    fn from(role: Role) -> Self {
        Self::NONE.with(role)
    }
}

impl From<Option<Role>> for Roles {
    fn from(role: Option<Role>) -> Self {
        role.map_or(Self::NONE, Self::from)
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        roles.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Roles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_role_applies() {
        let all: Roles = Role::ALL.into_iter().rev().collect();
        assert!(all.iter().eq(Role::ALL));
        let mut roles = all;
        for (role, next) in Role::ALL.into_iter().zip(Role::ALL.into_iter().skip(1).map(Some)) {
            assert_eq!(roles.highest(), Some(role));
            roles = roles.without(role);
            assert_eq!(roles.highest(), next);
        }
        assert_eq!(roles.without(Role::Verifier), Roles::NONE);
        assert_eq!(Roles::NONE.highest(), None);
    }
}
