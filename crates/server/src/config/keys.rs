//! `[keys]`: the root key and the keys that sign tokens.

use std::{path::PathBuf, time::Duration};

use gatekey_core::{api_key::Lifetimes, signing_key::MIN_PUBLISH_AHEAD};
use gatekey_credentials::jwt::Algorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::invalid_setting::Problems;

/// The periodic check for an old signing key runs hourly.
const MIN_SIGNING_KEY_AGE: Duration = Duration::from_hours(1);
/// Ten years.
const MAX_SIGNING_KEY_AGE: Duration = Duration::from_hours(10 * 365 * 24);
/// A shorter lifetime leaves no time to react.
const MIN_LIFETIME: Duration = Duration::from_mins(1);
/// A hundred years.
const MAX_LIFETIME: Duration = Duration::from_hours(100 * 365 * 24);
const MAX_PUBLISH_AHEAD: Duration = Duration::from_hours(30 * 24);

/// The root key and the signing keys.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    /// File that contains the root key.
    #[schemars(extend(
        "x-flag" = "--root-key-file",
        "x-value" = "FILE",
        "x-unset" = "root.key in the data directory"
    ))]
    pub(super) root_key_file: Option<PathBuf>,
    /// Signature algorithm of access tokens; AWS load balancers verify only RS256.
    pub(super) signing_algorithm: Algorithm,
    /// Seconds for which a signing key signs before the next one replaces it, checked hourly; 0
    /// for no scheduled rotation.
    ///
    /// The previous key stays published until the last token that it signed has expired.
    #[schemars(
        range(min = 0, max = MAX_SIGNING_KEY_AGE.as_secs()),
        extend("not" = { "minimum": 1, "maximum": MIN_SIGNING_KEY_AGE.as_secs() - 1 })
    )]
    pub(super) signing_key_max_age_seconds: u64,
    /// Seconds for which a new signing key is published before it signs.
    ///
    /// Verifiers that cache the JWKS must have fetched it again by then. The first key of a server
    /// and `gatekey signing-key rotate --now` sign at once.
    #[schemars(range(min = MIN_PUBLISH_AHEAD.as_secs(), max = MAX_PUBLISH_AHEAD.as_secs()))]
    pub(super) signing_key_publish_ahead_seconds: u64,
    /// Lifetime in seconds of an API key that is created without an expiry.
    #[schemars(
        range(min = MIN_LIFETIME.as_secs(), max = MAX_LIFETIME.as_secs()),
        extend("x-unset" = "keys.max_lifetime_seconds")
    )]
    pub(super) default_lifetime_seconds: Option<u64>,
    /// Longest lifetime of an API key in seconds, from each create or update that sets its expiry.
    #[schemars(
        range(min = MIN_LIFETIME.as_secs(), max = MAX_LIFETIME.as_secs()),
        extend("x-unset" = "no limit")
    )]
    pub(super) max_lifetime_seconds: Option<u64>,
    /// Longest lifetime of a secret in seconds, and the lifetime of one without an expiry.
    ///
    /// A key that rotates itself in time gets another such lifetime. If an admin set an earlier
    /// expiry for its secret, that date stays.
    #[schemars(
        range(min = MIN_LIFETIME.as_secs(), max = MAX_LIFETIME.as_secs()),
        extend("x-unset" = "no limit")
    )]
    pub(super) max_secret_lifetime_seconds: Option<u64>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            root_key_file: None,
            signing_algorithm: Algorithm::ES256,
            signing_key_max_age_seconds: Duration::from_hours(90 * 24).as_secs(),
            signing_key_publish_ahead_seconds: Duration::from_hours(24).as_secs(),
            default_lifetime_seconds: None,
            max_lifetime_seconds: None,
            max_secret_lifetime_seconds: None,
        }
    }
}

/// The signing keys, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    pub signing_algorithm: Algorithm,
    /// Age at which a signing key is rotated; `None` for never.
    pub signing_key_max_age: Option<Duration>,
    /// How long a new signing key is published before it signs.
    pub publish_ahead: Duration,
    /// How long API keys and their secrets may live.
    pub lifetimes: Lifetimes,
}

impl Section {
    pub(super) fn check(&self, problems: &mut Problems) -> Keys {
        let max_age = Some(self.signing_key_max_age_seconds).filter(|seconds| *seconds != 0);
        let max_age = max_age.map(Duration::from_secs);
        if max_age.is_some_and(|age| age < MIN_SIGNING_KEY_AGE) {
            problems.add(
                "keys.signing_key_max_age_seconds",
                "must be 0, or a whole number from 3600 to 315360000: it is checked hourly",
            );
        }
        if let (Some(default), Some(most)) =
            (self.default_lifetime_seconds, self.max_lifetime_seconds)
            && default > most
        {
            problems
                .add("keys.default_lifetime_seconds", "must be at most keys.max_lifetime_seconds");
        }
        Keys {
            signing_algorithm: self.signing_algorithm,
            signing_key_max_age: max_age,
            publish_ahead: Duration::from_secs(self.signing_key_publish_ahead_seconds),
            lifetimes: Lifetimes {
                default_key: self.default_lifetime_seconds.map(Duration::from_secs),
                max_key: self.max_lifetime_seconds.map(Duration::from_secs),
                max_secret: self.max_secret_lifetime_seconds.map(Duration::from_secs),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{broken, resolve};

    #[test]
    fn the_maximum_key_age_has_bounds() {
        for age in [1, 3599, 315_360_001] {
            let toml = format!("[keys]\nsigning_key_max_age_seconds = {age}");
            assert_eq!(broken(&toml), ["keys.signing_key_max_age_seconds"]);
        }
        let never = resolve("[keys]\nsigning_key_max_age_seconds = 0").unwrap();
        assert_eq!(never.keys.signing_key_max_age, None);
    }

    #[test]
    fn a_default_lifetime_is_within_the_maximum() {
        let of = |default| {
            format!("[keys]\ndefault_lifetime_seconds = {default}\nmax_lifetime_seconds = 100")
        };
        assert!(resolve(&of(100)).is_ok());
        assert_eq!(broken(&of(101)), ["keys.default_lifetime_seconds"]);
        for setting in ["default_lifetime", "max_lifetime", "max_secret_lifetime"] {
            for seconds in [-1, 0, 59] {
                let toml = format!("[keys]\n{setting}_seconds = {seconds}");
                assert_eq!(broken(&toml), [format!("keys.{setting}_seconds")]);
            }
        }
    }

    /// Caches may keep the JWKS for five minutes.
    #[test]
    fn a_key_is_published_until_caches_expire() {
        for ahead in [0, 300, 599, 2_592_001] {
            let toml = format!("[keys]\nsigning_key_publish_ahead_seconds = {ahead}");
            assert_eq!(broken(&toml), ["keys.signing_key_publish_ahead_seconds"]);
        }
    }
}
