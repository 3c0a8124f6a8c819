//! What is counted of a running server, and how Prometheus reads it.
//!
//! Counters are atomics, and every label is known at start: a request costs one look into a fixed table and
//! three additions, whatever its path is. Written by hand in Prometheus' text format, which is a page long
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::{
    collections::{BTreeSet, HashMap},
    fmt::{self, Write as _},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderMap, StatusCode, header};
use connectrpc::ErrorCode;
use gatekey_core::{Directory, Store, Timestamp, memory::KeyCounts};

use crate::{
    endpoints::ENDPOINTS,
    rpc::{authorize, bindings::Bindings},
    traces::export::Counts,
};

/// The label of every path that is not served.
const OTHER: &str = "other";
/// Upper ends of the histogram's buckets, in microseconds; beyond them lies one more.
const BUCKETS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was carried out.
    Ok,
    /// There was no credential in force.
    Unauthenticated,
    /// The caller may not.
    Denied,
    /// It was wrong, or asked for what is not there.
    Refused,
    /// The server is at fault.
    Failed,
}

impl Outcome {
    const ALL: [Self; 5] = [Self::Ok, Self::Unauthenticated, Self::Denied, Self::Refused, Self::Failed];

    /// What it is called.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// By the status of an answer, and by gRPC's, which an answer without a message has in its headers.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        if let Some(grpc_status) = headers.get("grpc-status").and_then(|value| value.to_str().ok()) {
            let code = grpc_status.parse().ok().and_then(ErrorCode::from_grpc_code);
            return code.map_or(Self::Ok, Self::of_code);
        }
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Denied,
            // What is not served is nobody's fault here.
            StatusCode::NOT_IMPLEMENTED => Self::Refused,
            status if status.is_client_error() => Self::Refused,
            status if status.is_server_error() => Self::Failed,
            _ => Self::Ok,
        }
    }

    /// By the code of an RPC's error.
    pub fn of_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::Unauthenticated => Self::Unauthenticated,
            ErrorCode::PermissionDenied => Self::Denied,
            ErrorCode::Unknown
            | ErrorCode::DeadlineExceeded
            | ErrorCode::Internal
            | ErrorCode::Unavailable
            | ErrorCode::DataLoss => Self::Failed,
            _ => Self::Refused,
        }
    }
}

/// Where a gRPC-Web call's outcome is left: its status stands in the body, where nobody looks for it. In the
/// extensions of such a request alone.
#[derive(Debug, Clone, Default)]
pub struct Told(Arc<OnceLock<Outcome>>);

impl Told {
    /// For a request, if it needs one.
    pub fn wanted(headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        content_type.starts_with("application/grpc-web").then(Self::default)
    }

    /// Leaves the outcome.
    pub fn tell(&self, outcome: Outcome) {
        let _ = self.0.set(outcome);
    }

    /// The outcome, if it was left.
    pub fn get(&self) -> Option<Outcome> {
        self.0.get().copied()
    }
}

/// What is counted of one route.
#[derive(Debug, Default)]
struct Route {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    labels: HashMap<&'static str, usize>,
    /// In the order of the labels; the last is for paths that are not served.
    routes: Box<[Route]>,
    tokens_issued: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        let labels = served().enumerate().map(|(place, label)| (label, place)).collect();
        let routes = served().map(|_| Route::default()).chain([Route::default()]).collect();
        Self { labels, routes, tokens_issued: AtomicU64::new(0) }
    }
}

/// Every path that is served; one with a name in it stands for all that fit it.
fn served() -> impl Iterator<Item = &'static str> {
    let bound: BTreeSet<_> = Bindings::get().iter().map(|binding| binding.path.as_str()).collect();
    ENDPOINTS.iter().map(|endpoint| endpoint.path).chain(bound).chain(authorize::procedures())
}

