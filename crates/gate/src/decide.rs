//! [`decide()`]: the decision about a request, a pure function. Every protocol asks it.

use gatekey_core::api_key::{Roles, Scope};

use crate::{
    access::Access,
    path::Path,
    rules::{Rule, Rules},
};

/// Who sends the request.
#[derive(Debug, Clone, Copy)]
pub enum Caller {
    /// No credential, or one that was refused.
    Nobody,
    /// A key in its present state.
    Key {
        roles: Roles,
        /// What the presented credential permits at most.
        scope: Scope,
    },
}

/// Why a request is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// No valid credential where one is needed.
    #[error("a valid API key is needed")]
    Unauthenticated,
    /// The key's roles do not suffice.
    #[error("role {} is needed", .0.role().map_or("admin", |role| role.as_str()))]
    Role(Access),
    /// The credential's scope does not suffice.
    #[error("scope {} is needed", .0.scope().as_str())]
    Scope(Access),
    /// No rule covers the path, or the rule that does denies it to everybody.
    #[error("no rule of the gate allows this")]
    NotAllowed,
}

/// Decides about a request, and returns the rule that allows it.
///
/// # Errors
/// [`Denial`], by the first reason: unauthenticated callers do not learn which paths have rules.
pub fn decide<'r>(rules: &'r Rules, path: &Path, caller: Caller) -> Result<&'r Rule, Denial> {
    let rule = rules.find(path);
    let access = rule.map_or(Access::Denied, |rule| rule.access);
    match (access, caller) {
        (Access::Anonymous, _) => {}
        (_, Caller::Nobody) => return Err(Denial::Unauthenticated),
        (Access::Denied, Caller::Key { .. }) => return Err(Denial::NotAllowed),
        (_, Caller::Key { roles, .. }) if !access.is_within(roles) => {
            return Err(Denial::Role(access));
        }
        (_, Caller::Key { scope, .. }) if scope < access.scope() => {
            return Err(Denial::Scope(access));
        }
        (_, Caller::Key { .. }) => {}
    }
    rule.ok_or(Denial::NotAllowed)
}
