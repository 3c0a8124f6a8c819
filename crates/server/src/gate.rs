//! Composes the gate.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue};
use gatekey_authn::Authenticator;
use gatekey_core::ApiKeys;
use gatekey_gate::{
    ForwardAuth, Gate, IdentityHeaders, Proxy,
    proxy::{Stop, Upstream},
    token::UpstreamTokens,
};

use crate::Config;

/// Returns what every door of the gate asks.
pub(crate) fn gate(
    config: &Config,
    authenticator: &Arc<Authenticator>,
    api_keys: &ApiKeys,
    token_header: &HeaderName,
) -> Arc<Gate> {
    Arc::new(Gate {
        authenticator: authenticator.clone(),
        api_keys: api_keys.clone(),
        rules: config.gate.rules(),
        identity_headers: IdentityHeaders::new(token_header),
        persona: config.identity.persona.clone(),
        organization: header(&config.server.organization),
    })
}

/// Returns what answers proxies that ask about requests, if they are answered.
pub(crate) fn forward_auth(config: &Config, gate: &Arc<Gate>) -> Option<Arc<ForwardAuth>> {
    let trusted = || config.server.trusted_proxies.clone();
    config.gate.forward_auth.then(|| Arc::new(ForwardAuth::new(gate.clone(), trusted())))
}

/// Returns the proxy, if requests are passed on.
pub(crate) fn proxy(
    config: &Config,
    gate: &Arc<Gate>,
    upstream_tokens: UpstreamTokens,
    stop: &Arc<Stop>,
) -> Option<Proxy> {
    let url = config.gate.upstream.as_ref()?;
    Some(Proxy {
        gate: gate.clone(),
        upstream: Arc::new(Upstream::new(url, &[])),
        audience: config.gate.audience.as_deref().map(Into::into),
        upstream_tokens: Arc::new(upstream_tokens),
        public_scheme: header(config.server.public_url.scheme()),
        public_host: header(config.server.endpoint()),
        stop: stop.clone(),
    })
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the configuration was checked")
}
