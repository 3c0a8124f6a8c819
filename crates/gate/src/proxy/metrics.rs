//! [`Metrics`]: the counters of the proxy, in Prometheus' text format.

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{callers::Place, failed::Failed};

/// The shortest time between two lines in the log about failures of one upstream.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// Upper bounds of the histogram's buckets, in microseconds.
const BUCKETS: [u64; 9] =
    [1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// The counters of one upstream.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    micros: AtomicU64,
    failures: [AtomicU64; Failed::REASONS.len()],
    /// Calls in progress.
    calls: AtomicUsize,
    tunnels: AtomicUsize,
    /// When a failure was last logged.
    logged: Mutex<Option<Instant>>,
}

/// A call in progress, until it is dropped.
pub(super) struct Call {
    metrics: Arc<Metrics>,
    /// Its place among the calls of its caller.
    _place: Place,
}

impl Call {
    pub(super) fn begin(metrics: &Arc<Metrics>, place: Place) -> Self {
        metrics.calls.fetch_add(1, Ordering::Relaxed);
        Self { metrics: metrics.clone(), _place: place }
    }

    /// Counts a response, whose headers took this long.
    pub(super) fn answered(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BUCKETS.iter().position(|bound| micros <= *bound).unwrap_or(BUCKETS.len());
        self.metrics.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.metrics.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts a request that the upstream did not answer. Returns whether to log it: in an outage,
    /// every request fails.
    pub(super) fn failed(&self, failed: &Failed) -> bool {
        self.metrics.failures[failed.index()].fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        let mut logged = self.metrics.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL);
        if is_due {
            *logged = Some(now);
        }
        is_due
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.metrics.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open websocket, until it is dropped.
pub(super) struct OpenTunnel(Arc<Metrics>);

impl OpenTunnel {
    pub(super) fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.tunnels.fetch_add(1, Ordering::Relaxed);
        Self(metrics.clone())
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The metrics of one upstream.
pub(super) struct Snapshot<'a> {
    /// Host and port.
    pub(super) name: String,
    pub(super) metrics: &'a Metrics,
    /// By protocol.
    pub(super) connections: [(&'static str, usize); 2],
}

/// Writes everything.
pub(super) fn write(text: &mut String, upstreams: &[Snapshot<'_>]) -> fmt::Result {
    let name = "gatekey_gate_upstream_duration_seconds";
    family(text, name, "histogram", "Time until the headers of the upstream's response.")?;
    for Snapshot { name: upstream, metrics, .. } in upstreams {
        let mut count = 0;
        for (bound, bucket) in BUCKETS.iter().zip(&metrics.buckets) {
            count += bucket.load(Ordering::Relaxed);
            let bound = seconds(*bound);
            writeln!(text, "{name}_bucket{{upstream=\"{upstream}\",le=\"{bound}\"}} {count}")?;
        }
        count += metrics.buckets[BUCKETS.len()].load(Ordering::Relaxed);
        writeln!(text, "{name}_bucket{{upstream=\"{upstream}\",le=\"+Inf\"}} {count}")?;
        let sum = seconds(metrics.micros.load(Ordering::Relaxed));
        writeln!(text, "{name}_sum{{upstream=\"{upstream}\"}} {sum}")?;
        writeln!(text, "{name}_count{{upstream=\"{upstream}\"}} {count}")?;
    }
    let name = "gatekey_gate_upstream_failures_total";
    family(text, name, "counter", "Requests that the upstream did not answer.")?;
    for Snapshot { name: upstream, metrics, .. } in upstreams {
        for (reason, count) in Failed::REASONS.iter().zip(&metrics.failures) {
            let count = count.load(Ordering::Relaxed);
            writeln!(text, "{name}{{upstream=\"{upstream}\",reason=\"{reason}\"}} {count}")?;
        }
    }
    let name = "gatekey_gate_upstream_connections";
    family(text, name, "gauge", "Connections to the upstream.")?;
    for Snapshot { name: upstream, connections, .. } in upstreams {
        for (protocol, count) in connections {
            writeln!(text, "{name}{{upstream=\"{upstream}\",protocol=\"{protocol}\"}} {count}")?;
        }
    }
    let name = "gatekey_gate_calls";
    family(text, name, "gauge", "Calls in progress, including streams.")?;
    for Snapshot { name: upstream, metrics, .. } in upstreams {
        let calls = metrics.calls.load(Ordering::Relaxed);
        writeln!(text, "{name}{{upstream=\"{upstream}\"}} {calls}")?;
    }
    let name = "gatekey_gate_tunnels";
    family(text, name, "gauge", "Open websockets, which are calls in progress as well.")?;
    for Snapshot { name: upstream, metrics, .. } in upstreams {
        let tunnels = metrics.tunnels.load(Ordering::Relaxed);
        writeln!(text, "{name}{{upstream=\"{upstream}\"}} {tunnels}")?;
    }
    Ok(())
}

pub(super) fn family(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}")
}

/// Formats microseconds as seconds, without a rounding error.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
