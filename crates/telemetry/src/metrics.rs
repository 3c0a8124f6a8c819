//! [`Metrics`]: counters, and their format for Prometheus.
//!
//! Counters are atomics, and every label is known at start: a request costs one lookup in a fixed
//! table and three additions, whatever its path is. Written by hand in Prometheus' text format,
//! which is a page long (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use gatekey_core::{Timestamp, memory::KeyCounts};

use crate::{
    outcome::{GrpcStatus, Outcome},
    traces::export::Counts,
};

/// The route that counts all unknown paths.
const OTHER: Route = Route { path: "other", is_rpc: false };
/// Upper bounds of the histogram's buckets, in microseconds; one more bucket lies beyond the last.
const BUCKETS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// A path that the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The path; a pattern stands for every path that matches it.
    pub path: &'static str,
    /// Whether the path is the name of an RPC procedure.
    pub is_rpc: bool,
}

#[derive(Debug)]
pub struct Metrics {
    by_path: HashMap<&'static str, usize>,
    /// The last one is for paths that are not served.
    routes: Box<[RouteCounters]>,
    tokens_issued: AtomicU64,
    unauthenticated_calls: AtomicU64,
}

/// The counters of one route.
#[derive(Debug)]
pub struct RouteCounters {
    route: Route,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// By gRPC status; only for procedures.
    grpc_statuses: Option<Box<[AtomicU64; GrpcStatus::COUNT]>>,
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
}

/// Values that are read when Prometheus scrapes, rather than counted.
pub struct Gauges<'a> {
    pub keys: KeyCounts,
    pub denied_tokens: usize,
    /// Store calls that wait for a commit.
    pub store_queue_depth: usize,
    /// When the first certificate of the served chain expires; `None` without TLS.
    pub certificate_expires_at: Option<Timestamp>,
    pub log_lines_dropped: u64,
    /// Hits and misses of each cache.
    pub caches: &'a [(&'static str, (u64, u64))],
    /// `None` when no traces are exported.
    pub spans: Option<&'a Counts>,
}

impl RouteCounters {
    fn new(route: Route) -> Self {
        Self {
            route,
            outcomes: Default::default(),
            grpc_statuses: route.is_rpc.then(Box::default),
            buckets: Default::default(),
            micros: AtomicU64::new(0),
        }
    }

    /// Returns the route; `None` for the counters of unknown paths.
    pub fn route(&self) -> Option<Route> {
        (self.route != OTHER).then_some(self.route)
    }