/// The path that an answer is counted under, when that is not the request's own; in the answer's extensions.
#[derive(Debug, Clone, Copy)]
pub struct CountedAs(pub &'static str);

impl Metrics {
    /// Counts an answered request.
    pub fn count(&self, path: &str, outcome: Outcome, took: Duration) {
        let place = self.labels.get(path).copied().unwrap_or(self.routes.len() - 1);
        let route = &self.routes[place];
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|end| micros <= *end).unwrap_or(BUCKETS.len());
        route.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        route.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        route.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// The path as a label, if it is served.
    pub fn route(&self, path: &str) -> Option<&'static str> {
        self.labels.get_key_value(path).map(|(route, _)| *route)
    }

    /// Counts a token.
    pub fn count_token(&self) {
        self.tokens_issued.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything, with what directory and store say of themselves, in Prometheus' text format.
    pub fn render(
        &self,
        directory: &Directory,
        store: &dyn Store,
        spans: Option<&Counts>,
        now: Timestamp,
    ) -> String {
        let mut text = String::with_capacity(64 * 1024);
        let written = self.write(&mut text, directory, store, spans, now);
        written.expect("writing to a string does not fail");
        text
    }

    fn write(
        &self,
        text: &mut String,
        directory: &Directory,
        store: &dyn Store,
        spans: Option<&Counts>,
        now: Timestamp,
    ) -> fmt::Result {
        family(text, "gatekey_requests_total", "counter", "Requests by route and outcome.")?;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for (label, route) in self.labelled() {
            for outcome in Outcome::ALL {
                let (count, outcome) = (read(&route.outcomes[outcome as usize]), outcome.label());
                writeln!(text, "gatekey_requests_total{{route=\"{label}\",outcome=\"{outcome}\"}} {count}")?;
            }
        }
        let name = "gatekey_request_duration_seconds";
        family(text, name, "histogram", "Time until the headers of an answer, by route.")?;
        for (label, route) in self.labelled() {
            let mut count = 0;
            for (end, bucket) in BUCKETS.iter().zip(&route.buckets) {
                count += read(bucket);
                let end = seconds(*end);
                writeln!(text, "{name}_bucket{{route=\"{label}\",le=\"{end}\"}} {count}")?;
            }
            count += read(&route.buckets[BUCKETS.len()]);
            writeln!(text, "{name}_bucket{{route=\"{label}\",le=\"+Inf\"}} {count}")?;
            writeln!(text, "{name}_sum{{route=\"{label}\"}} {}", seconds(read(&route.micros)))?;
            writeln!(text, "{name}_count{{route=\"{label}\"}} {count}")?;
        }
        family(text, "gatekey_tokens_issued_total", "counter", "Access tokens issued.")?;
        writeln!(text, "gatekey_tokens_issued_total {}", read(&self.tokens_issued))?;
        family(text, "gatekey_keys", "gauge", "API keys by state.")?;
        let KeyCounts { enabled, disabled, expired } = directory.count(now);
        for (state, keys) in [("enabled", enabled), ("disabled", disabled), ("expired", expired)] {
            writeln!(text, "gatekey_keys{{state=\"{state}\"}} {keys}")?;
        }
        family(text, "gatekey_denied_tokens", "gauge", "Tokens on the deny-list.")?;
        writeln!(text, "gatekey_denied_tokens {}", directory.denied_tokens())?;
        family(text, "gatekey_store_queue_depth", "gauge", "Store calls that wait for a commit.")?;
        writeln!(text, "gatekey_store_queue_depth {}", store.queue_depth())?;
        if let Some(spans) = spans {
            family(
                text,
                "gatekey_spans_total",
                "counter",
                "Spans that were recorded, by what became of them.",
            )?;
            let outcomes = [("sent", spans.sent()), ("failed", spans.failed()), ("dropped", spans.dropped())];
            for (outcome, spans) in outcomes {
                writeln!(text, "gatekey_spans_total{{outcome=\"{outcome}\"}} {spans}")?;
            }
        }
        family(text, "gatekey_build_info", "gauge", "1, labelled with the version.")?;
        writeln!(text, "gatekey_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
    }

    fn labelled(&self) -> impl Iterator<Item = (&'static str, &Route)> {
        served().chain([OTHER]).zip(&self.routes)
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Microseconds as seconds, without a rounding error.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_follows_from_either_status() {
        let outcome = |status: u16, grpc_status: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(grpc_status) = grpc_status {
                headers.insert("grpc-status", grpc_status.parse().unwrap());
            }
            Outcome::of(StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert_eq!(outcome(200, None), Outcome::Ok);
        assert_eq!(outcome(401, None), Outcome::Unauthenticated);
        assert_eq!(outcome(403, None), Outcome::Denied);
        assert_eq!(outcome(404, None), Outcome::Refused);
        assert_eq!(outcome(501, None), Outcome::Refused);
        assert_eq!(outcome(500, None), Outcome::Failed);
        assert_eq!(outcome(200, Some("0")), Outcome::Ok);
        assert_eq!(outcome(200, Some("16")), Outcome::Unauthenticated);
        assert_eq!(outcome(200, Some("7")), Outcome::Denied);
        assert_eq!(outcome(200, Some("5")), Outcome::Refused);
        assert_eq!(outcome(200, Some("14")), Outcome::Failed);
    }

    #[test]
    fn seconds_are_exact() {
        let cases =
            [(0, "0"), (100, "0.0001"), (2_500, "0.0025"), (10_000_000, "10"), (1_000_001, "1.000001")];
        for (micros, expected) in cases {
            assert_eq!(seconds(micros), expected);
        }
    }
}
