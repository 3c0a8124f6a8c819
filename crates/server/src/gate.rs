//! Composes the gate.

use std::{collections::HashMap, path::PathBuf, sync::Arc};

use axum::http::{HeaderName, HeaderValue};
use gatekey_authn::Authenticator;
use gatekey_core::ApiKeys;
use gatekey_gate::{
    Cors, Decisions, ForwardAuth, Gate, IdentityHeaders, Proxy,
    proxy::{Settings, Target, Targets, Upstream},
    token::UpstreamTokens,
};
use rustls::pki_types::CertificateDer;

use crate::{Config, own_paths};

/// The CA certificates in the files that `gate.upstreams` names.
pub type UpstreamAuthorities = HashMap<PathBuf, Vec<CertificateDer<'static>>>;

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
        own_paths: own_paths::all(),
        identity_headers: IdentityHeaders::new(token_header),
        decisions: Decisions::default(),
        max_message: config.gate.max_message,
        persona: config.identity.persona.clone(),
        organization: header(&config.server.organization),
    })
}

/// Returns what answers proxies that ask about requests, if they are answered.
pub(crate) fn forward_auth(
    config: &Config,
    gate: &Arc<Gate>,
    upstream_tokens: &Arc<UpstreamTokens>,
) -> Option<Arc<ForwardAuth>> {
    config.gate.forward_auth.then(|| {
        let trusted = config.server.trusted_proxies.clone();
        let audience = config.gate.audience.as_deref().map(Into::into);
        Arc::new(ForwardAuth::new(gate.clone(), trusted, audience, upstream_tokens.clone()))
    })
}

/// Returns the proxy, if requests are passed on.
pub(crate) fn proxy(
    config: &Config,
    gate: &Arc<Gate>,
    upstream_tokens: &Arc<UpstreamTokens>,
    authorities: &UpstreamAuthorities,
    token_header: &HeaderName,
) -> Option<Proxy> {
    if config.gate.upstreams.is_empty() {
        return None;
    }
    let settings = Settings {
        public_scheme: header(config.server.public_url.scheme()),
        public_host: header(config.server.endpoint()),
        cors: Cors::new(config.gate.cors_origins.clone(), token_header),
    };
    let targets = config.gate.upstreams.iter().map(|upstream| {
        let trusted = upstream.ca_file.as_ref().and_then(|file| authorities.get(file));
        Target {
            upstream: Arc::new(Upstream::new(&upstream.url, trusted.map_or(&[], Vec::as_slice))),
            matches: upstream.matches.clone(),
            own_paths: upstream.own_paths.clone(),
            audience: upstream.audience.as_deref().map(Box::from),
        }
    });
    Some(Proxy::new(gate.clone(), Targets(targets.collect()), upstream_tokens.clone(), settings))
}

fn header(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the configuration was checked")
}
