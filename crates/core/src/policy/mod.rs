//! Permissions: only [`decide`] reads roles, and [`Scope::of`](crate::api_key::Scope::of) for what
//! tokens permit elsewhere.

use gatekey_credentials::Role;

use crate::{KeyId, api_key::KeyFacts};

/// The caller that requests an action.
#[derive(Debug, Clone, Copy)]
pub enum Principal<'p> {
    Key(&'p KeyFacts),
}

/// An action that a principal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Create, list, change and delete keys.
    Administer,
    ReadKey,
    RotateSecret,
    IntrospectToken,
    RevokeToken,
}

/// The resource that an action is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource<'r> {
    /// The whole server.
    Server,
    /// The key with a client id. It need not exist.
    Key { client_id: &'r str },
    /// A token that was issued to a key.
    TokenOf(KeyId),
}

/// The answer of [`decide`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// Allowed for the caller's own key, which has this id, and not for a later key with the same
    /// client id.
    AllowOnly(KeyId),
    /// Denied, with the reason for the caller.
    Deny(&'static str),
}

impl Decision {
    pub fn is_allowed(self) -> bool {
        !matches!(self, Self::Deny(_))
    }
}

/// Decides whether a principal may do something.
///
/// - `admin` may do everything, except revoke the token of another key.
/// - `verifier` may introspect every token.
/// - Every key may read itself, rotate its own secret, and introspect and revoke its own tokens.
/// - `contributor` and `viewer` may do nothing else here: they are for the APIs behind the gate.
pub fn decide(principal: Principal<'_>, action: Action, resource: Resource<'_>) -> Decision {
    let Principal::Key(key) = principal;
    let is_admin = key.roles.contains(Role::Admin);
    let allowed_if =
        |allowed, reason| if allowed { Decision::Allow } else { Decision::Deny(reason) };
    match (action, resource) {
        (Action::ReadKey | Action::RotateSecret, Resource::Key { client_id }) => {
            // An admin reads every key, but rotating itself is an action of the key on itself.
            let as_itself = !is_admin || action == Action::RotateSecret;
            if as_itself && key.client_id.as_str() == client_id {
                return Decision::AllowOnly(key.key_id);
            }
            allowed_if(is_admin, "role admin is needed for keys other than the caller's own")
        }
        (Action::IntrospectToken, Resource::TokenOf(owner)) => {
            let reads_all = is_admin || key.roles.contains(Role::Verifier);
            allowed_if(reads_all || owner == key.key_id, "role admin or verifier is needed")
        }
        (Action::RevokeToken, Resource::TokenOf(owner)) => {
            allowed_if(owner == key.key_id, "the token was issued to another API key")
        }
        (Action::Administer, Resource::Server | Resource::Key { .. }) => {
            allowed_if(is_admin, "role admin is needed")
        }
        // No other combination has a use case.
        (Action::Administer, Resource::TokenOf(_))
        | (Action::ReadKey | Action::RotateSecret, Resource::Server | Resource::TokenOf(_))
        | (
            Action::IntrospectToken | Action::RevokeToken,
            Resource::Server | Resource::Key { .. },
        ) => Decision::Deny("not allowed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Env;

    const ROLES: [Option<Role>; 5] = [
        None,
        Some(Role::Viewer),
        Some(Role::Contributor),
        Some(Role::Verifier),
        Some(Role::Admin),
    ];

    fn key(role: Option<Role>) -> KeyFacts {
        let client_id = "ci".parse().unwrap();
        KeyFacts {
            roles: role.into(),
            client_id,
            disabled: false,
            ..KeyFacts::nobody(&Env::system())
        }
    }

    fn allowed(action: Action, resource: impl Fn(&KeyFacts) -> Resource<'static>) -> [bool; 5] {
        ROLES.map(|role| {
            let key = key(role);
            decide(Principal::Key(&key), action, resource(&key)).is_allowed()
        })
    }

    #[test]
    fn only_admins_administer() {
        assert_eq!(
            allowed(Action::Administer, |_| Resource::Server),
            [false, false, false, false, true]
        );
    }

    #[test]
    fn every_key_reads_and_rotates_itself() {
        for action in [Action::ReadKey, Action::RotateSecret] {
            assert_eq!(allowed(action, |_| Resource::Key { client_id: "ci" }), [true; 5]);
            let others = allowed(action, |_| Resource::Key { client_id: "other" });
            assert_eq!(others, [false, false, false, false, true]);
        }
    }

    #[test]
    fn permission_for_itself_needs_the_same_key_id() {
        let key = key(None);
        let decision =
            decide(Principal::Key(&key), Action::ReadKey, Resource::Key { client_id: "ci" });
        assert_eq!(decision, Decision::AllowOnly(key.key_id));
    }

    #[test]
    fn an_admin_rotates_itself_as_itself() {
        let admin = key(Some(Role::Admin));
        let rotation = |client_id| {
            decide(Principal::Key(&admin), Action::RotateSecret, Resource::Key { client_id })
        };
        assert_eq!(rotation("ci"), Decision::AllowOnly(admin.key_id));
        assert_eq!(rotation("other"), Decision::Allow);
    }

    #[test]
    fn verifiers_and_admins_introspect_every_token() {
        let other = KeyId::generate(&Env::system());
        let own = allowed(Action::IntrospectToken, |key| Resource::TokenOf(key.key_id));
        assert_eq!(own, [true; 5]);
        let others = allowed(Action::IntrospectToken, |_| Resource::TokenOf(other));
        assert_eq!(others, [false, false, false, true, true]);
    }

    #[test]
    fn no_role_revokes_the_token_of_another_key() {
        let other = KeyId::generate(&Env::system());
        assert_eq!(allowed(Action::RevokeToken, |key| Resource::TokenOf(key.key_id)), [true; 5]);
        assert_eq!(allowed(Action::RevokeToken, |_| Resource::TokenOf(other)), [false; 5]);
    }
}
