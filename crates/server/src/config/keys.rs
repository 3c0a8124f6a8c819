//! `[keys]`: the root key and the keys that sign tokens.

use std::{path::PathBuf, time::Duration};

use gatekey_credentials::jwt::Algorithm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The periodic check for an old signing key runs hourly.
const MIN_SIGNING_KEY_AGE: Duration = Duration::from_hours(1);
/// Ten years.
const MAX_SIGNING_KEY_AGE: Duration = Duration::from_hours(10 * 365 * 24);

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
    /// Age in seconds at which a signing key is rotated, checked hourly.
    ///
    /// The previous key stays published until the last token that it signed has expired.
    #[schemars(
        range(min = MIN_SIGNING_KEY_AGE.as_secs(), max = MAX_SIGNING_KEY_AGE.as_secs()),
        extend("x-unset" = "never")
    )]
    pub(super) signing_key_max_age_seconds: Option<u64>,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            root_key_file: None,
            signing_algorithm: Algorithm::ES256,
            signing_key_max_age_seconds: None,
        }
    }
}

/// The signing keys, checked. [`Settings::root_key_path`](super::Settings::root_key_path) has the
/// root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keys {
    pub signing_algorithm: Algorithm,
    /// Age at which a signing key is rotated; `None` for never.
    pub signing_key_max_age: Option<Duration>,
}

impl Section {
    pub(super) fn check(&self) -> Keys {
        Keys {
            signing_algorithm: self.signing_algorithm,
            signing_key_max_age: self.signing_key_max_age_seconds.map(Duration::from_secs),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::broken;

    #[test]
    fn the_maximum_key_age_has_bounds() {
        for age in [0, 3599, 315_360_001] {
            let toml = format!("[keys]\nsigning_key_max_age_seconds = {age}");
            assert_eq!(broken(&toml), ["keys.signing_key_max_age_seconds"]);
        }
    }
}
