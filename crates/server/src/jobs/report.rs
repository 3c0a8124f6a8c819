//! Logs the ledger's head, which lets an operator detect a truncated database, and usage counts.

use gatekey_core::{Store, id::Hex};
use gatekey_telemetry::Metrics;

pub(super) async fn run(store: &dyn Store, metrics: &Metrics) {
    let calls = metrics.take_unauthenticated();
    tracing::info!(calls, "unauthenticated calls since the last report");
    match store.ledger_head().await {
        Ok(head) => {
            tracing::info!(sequence = head.sequence, link = %Hex(&head.link), "ledger head");
        }
        Err(error) => tracing::warn!(%error, "failed to read the ledger's head"),
    }
}
