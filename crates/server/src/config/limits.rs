//! `[limits]`: limits for each client address and API key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Limits on clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Failed authentications that one address may make in a minute before it is throttled; 0 for
    /// any number.
    #[schemars(range(max = 10_000))]
    pub failed_authentications_per_minute: u16,
    /// Changes that one API key may make to itself in a minute: tokens that it revokes, and
    /// rotations of its own secret; 0 for any number.
    ///
    /// Each has an entry in the ledger, which keeps it.
    #[schemars(range(max = 10_000))]
    pub own_changes_per_minute: u16,
}

impl Default for Limits {
    fn default() -> Self {
        // A client of Go's `x/oauth2` fails twice a login, first with the header and then with the
        // body. So these are thirty logins.
        Self { failed_authentications_per_minute: 60, own_changes_per_minute: 10 }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{broken, resolve};

    #[test]
    fn failed_authentications_are_at_most_ten_thousand() {
        let toml = |limit: i64| format!("[limits]\nfailed_authentications_per_minute = {limit}");
        for limit in [-1, 10_001, 65_536] {
            assert_eq!(broken(&toml(limit)), ["limits.failed_authentications_per_minute"]);
        }
        for limit in [0, 10_000] {
            assert!(resolve(&toml(limit)).is_ok());
        }
    }
}
