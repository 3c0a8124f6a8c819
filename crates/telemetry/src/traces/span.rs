//! [`RequestSpan`]: the span of a request.
//!
//! Its attributes follow the semantic conventions of HTTP and RPC
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>,
//! <https://opentelemetry.io/docs/specs/semconv/rpc/rpc-spans/>) and carry what the request's log
//! line carries. Nothing comes from a query, a header or a body, except the request id, which is
//! checked before it is used.

use axum::http::{HeaderMap, HeaderValue, Version, header};
use opentelemetry::{
    Context, KeyValue,
    context::FutureExt as _,
    trace::{Span as _, Status, TraceContextExt as _},
};
use opentelemetry_sdk::trace::Span;
use url::Url;

use super::stopwatch::Stopwatch;
use crate::{metrics::Route, outcome::Outcome, request_log::RequestLine};

/// Returns the `traceparent` of what the current request sends to others; `None` if its span is not
/// recorded.
pub fn traceparent() -> Option<HeaderValue> {
    Context::map_current(|context| {
        let span = context.span();
        let of = span.span_context();
        let text = || format!("00-{}-{}-{:02x}", of.trace_id(), of.span_id(), of.trace_flags());
        of.is_valid().then(|| HeaderValue::from_str(&text()).ok()).flatten()
    })
}

/// Attributes that every request's span has.
pub(super) struct FixedAttributes([KeyValue; 3]);

impl FixedAttributes {
    pub(super) fn new(public_url: &Url) -> Self {
        let host = public_url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = public_url.port_or_known_default().map_or(0, i64::from);
        Self([
            KeyValue::new("url.scheme", public_url.scheme().to_owned()),
            KeyValue::new("server.address", host),
            KeyValue::new("server.port", port),
        ])
    }
}

/// The span of a request that is recorded.
///
/// Dropped before `Self::end`, it reports that the client no longer waited for the response.
pub struct RequestSpan {
    /// A context with the span in it.
    context: Context,
    stopwatch: Stopwatch,
    method: Option<&'static str>,
    route: Option<Route>,
    /// The RPC protocol, if the request calls a procedure.
    rpc: Option<&'static str>,
    ended: bool,
}

impl RequestSpan {
    /// Returns `None` for a span that is not recorded.
    pub(super) fn new(
        mut span: Span,
        stopwatch: Stopwatch,
        method: Option<&'static str>,
        route: Option<Route>,
        headers: &HeaderMap,
        fixed: &FixedAttributes,
    ) -> Option<Self> {
        if !span.is_recording() {
            return None;
        }
        span.set_attributes(fixed.0.iter().cloned());
        let rpc = route.filter(|route| route.is_rpc).map(|_| protocol(headers));
        let context = Context::new().with_span(span);
        Some(Self { context, stopwatch, method, route, rpc, ended: false })
    }

    /// Runs work for the request, so that spans which the work begins are below this one.
    pub(crate) async fn within<F: Future>(span: Option<&Self>, work: F) -> F::Output {
        match span {
            None => work.await,
            Some(span) => work.with_context(span.context.clone()).await,
        }
    }

    /// Ends the span of an answered request.
    pub(crate) fn end(mut self, line: &RequestLine<'_>, route: Option<Route>) {
        self.route = route;
        let span = self.context.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(line.status)));
        span.set_attribute(KeyValue::new("url.path", line.path.to_owned()));
        span.set_attribute(KeyValue::new("network.protocol.version", version(line.version)));
        span.set_attribute(KeyValue::new("gatekey.request_id", line.request_id.to_owned()));
        if !line.client_id.is_empty() {
            span.set_attribute(KeyValue::new("gatekey.client_id", line.client_id.to_owned()));
        }
        if let Some(peer) = line.peer {
            span.set_attribute(KeyValue::new("client.address", peer.to_string()));
        }
        if let Some(status) = line.grpc_status {
            span.set_attribute(KeyValue::new("rpc.response.status_code", status));
        }
        if line.outcome == Outcome::Failed {
            let kind = line.grpc_status.map_or_else(|| line.status.to_string(), str::to_owned);
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(""));
        }
        self.finish(line.outcome.label());
    }

    fn finish(&mut self, outcome: &'static str) {
        self.ended = true;
        let span = self.context.span();
        let method = self.method.unwrap_or("HTTP");
        span.set_attribute(KeyValue::new("http.request.method", self.method.unwrap_or("_OTHER")));
        span.set_attribute(KeyValue::new("gatekey.outcome", outcome));
        match self.route {
            Some(Route { path, .. }) => {
                span.set_attribute(KeyValue::new("http.route", path));
                span.update_name(format!("{method} {path}"));
            }
            None => span.update_name(method),
        }
        if let (Some(system), Some(Route { path, .. })) = (self.rpc, self.route) {
            span.set_attribute(KeyValue::new("rpc.system.name", system));
            span.set_attribute(KeyValue::new("rpc.method", path.trim_start_matches('/')));
        }
        span.end_with_timestamp(self.stopwatch.now());
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        if !self.ended {
            self.finish("abandoned");
        }
    }
}

/// Returns the protocol by which a procedure is called.
fn protocol(headers: &HeaderMap) -> &'static str {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type.is_some_and(|content_type| content_type.starts_with("application/grpc")) {
        "grpc"
    } else {
        "connectrpc"
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
