//! `[traces]`: where traces are sent, and which requests are traced.

use std::path::PathBuf;

use gatekey_telemetry::traces::config::{Config, InvalidConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::Value;
use url::Url;

use super::invalid_setting::{InvalidSetting, Problems};

/// Path of traces below a collector's URL (OTLP specification, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";
const ENDPOINT_RULE: &str = "must be an http or https URL without user, password, query and fragment, such as \
                             http://localhost:4318";

/// Traces, sent by OTLP over HTTP.
///
/// Headers for the collector, which may contain a credential, are read only from the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    /// Base URL of an OTLP collector, such as `http://localhost:4318`; traces go to `/v1/traces`
    /// below it.
    #[schemars(extend(
        "x-flag" = "--otlp-endpoint",
        "x-variable" = "OTEL_EXPORTER_OTLP_ENDPOINT",
        "x-value" = "URL",
        "x-group" = "endpoint",
        "x-unset" = "disabled"
    ))]
    pub(super) endpoint: Option<String>,
    /// Complete URL that traces are sent to.
    #[schemars(extend(
        "x-flag" = "--otlp-traces-endpoint",
        "x-variable" = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "x-value" = "URL",
        "x-group" = "endpoint",
        "x-unset" = "/v1/traces below the base URL"
    ))]
    pub(super) full_endpoint: Option<String>,
    /// CA certificates to trust for the collector in addition to the system's, a PEM file.
    #[schemars(extend(
        "x-flag" = "--otlp-ca-file",
        "x-variable" = "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "x-value" = "FILE",
        "x-unset" = "only the system's"
    ))]
    pub(super) ca_file: Option<PathBuf>,
    /// Name of the server in traces.
    #[schemars(
        length(min = 1),
        extend(
            "x-flag" = "--otlp-service-name",
            "x-variable" = "OTEL_SERVICE_NAME",
            "x-value" = "NAME",
            "x-unset" = "service.name in OTEL_RESOURCE_ATTRIBUTES, otherwise gatekey"
        )
    )]
    pub(super) service_name: Option<String>,
    /// Fraction of the traces started here that is recorded.
    ///
    /// For a request that continues a caller's trace, its `traceparent` decides.
    #[schemars(range(min = 0, max = 1))]
    pub(super) sample_ratio: f64,
}

impl Default for Section {
    fn default() -> Self {
        Self {
            endpoint: None,
            full_endpoint: None,
            ca_file: None,
            service_name: None,
            sample_ratio: 1.0,
        }
    }
}

impl From<InvalidConfig> for InvalidSetting {
    fn from(invalid: InvalidConfig) -> Self {
        let setting = match &invalid {
            InvalidConfig::Endpoint(_) => "traces.endpoint",
            InvalidConfig::CaFile(_) => "traces.ca_file",
        };
        Self::new(setting, invalid.to_string())
    }
}

impl Section {
    /// Returns `None` if traces are disabled.
    pub(super) fn check(&mut self, problems: &mut Problems) -> Option<Config> {
        let endpoint = if let Some(url) = &self.full_endpoint {
            let Some(url) = parse(url) else {
                problems.add("traces.full_endpoint", ENDPOINT_RULE);
                return None;
            };
            url
        } else {
            let Some(mut url) = parse(self.endpoint.as_ref()?) else {
                problems.add("traces.endpoint", ENDPOINT_RULE);
                return None;
            };
            let path = format!("{}{TRACES_PATH}", url.path().trim_end_matches('/'));
            url.set_path(&path);
            self.full_endpoint = Some(url.to_string());
            url
        };
        Some(Config {
            endpoint,
            ca_file: self.ca_file.clone(),
            service_name: self.service_name.clone(),
            ratio: self.sample_ratio,
        })
    }
}

/// Checks a value of a setting of this section by itself.
///
/// # Errors
/// The rule that it breaks.
pub(super) fn check(name: &str, value: &Value) -> Result<(), String> {
    let text = value.as_str().unwrap_or_default();
    // What was not UTF-8 has this character.
    if text.contains('\u{fffd}') {
        return Err("must be UTF-8".to_owned());
    }
    if matches!(name, "endpoint" | "full_endpoint") && parse(text).is_none() {
        return Err(ENDPOINT_RULE.to_owned());
    }
    Ok(())
}

fn parse(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let bare = url.has_host()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    (bare && matches!(url.scheme(), "http" | "https")).then_some(url)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{broken, resolve};

    #[test]
    fn the_trace_endpoint_follows_from_either_setting() {
        let endpoint = |settings: &str| {
            let config = resolve(&format!("[traces]\n{settings}")).unwrap();
            config.traces.map(|traces| traces.endpoint.to_string())
        };
        assert_eq!(endpoint(""), None);
        let below = "http://localhost:4318/v1/traces";
        assert_eq!(endpoint(r#"endpoint = "http://localhost:4318""#).unwrap(), below);
        assert_eq!(endpoint(r#"endpoint = "http://localhost:4318/""#).unwrap(), below);
        let deeper = r#"endpoint = "https://example.com/otlp""#;
        assert_eq!(endpoint(deeper).unwrap(), "https://example.com/otlp/v1/traces");
        let full = format!("{deeper}\nfull_endpoint = \"https://example.com/t\"");
        assert_eq!(endpoint(&full).unwrap(), "https://example.com/t");
    }

    #[test]
    fn an_endpoint_is_a_bare_http_url() {
        for setting in ["endpoint", "full_endpoint"] {
            for url in [
                "",
                "localhost:4318",
                "grpc://h",
                "http://",
                "http://u:p@h",
                "http://h?q",
                "http://h#f",
            ] {
                let toml = format!("[traces]\n{setting} = \"{url}\"");
                assert_eq!(broken(&toml), [format!("traces.{setting}")], "{url}");
            }
        }
    }

    #[test]
    fn settings_of_disabled_traces_are_checked() {
        assert_eq!(broken("[traces]\nservice_name = \"\""), ["traces.service_name"]);
        for ratio in ["-0.1", "1.5", "nan", "2"] {
            assert_eq!(
                broken(&format!("[traces]\nsample_ratio = {ratio}")),
                ["traces.sample_ratio"],
                "{ratio}"
            );
        }
        assert!(resolve("[traces]\nsample_ratio = 0").is_ok());
    }
}
