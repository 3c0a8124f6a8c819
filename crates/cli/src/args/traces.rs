//! Headers and attributes that are sent to a collector of traces.

use clap::Args;
use gatekey_client::PlainSecret;
use gatekey_outbound::Proxies;
use gatekey_telemetry::traces::variables::{self, InvalidVariable, Variables};
use http::HeaderMap;

use super::value::plain_secret;
use crate::exit;

/// They can contain a credential, so they are read only from the environment, and the flags are
/// hidden.
#[derive(Debug, Args)]
pub(crate) struct TraceVariables {
    /// Headers sent to the collector, such as authorization=Bearer%20...
    #[arg(long = "otlp-headers", id = "otlp_headers", hide = true, hide_env_values = true)]
    #[arg(env = "OTEL_EXPORTER_OTLP_HEADERS", value_parser = plain_secret)]
    pub(crate) headers: Option<PlainSecret>,
    /// Headers sent to the collector; override `OTEL_EXPORTER_OTLP_HEADERS`
    #[arg(
        long = "otlp-traces-headers",
        id = "otlp_traces_headers",
        hide = true,
        hide_env_values = true
    )]
    #[arg(env = "OTEL_EXPORTER_OTLP_TRACES_HEADERS", value_parser = plain_secret)]
    pub(crate) traces_headers: Option<PlainSecret>,
    /// Attributes of the server in traces, such as deployment.environment.name=production
    #[arg(long = "otlp-resource-attributes", id = "otlp_resource_attributes", hide = true)]
    #[arg(env = "OTEL_RESOURCE_ATTRIBUTES")]
    pub(crate) resource_attributes: Option<String>,
}

impl TraceVariables {
    /// Parses the variables. An empty one counts as not set.
    pub(crate) fn parse(self) -> anyhow::Result<Variables> {
        let secret =
            |secret: Option<PlainSecret>| secret.filter(|secret| !secret.expose().is_empty());
        let invalid = |name: &'static str| {
            move |error: InvalidVariable| exit::usage(format!("{name} {error}"))
        };
        let headers = match (secret(self.traces_headers), secret(self.headers)) {
            (Some(headers), _) => variables::headers(headers.expose())
                .map_err(invalid("OTEL_EXPORTER_OTLP_TRACES_HEADERS"))?,
            (None, Some(headers)) => variables::headers(headers.expose())
                .map_err(invalid("OTEL_EXPORTER_OTLP_HEADERS"))?,
            (None, None) => HeaderMap::new(),
        };
        let attributes = self.resource_attributes.unwrap_or_default();
        let attributes =
            variables::pairs(&attributes).map_err(invalid("OTEL_RESOURCE_ATTRIBUTES"))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "variables of the environment, not of a flag"
        )]
        let variable = |name: &str| std::env::var(name).ok();
        Ok(Variables { headers, attributes, proxies: Proxies::from_variables(&variable) })
    }
}
