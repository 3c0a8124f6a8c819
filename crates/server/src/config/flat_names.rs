//! The old setting names, from before the file had sections. They are accepted for one release,
//! with a warning.

use std::fmt;

use super::{Origin, Setting, definition};

pub(super) const FLAT_NAMES: [(&str, &str); 20] = [
    ("listen", "server.listen"),
    ("public_url", "server.public_url"),
    ("organization", "server.organization"),
    ("trusted_proxies", "server.trusted_proxies"),
    ("admin_listen", "server.admin_listen"),
    ("tls_cert", "tls.cert_file"),
    ("tls_key", "tls.key_file"),
    ("plaintext", "tls.plaintext"),
    ("token_lifetime_seconds", "tokens.lifetime_seconds"),
    ("audiences", "tokens.audiences"),
    ("authorization_metadata_key", "tokens.authorization_metadata_key"),
    ("root_key_file", "keys.root_key_file"),
    ("signing_algorithm", "keys.signing_algorithm"),
    ("signing_key_max_age_seconds", "keys.signing_key_max_age_seconds"),
    ("failed_authentications_per_minute", "limits.failed_authentications_per_minute"),
    ("otlp_endpoint", "traces.endpoint"),
    ("otlp_traces_endpoint", "traces.full_endpoint"),
    ("otlp_ca_file", "traces.ca_file"),
    ("otlp_service_name", "traces.service_name"),
    ("otlp_trace_ratio", "traces.sample_ratio"),
];

/// A setting in a file by its name without a section.
#[derive(Debug, Clone)]
pub struct FlatName {
    pub old: &'static str,
    pub new: &'static Setting,
    pub origin: Origin,
}

impl fmt::Display for FlatName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { old, new, origin } = self;
        let (section, name) = new.path.split_once('.').unwrap_or_default();
        write!(
            formatter,
            "{origin}: {old} is now {name} in section [{section}]; the next release refuses {old}"
        )
    }
}

/// Returns an old name and its setting.
pub(super) fn find(name: &str) -> Option<(&'static str, &'static Setting)> {
    let (old, new) = FLAT_NAMES.iter().find(|(old, _)| *old == name)?;
    Some((old, definition::setting(new)))
}
