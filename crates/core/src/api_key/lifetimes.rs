//! [`Lifetimes`]: how long keys and their secrets may live.

use std::time::Duration;

use super::validate::Validation;
use crate::Timestamp;

/// How long keys and their secrets may live. `None` sets no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// The lifetime of a key that is created without an expiry.
    pub default_key: Option<Duration>,
    /// The longest time from a create or an update to the expiry that it sets.
    pub max_key: Option<Duration>,
    /// The longest lifetime of a secret.
    pub max_secret: Option<Duration>,
}

impl Lifetimes {
    /// The expiry of a key that is created at `now` with or without a requested one.
    pub(super) fn key_expiry(
        &self,
        requested: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let default = self.default_key.into_iter().chain(self.max_key).min();
        requested.or_else(|| default.map(|lifetime| now.after(lifetime)))
    }

    /// The latest expiry that a key may have.
    pub(crate) fn latest_key_expiry(&self, now: Timestamp) -> Option<Timestamp> {
        self.max_key.map(|lifetime| now.after(lifetime))
    }

    /// The expiry of a secret that is created at `now` with or without a requested one.
    pub(super) fn secret_expiry(
        &self,
        requested: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        requested.or_else(|| self.max_secret.map(|lifetime| now.after(lifetime)))
    }

    /// Checks the expiry that a request sets for a key. `None` is never.
    pub(super) fn check_key(
        &self,
        expires_at: Option<Timestamp>,
        now: Timestamp,
        validation: &mut Validation,
    ) {
        check(self.max_key, "keys.max_lifetime_seconds", expires_at, now, validation);
    }

    /// Checks the expiry that a request sets for a secret. `None` is never.
    pub(super) fn check_secret(
        &self,
        expires_at: Option<Timestamp>,
        now: Timestamp,
        validation: &mut Validation,
    ) {
        check(self.max_secret, "keys.max_secret_lifetime_seconds", expires_at, now, validation);
    }
}

fn check(
    longest: Option<Duration>,
    setting: &str,
    expires_at: Option<Timestamp>,
    now: Timestamp,
    validation: &mut Validation,
) {
    if let Some(longest) = longest
        && expires_at.is_none_or(|at| now.after(longest) < at)
    {
        let seconds = longest.as_secs();
        validation
            .broken("expires_at", format!("must be at most {seconds} s from now ({setting})"));
    }
}
