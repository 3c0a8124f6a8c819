//! Composes the gate.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use gatekey_authn::Authenticator;
use gatekey_gate::{
    Gate, IdentityHeaders, Proxy,
    proxy::{Stop, Upstream},
    token::UpstreamTokens,
};

use crate::Config;

/// Returns the proxy, if requests are passed on.
pub(crate) fn proxy(
    config: &Config,
    authenticator: &Arc<Authenticator>,
    upstream_tokens: UpstreamTokens,
    token_header: &HeaderName,
    stop: &Arc<Stop>,
) -> Option<Proxy> {
    let url = config.gate.upstream.as_ref()?;
    let header = |text: &str| HeaderValue::from_str(text).expect("the configuration was checked");
    let gate = Gate {
        authenticator: authenticator.clone(),
        rules: config.gate.rules(),
        identity_headers: IdentityHeaders::new(token_header),
        organization: header(&config.server.organization),
    };
    Some(Proxy {
        gate: Arc::new(gate),
        upstream: Arc::new(Upstream::new(url, &[])),
        audience: config.gate.audience.as_deref().map(Into::into),
        upstream_tokens: Arc::new(upstream_tokens),
        public_scheme: header(config.server.public_url.scheme()),
        public_host: header(config.server.endpoint()),
        stop: stop.clone(),
    })
}
