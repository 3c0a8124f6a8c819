//! [`ForwardAuth`]: answers proxies that ask whether a request may pass.
//!
//! Each kind of proxy has its own endpoint, which reads the headers that this kind sets and no
//! others: a proxy passes on what its client wrote into the headers of other kinds. Only trusted
//! proxies get an answer. Loopback is not trusted unless it is configured, since other programs of
//! the machine can connect from there.
//!
//! # Layout
//! - [`family`]: reads such headers strictly.
//! - [`nginx`], [`forward`], [`envoy`]: one file for each kind.
//! - [`ext_authz`]: Envoy's service over gRPC.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use gatekey_core::network::Networks;
use gatekey_telemetry::Record;
use tokio::time::timeout;

use self::family::{Malformed, Original};
use crate::{
    gate::{Admitted, Gate},
    identity_headers,
    limits::projects::Body as Shown,
    protocol::Protocol,
    proxy::{
        WHOLE_BODY,
        whole_body::{Bodies, NotWhole},
    },
    reason::Reason,
    refusal::{Kind, Refusal},
    token::{self, UpstreamTokens},
};

pub mod envoy;
pub mod ext_authz;
pub mod family;
pub mod forward;
pub mod nginx;

/// The true status, for proxies that know only some.
const GATE_STATUS: HeaderName = HeaderName::from_static("x-gate-status");

/// Headers of a response that lets a request pass: about as many, so that the map does not grow.
const RESPONSE_HEADERS: usize = 16;

/// A kind of proxies, by the headers that they set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// nginx and ingress-nginx.
    Nginx,
    /// Traefik, Caddy and HAProxy.
    Forward,
    /// Envoy.
    Envoy,
}

/// A request that may pass.
pub(crate) struct Passed {
    pub(crate) admitted: Admitted,
    /// Headers for the upstream: the caller's identity, and the token in place of the credential.
    pub(crate) headers: HeaderMap,
}

/// Answers proxies that ask whether a request may pass.
pub struct ForwardAuth {
    gate: Arc<Gate>,
    trusted: Networks,
    /// The audience of the token that the upstream gets in place of the credential, if it gets one.
    audience: Option<Box<str>>,
    upstream_tokens: Arc<UpstreamTokens>,
    bodies: Bodies,
    /// Whether a question of a stranger, and a malformed question, has been logged.
    reported: [AtomicBool; 2],
}

impl ForwardAuth {
    /// Answers only `trusted` proxies. The upstream behind them gets a token for `audience`.
    pub fn new(
        gate: Arc<Gate>,
        trusted: Networks,
        audience: Option<Box<str>>,
        upstream_tokens: Arc<UpstreamTokens>,
    ) -> Self {
        let (bodies, reported) = (Bodies::default(), Default::default());
        Self { gate, trusted, audience, upstream_tokens, bodies, reported }
    }

    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Answers a proxy of a kind.
    pub async fn answer(&self, family: Family, record: &Record, request: Request) -> Response {
        let (request, sent) = request.into_parts();
        let (method, uri, headers) = (&request.method, &request.uri, &request.headers);
        let connection = request.extensions.get::<ConnectInfo<SocketAddr>>();
        let original = self.trust(connection.map(|connection| connection.0.ip())).and_then(|()| {
            self.readable(match family {
                Family::Nginx => nginx::original(headers),
                Family::Forward => forward::original(headers),
                Family::Envoy => envoy::original(method, uri),
            })
        });
        let (protocol, refusal) = match original {
            Ok(original) => {
                let sent = (family == Family::Envoy).then_some(sent);
                match self.decide_by_head(record, &original, headers, sent).await {
                    Ok(passed) => return self.admit(family, passed, headers),
                    Err(refusal) => (original.protocol(headers), refusal),
                }
            }
            Err(refusal) => (Protocol::of_forwarded(method, "", headers), refusal),
        };
        self.gate.decisions.refuse(refusal.reason);
        record.set_grpc_status(refusal.kind.code().0);
        refuse(family, refusal, &protocol)
    }

