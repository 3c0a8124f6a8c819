//! Purges expired rows.

use gatekey_core::Operations;

pub(super) async fn run(operations: &Operations) {
    if let Err(error) = operations.purge().await {
        tracing::warn!(%error, "failed to purge expired rows; retrying in one hour");
    }
}
