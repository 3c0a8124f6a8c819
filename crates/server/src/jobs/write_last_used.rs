//! Writes when secrets were last used.

use gatekey_core::{LastUsed, StoreError, Timestamp};

/// Writes the uses that are due.
pub(super) async fn due(last_used: &LastUsed, now: Timestamp) {
    report(last_used.flush_due(now).await);
}

/// Writes every use, before the server stops.
pub(super) async fn all(last_used: &LastUsed) {
    report(last_used.flush().await);
}

fn report(written: Result<(), StoreError>) {
    if let Err(error) = written {
        tracing::warn!(%error, "failed to write the last use of secrets; retrying with the next flush");
    }
}
