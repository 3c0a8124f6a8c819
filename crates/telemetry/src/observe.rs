//! [`Telemetry`]: the outermost layer of the server.

use std::{
    convert::Infallible,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, Version},
    response::Response,
};
use gatekey_core::redact;
use tower::{Service, ServiceExt as _, service_fn};

use crate::{
    client_address::ClientAddresses,
    late_status::{LateStatus, has_late_status},
    metrics::Metrics,
    outcome::{GrpcStatus, Outcome},
    record::Record,
    request_id::{REQUEST_ID, RequestIds},
    request_log::{RequestLine, RequestLog, known_method},
    traces::{Traces, span::RequestSpan},
};

/// Characters of a key's path that are logged.
const MAX_PATH: usize = 256;
/// Characters of anyone else's path that are logged, unless a route has that path.
const MAX_UNKNOWN_PATH: usize = 32;

pub struct Telemetry {
    pub request_ids: RequestIds,
    /// Finds the addresses of clients behind proxies.
    pub client_addresses: ClientAddresses,
    pub request_log: Arc<dyn RequestLog>,
    pub metrics: Metrics,
    /// `None` when no collector is configured.
    pub traces: Option<Traces>,
}

impl Telemetry {
    /// Wraps a service, so that each request has a [`Record`] in its extensions and leaves a log
    /// line, a count and a span.
    ///
    /// Wraps the router rather than being one of its layers: those put each request on the heap.
    pub fn observe<S>(
        self: Arc<Self>,
        service: S,
    ) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
    where
        S: Service<Request, Response = Response, Error = Infallible, Future: Send>
            + Clone
            + Send
            + 'static,
    {
        service_fn(move |request| {
            let (telemetry, service) = (self.clone(), service.clone());
            async move { telemetry.answer(request, service).await }
        })
    }

    /// Neither query nor headers are logged: both may contain secrets.
    async fn answer<S>(
        self: Arc<Self>,
        mut request: Request,
        mut service: S,
    ) -> Result<Response, Infallible>
    where
        S: Service<Request, Response = Response, Error = Infallible>,
    {
        let started = Instant::now();
        let record = Arc::new(Record::new(&request, &self.client_addresses, &self.request_ids));
        let method = known_method(request.method());
        let path = redact(request.uri().path(), MAX_PATH);
        let version = request.version();
        request.extensions_mut().insert(record.clone());
        let traces = self.traces.as_ref();
        let span = traces.and_then(|traces| {
            traces.begin_request(method, self.metrics.route(&path).route(), request.headers())
        });
        // Pinned where it is made: each move would copy all that a handler holds.
        let answered = pin!(service.ready().await?.call(request));
        let mut response = RequestSpan::within(span.as_ref(), answered).await?;
        if let Ok(value) = HeaderValue::from_str(&record.request_id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let grpc_status =
            record.grpc_status().or_else(|| GrpcStatus::of_headers(response.headers()));
        let status = response.status();
        let answered =
            Answered { record, method, path, version, status, took: started.elapsed(), span };
        if grpc_status.is_none() && has_late_status(response.headers()) {
            return Ok(response.map(|body| {
                Body::new(LateStatus::new(body, move |status| self.report(answered, status)))
            }));
        }
        self.report(answered, grpc_status);
        Ok(response)
    }

    /// Leaves the log line, the counts and the span of an answered request.
    fn report(&self, answered: Answered, grpc_status: Option<GrpcStatus>) {
        let Answered { record, method, path, version, status, took, span } = answered;
        let outcome = Outcome::of(status, grpc_status);
        let counters = self.metrics.route(record.route().unwrap_or(&path));
        counters.count(outcome, grpc_status, took);
        let path = match (record.caller_name(), counters.route()) {
            (None, route) if route.is_none_or(|route| route.path != path) => {
                truncated(&path, MAX_UNKNOWN_PATH)
            }
            _ => &path,
        };
        let line = RequestLine {
            request_id: &record.request_id,
            method: method.unwrap_or("_OTHER"),
            path,
            version,
            status: status.as_u16(),
            grpc_status: grpc_status.map(GrpcStatus::name),
            outcome,
            client_id: record.caller_name().unwrap_or_default(),
            failure: record.failure(),
            peer: record.peer,
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        };
        self.request_log.log(&line);
        if let Some(span) = span {
            span.end(&line, counters.route());
        }
    }
}

/// Truncates a text to a number of characters.
fn truncated(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(end, _)| &text[..end])
}

/// A request whose response has begun.
struct Answered {
    record: Arc<Record>,
    method: Option<&'static str>,
    path: String,
    version: Version,
    status: StatusCode,
    /// Until the response's headers.
    took: Duration,
    span: Option<RequestSpan>,
}