    /// Decides about the request that a trusted proxy has described. Reads the body that the proxy
    /// sent along only if it decides.
    async fn decide_by_head(
        &self,
        record: &Record,
        original: &Original,
        headers: &HeaderMap,
        sent: Option<Body>,
    ) -> Result<Passed, Refusal> {
        let (method, target) = (&original.method, &original.target);
        let admitted = self.gate.check_head(record, method, target, headers).await?;
        let check =
            |seen| self.gate.check_projects(record, &admitted, method, target, headers, seen);
        let is_shown = envoy::is_whole(headers) && envoy::is_json(headers);
        match sent.filter(|_| is_shown && self.gate.reads_body(&admitted, method, target)) {
            None => check(Shown::Unseen)?,
            Some(body) => {
                let read = self.bodies.read(body, self.gate.max_message);
                let late = |_| {
                    let message = "the body did not arrive in time";
                    Refusal::new(Kind::DeadlineExceeded, Reason::Body, message)
                };
                match timeout(WHOLE_BODY, read).await.map_err(late)? {
                    Ok(whole) if whole.bytes().is_empty() => check(Shown::Unseen)?,
                    Ok(whole) => check(Shown::Whole(whole.bytes()))?,
                    Err(NotWhole::TooLarge) => check(Shown::TooLarge)?,
                    Err(NotWhole::Busy) => {
                        let message = "the gate reads too many bodies of limited keys; try again";
                        return Err(Refusal::new(Kind::Unavailable, Reason::Bodies, message));
                    }
                    Err(NotWhole::Lost(_)) => check(Shown::Unseen)?,
                }
            }
        }
        self.pass(admitted).await
    }

    /// Decides about the request that a trusted proxy has described.
    ///
    /// # Errors
    /// Why it may not pass.
    pub(crate) async fn decide(
        &self,
        record: &Record,
        original: &Original,
        headers: &HeaderMap,
        body: Shown<'_>,
    ) -> Result<Passed, Refusal> {
        let (method, target) = (&original.method, &original.target);
        let admitted = self.gate.check(record, method, target, headers, body).await?;
        self.pass(admitted).await
    }

    async fn pass(&self, admitted: Admitted) -> Result<Passed, Refusal> {
        let token = match (&self.audience, &admitted.presented) {
            (Some(audience), Some(presented)) => {
                let token = self.upstream_tokens.authorization(presented, audience).await;
                Some(token.map_err(token::refusal)?)
            }
            (None, _) | (_, None) => None,
        };
        let mut headers = HeaderMap::with_capacity(RESPONSE_HEADERS);
        identity_headers::set(&mut headers, self.gate.identity(&admitted), token);
        Ok(Passed { admitted, headers })
    }

    /// Checks that a proxy is trusted.
    ///
    /// # Errors
    /// If the peer is not trusted; names the setting to change.
    pub fn trust(&self, peer: Option<IpAddr>) -> Result<(), Refusal> {
        if peer.is_some_and(|peer| self.trusted.contains(peer)) {
            return Ok(());
        }
        if !self.reported[0].swap(true, Ordering::Relaxed) {
            let peer = peer.map(tracing::field::display);
            tracing::warn!(
                peer,
                "refused a proxy's question about a request: it is not in server.trusted_proxies (logged once)"
            );
        }
        let message = "only proxies in server.trusted_proxies may ask whether a request may pass";
        Err(Refusal::new(Kind::Forbidden, Reason::UntrustedProxy, message))
    }

    /// Returns the request that a proxy asks about.
    ///
    /// # Errors
    /// If its headers are malformed; names the header to send.
    pub(crate) fn readable<T>(&self, original: Result<T, Malformed>) -> Result<T, Refusal> {
        original.map_err(|malformed| {
            if !self.reported[1].swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    reason = %malformed,
                    "refused a trusted proxy's question about a request: it is malformed (logged once)"
                );
            }
            Refusal::new(Kind::Invalid, Reason::Question, malformed.to_string())
        })
    }

    /// Lets a request pass, with every header that the upstream may believe: those without a value
    /// replace what the client sent.
    fn admit(&self, family: Family, passed: Passed, client: &HeaderMap) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        *headers = passed.headers;
        match family {
            Family::Nginx => {
                self.blank_credentials(headers);
                headers.insert(GATE_STATUS, StatusCode::OK.as_u16().into());
            }
            Family::Forward => self.blank_credentials(headers),
            Family::Envoy => envoy::remove(&self.gate.identity_headers, client, headers),
        }
        passed.admitted.set_rate(headers);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Blanks the headers in which a client sends its credential, unless they are set.
    fn blank_credentials(&self, headers: &mut HeaderMap) {
        for name in self.gate.identity_headers.credentials() {
            headers.entry(name).or_insert(HeaderValue::from_static(""));
        }
    }
}

fn refuse(family: Family, refusal: Refusal, protocol: &Protocol) -> Response {
    let true_status = refusal.kind.status();
    let status = match family {
        Family::Nginx => nginx::status(refusal.kind),
        Family::Forward | Family::Envoy => true_status,
    };
    let mut response = refusal.for_proxy(status, protocol);
    if family == Family::Nginx {
        response.headers_mut().insert(GATE_STATUS, true_status.as_u16().into());
    }
    response.map(Body::from)
}
