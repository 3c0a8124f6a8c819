//! [`Proxy`]: passes requests that the gate admits on to the upstream.
//!
//! Bodies and trailers are passed on frame by frame, as the other side accepts them. The proxy
//! repeats no request, except one that a closing connection never took.
//!
//! # Layout
//! - [`upstream`]: a server that requests are passed on to.
//! - `address`: how to connect to it. `http1`, `http2`: its connections.
//! - `failed`: why it did not answer.
//! - `forwarded`: the headers that belong to one connection, and what the proxy says about it.
//! - `deadline`: the time that a client gives a call.
//! - `request_body`, `response_body`: what is passed on.
//! - `watch`: ends calls that may not go on.

mod address;
mod deadline;
mod failed;
mod forwarded;
mod http1;
mod http2;
mod request_body;
mod response_body;
pub mod upstream;
mod watch;

use std::sync::Arc;

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header},
    response::Response,
};
use gatekey_telemetry::Record;

use self::{failed::Failed, request_body::RequestBody, response_body::ResponseBody, watch::Watch};
pub use self::{upstream::Upstream, watch::Stop};
use crate::{
    gate::{Admitted, Gate},
    identity_headers,
    path::InvalidPath,
    protocol::Protocol,
    refusal::{Kind, Refusal},
    token::{self, UpstreamTokens},
};

/// The route of all requests that the gate answers, in metrics.
pub const ROUTE: &str = "gate";

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Passes requests on to the upstream.
pub struct Proxy {
    pub gate: Arc<Gate>,
    pub upstream: Arc<Upstream>,
    /// The audience of the token that the upstream gets in place of the credential, if it gets one.
    pub audience: Option<Box<str>>,
    pub upstream_tokens: Arc<UpstreamTokens>,
    /// How clients reach the server: `https` or `http`.
    pub public_scheme: HeaderValue,
    /// The host for the upstream where a client of HTTP/1.0 names none.
    pub public_host: HeaderValue,
    /// When the server stops.
    pub stop: Arc<Stop>,
}

/// Marks a response of the upstream, which is passed on as it is.
#[derive(Debug, Clone, Copy)]
pub struct FromUpstream;

impl Proxy {
    /// Answers a request: by the upstream's response, or by a refusal in the protocol of the
    /// request.
    pub async fn answer(&self, record: &Record, request: Request) -> Response {
        record.set_route(ROUTE);
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let protocol = Protocol::of(request.method(), target, request.headers());
        match self.pass(record, &protocol, request).await {
            Ok(response) => response,
            Err(refusal) => refusal.respond(record, &protocol),
        }
    }

    async fn pass(
        &self,
        record: &Record,
        protocol: &Protocol,
        request: Request,
    ) -> Result<Response, Refusal> {
        let (mut head, body) = request.into_parts();
        if matches!(head.method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal::new(
                Kind::NotSupported,
                "the gate does not pass on CONNECT and TRACE",
            ));
        }
        // A whole URL as the target names a host of its own (RFC 9112 section 3.2.2). HTTP/2 always
        // has the parts of one.
        if head.version < Version::HTTP_2 && head.uri.scheme().is_some() {
            return Err(InvalidPath::Origin.into());
        }
        let admitted = self.gate.check(record, &head.method, &head.uri, &head.headers).await?;
        forwarded::expectation(&head.headers)?;
        if head.headers.contains_key(header::UPGRADE) {
            return Err(Refusal::new(Kind::NotSupported, "the gate does not pass on upgrades"));
        }
        let deadline = deadline::of(&head.headers);
        let watch = Watch::new(self.gate.clone(), admitted.clone(), deadline, self.stop.clone());
        let host = forwarded::host(&head).unwrap_or_else(|| self.public_host.clone());
        let token = self.token(&admitted).await?;
        self.rewrite(record, &admitted, token, &host, &mut head.headers);
        let is_grpc = matches!(protocol, Protocol::Grpc(_));
        let body = RequestBody::new(body, self.gate.clone());
        let request = Request::from_parts(head, body);
        let mut watch = watch;
        let (response, lease) = watch
            .until(self.upstream.send(request, host, is_grpc))
            .await?
            .map_err(|failed| report(&failed))?;
        let (mut head, body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Err(report(&Failed::Lost("it switched protocols unasked".into())));
        }
        forwarded::remove_hop_by_hop(&mut head.headers);
        head.version = Version::default();
        head.extensions.insert(FromUpstream);
        let body = ResponseBody::new(body, lease, watch, protocol.clone());
        Ok(Response::from_parts(head, Body::new(body)))
    }

    /// The token by which the upstream learns who calls.
    async fn token(&self, admitted: &Admitted) -> Result<Option<HeaderValue>, Refusal> {
        let (Some(audience), Some(presented)) = (&self.audience, &admitted.presented) else {
            return Ok(None);
        };
        let token = self.upstream_tokens.authorization(presented, audience).await;
        token.map(Some).map_err(token::refusal)
    }

    /// Replaces everything that a client must not tell the upstream.
    fn rewrite(
        &self,
        record: &Record,
        admitted: &Admitted,
        token: Option<HeaderValue>,
        host: &HeaderValue,
        headers: &mut HeaderMap,
    ) {
        let trailers = forwarded::accepts_trailers(headers);
        self.gate.identity_headers.remove(headers);
        forwarded::remove_hop_by_hop(headers);
        headers.remove(header::EXPECT);
        if trailers {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        identity_headers::set(headers, &self.gate.identity(admitted), token);
        forwarded::set(headers, record.peer, &self.public_scheme, host);
        if let Ok(id) = HeaderValue::from_str(&record.request_id) {
            headers.insert(X_REQUEST_ID, id);
        }
    }
}

/// Logs why the upstream did not answer, and returns what its caller learns.
fn report(failed: &Failed) -> Refusal {
    tracing::warn!(%failed, "the upstream did not answer a request");
    failed.into()
}
