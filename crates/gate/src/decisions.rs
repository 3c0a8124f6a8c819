//! [`Decisions`]: counts the gate's decisions by reason.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::reason::Reason;

/// Why a call that was allowed may be ended.
const ENDS: [Reason; 8] = [
    Reason::Credential,
    Reason::Role,
    Reason::Scope,
    Reason::Network,
    Reason::Changed,
    Reason::Deadline,
    Reason::Stopping,
    Reason::Unavailable,
];

/// Counts decisions, and the calls that the gate ends. Every label is known at start.
#[derive(Debug, Default)]
pub struct Decisions {
    /// Requests of known callers.
    by_key: AtomicU64,
    anonymous: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
    ended: [AtomicU64; ENDS.len()],
}

impl Decisions {
    /// Counts a request that may pass.
    pub(crate) fn allow(&self, is_known: bool) {
        let counter = if is_known { &self.by_key } else { &self.anonymous };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is refused, or fails.
    pub(crate) fn refuse(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a call that was allowed and may not go on.
    pub(crate) fn end(&self, reason: Reason) {
        if let Some(index) = ENDS.iter().position(|listed| *listed == reason) {
            self.ended[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the counters in Prometheus' text format.
    ///
    /// # Errors
    /// Those of the text.
    pub fn write(&self, text: &mut String) -> fmt::Result {
        let name = "gatekey_gate_decisions_total";
        writeln!(text, "# HELP {name} Decisions of the gate.\n# TYPE {name} counter")?;
        for (reason, count) in [("key", &self.by_key), ("anonymous", &self.anonymous)] {
            let count = count.load(Ordering::Relaxed);
            writeln!(text, "{name}{{outcome=\"allowed\",reason=\"{reason}\"}} {count}")?;
        }
        for (reason, count) in Reason::ALL.iter().zip(&self.refused) {
            let outcome = if reason.is_of_caller() { "refused" } else { "failed" };
            let (reason, count) = (reason.as_str(), count.load(Ordering::Relaxed));
            writeln!(text, "{name}{{outcome=\"{outcome}\",reason=\"{reason}\"}} {count}")?;
        }
        let name = "gatekey_gate_calls_ended_total";
        writeln!(text, "# HELP {name} Allowed calls that the gate ended.\n# TYPE {name} counter")?;
        for (reason, count) in ENDS.iter().zip(&self.ended) {
            let (reason, count) = (reason.as_str(), count.load(Ordering::Relaxed));
            writeln!(text, "{name}{{reason=\"{reason}\"}} {count}")?;
        }
        Ok(())
    }
}
