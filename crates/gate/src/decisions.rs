//! [`Decisions`]: counts the gate's decisions by reason.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::reason::Reason;

/// Counts decisions. Every label is known at start.
#[derive(Debug, Default)]
pub struct Decisions {
    /// Requests of known callers.
    by_key: AtomicU64,
    anonymous: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
}

impl Decisions {
    /// Counts a request that may pass.
    pub(crate) fn allow(&self, is_known: bool) {
        let counter = if is_known { &self.by_key } else { &self.anonymous };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that is refused. Outages are counted elsewhere.
    pub(crate) fn refuse(&self, reason: Reason) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
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
        let refused = Reason::ALL.iter().zip(&self.refused);
        for (reason, count) in refused.filter(|(reason, _)| reason.is_of_caller()) {
            let (reason, count) = (reason.as_str(), count.load(Ordering::Relaxed));
            writeln!(text, "{name}{{outcome=\"refused\",reason=\"{reason}\"}} {count}")?;
        }
        Ok(())
    }
}