    /// Counts an answered request.
    pub fn count(&self, outcome: Outcome, grpc_status: Option<GrpcStatus>, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS.len());
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        if let (Some(counters), Some(status)) = (&self.grpc_statuses, grpc_status) {
            counters[status.index()].fetch_add(1, Ordering::Relaxed);
        }
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Metrics {
    /// Creates counters at zero, with labels for the given routes.
    pub fn new(routes: impl IntoIterator<Item = Route>) -> Self {
        let routes: Box<[_]> = routes.into_iter().chain([OTHER]).map(RouteCounters::new).collect();
        let by_path =
            routes.iter().enumerate().map(|(index, counters)| (counters.route.path, index));
        Self {
            by_path: by_path.collect(),
            routes,
            tokens_issued: AtomicU64::new(0),
            unauthenticated_calls: AtomicU64::new(0),
        }
    }

    /// Returns the counters of a path.
    pub fn route(&self, path: &str) -> &RouteCounters {
        &self.routes[self.by_path.get(path).copied().unwrap_or(self.routes.len() - 1)]
    }

    pub fn count_token(&self) {
        self.tokens_issued.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an unauthenticated call for the log. Every public client begins with one, so it is
    /// not recorded in the ledger.
    pub fn count_unauthenticated(&self) {
        self.unauthenticated_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the unauthenticated calls since the last time.
    pub fn take_unauthenticated(&self) -> u64 {
        self.unauthenticated_calls.swap(0, Ordering::Relaxed)
    }

    /// Writes everything in Prometheus' text format.
    pub fn render(&self, gauges: &Gauges<'_>) -> String {
        let mut text = String::with_capacity(64 * 1024);
        self.write(&mut text, gauges).expect("writing to a string does not fail");
        text
    }

    fn write(&self, text: &mut String, gauges: &Gauges<'_>) -> fmt::Result {
        let Gauges { keys: KeyCounts { enabled, disabled, expired }, denied_tokens, .. } = *gauges;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        family(text, "gatekey_requests_total", "counter", "Requests by route and outcome.")?;
        for RouteCounters { route: Route { path, .. }, outcomes, .. } in &self.routes {
            for outcome in Outcome::ALL {
                let (count, outcome) = (read(&outcomes[outcome as usize]), outcome.label());
                writeln!(
                    text,
                    "gatekey_requests_total{{route=\"{path}\",outcome=\"{outcome}\"}} {count}"
                )?;
            }
        }
        let help = "Calls by procedure and gRPC status, over any protocol.";
        family(text, "gatekey_calls_total", "counter", help)?;
        for RouteCounters { route: Route { path, .. }, grpc_statuses, .. } in &self.routes {
            for (status, counter) in
                GrpcStatus::all().zip(grpc_statuses.iter().flat_map(|all| &**all))
            {
                let (count, status) = (read(counter), status.name());
                // Most procedures never have most statuses.
                if count > 0 {
                    writeln!(
                        text,
                        "gatekey_calls_total{{route=\"{path}\",grpc_status=\"{status}\"}} {count}"
                    )?;
                }
            }
        }
        let name = "gatekey_request_duration_seconds";
        family(text, name, "histogram", "Time until the response's headers, by route.")?;
        for RouteCounters { route: Route { path, .. }, buckets, micros, .. } in &self.routes {
            let mut count = 0;
            for (bound, bucket) in BUCKETS.iter().zip(buckets) {
                count += read(bucket);
                let bound = seconds(*bound);
                writeln!(text, "{name}_bucket{{route=\"{path}\",le=\"{bound}\"}} {count}")?;
            }
            count += read(&buckets[BUCKETS.len()]);
            writeln!(text, "{name}_bucket{{route=\"{path}\",le=\"+Inf\"}} {count}")?;
            writeln!(text, "{name}_sum{{route=\"{path}\"}} {}", seconds(read(micros)))?;
            writeln!(text, "{name}_count{{route=\"{path}\"}} {count}")?;
        }
        family(text, "gatekey_tokens_issued_total", "counter", "Access tokens issued.")?;
        writeln!(text, "gatekey_tokens_issued_total {}", read(&self.tokens_issued))?;
        family(text, "gatekey_keys", "gauge", "API keys by state.")?;
        for (state, keys) in [("enabled", enabled), ("disabled", disabled), ("expired", expired)] {
            writeln!(text, "gatekey_keys{{state=\"{state}\"}} {keys}")?;
        }
        family(text, "gatekey_denied_tokens", "gauge", "Tokens on the deny-list.")?;
        writeln!(text, "gatekey_denied_tokens {denied_tokens}")?;
        let name = "gatekey_cache_lookups_total";
        family(text, name, "counter", "Lookups in caches of credentials and tokens.")?;
        for (cache, (hits, misses)) in gauges.caches {
            writeln!(text, "{name}{{cache=\"{cache}\",outcome=\"hit\"}} {hits}")?;
            writeln!(text, "{name}{{cache=\"{cache}\",outcome=\"miss\"}} {misses}")?;
        }
        family(text, "gatekey_store_queue_depth", "gauge", "Store calls that wait for a commit.")?;
        writeln!(text, "gatekey_store_queue_depth {}", gauges.store_queue_depth)?;
        if let Some(expires_at) = gauges.certificate_expires_at {
            let name = "gatekey_certificate_expires_seconds";
            family(text, name, "gauge", "When the certificate expires, in seconds since 1970.")?;
            writeln!(text, "{name} {}", expires_at.as_seconds())?;
        }
        let name = "gatekey_log_lines_dropped_total";
        family(text, name, "counter", "Log lines dropped because their reader was too slow.")?;
        writeln!(text, "{name} {}", gauges.log_lines_dropped)?;
        if let Some(spans) = gauges.spans {
            family(
                text,
                "gatekey_spans_total",
                "counter",
                "Recorded spans, by result of the export.",
            )?;
            let outcomes =
                [("sent", spans.sent()), ("failed", spans.failed()), ("dropped", spans.dropped())];
            for (outcome, spans) in outcomes {
                writeln!(text, "gatekey_spans_total{{outcome=\"{outcome}\"}} {spans}")?;
            }
        }
        family(text, "gatekey_build_info", "gauge", "1, labelled with the version.")?;
        writeln!(text, "gatekey_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Formats microseconds as seconds, without a rounding error.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        let cases = [
            (0, "0"),
            (100, "0.0001"),
            (2_500, "0.0025"),
            (10_000_000, "10"),
            (1_000_001, "1.000001"),
        ];
        for (micros, expected) in cases {
            assert_eq!(seconds(micros), expected);
        }
    }
}
