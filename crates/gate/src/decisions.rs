//! [`Decisions`]: counts the gate's decisions by reason.

use std::{
    fmt::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
};

/// Outcomes and reasons: every label is known at start.
const REASONS: [(&str, &str); 16] = [
    ("allowed", "key"),
    ("allowed", "anonymous"),
    ("refused", "credential"),
    ("refused", "role"),
    ("refused", "scope"),
    ("refused", "method"),
    ("refused", "rule"),
    ("refused", "path"),
    ("refused", "credentials"),
    ("refused", "network"),
    ("refused", "rate"),
    ("refused", "project"),
    ("refused", "domain"),
    ("refused", "no_project"),
    ("refused", "unseen_body"),
    ("refused", "unreadable_body"),
];

/// Counts decisions.
#[derive(Debug, Default)]
pub struct Decisions([AtomicU64; REASONS.len()]);

impl Decisions {
    pub(crate) fn count(&self, reason: &str) {
        if let Some(index) = REASONS.iter().position(|(_, listed)| *listed == reason) {
            self.0[index].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes the counters in Prometheus' text format.
    ///
    /// # Errors
    /// Those of the text.
    pub fn write(&self, text: &mut String) -> fmt::Result {
        let name = "gatekey_gate_decisions_total";
        writeln!(text, "# HELP {name} Decisions of the gate.\n# TYPE {name} counter")?;
        for ((outcome, reason), count) in REASONS.iter().zip(&self.0) {
            let count = count.load(Ordering::Relaxed);
            writeln!(text, "{name}{{outcome=\"{outcome}\",reason=\"{reason}\"}} {count}")?;
        }
        Ok(())
    }
}
