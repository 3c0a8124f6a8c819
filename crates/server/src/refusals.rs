//! Records refusals in the ledger.

use gatekey_core::{ApiKeys, Caller};

/// Records that an authenticated caller was refused. If recording fails, the caller's response
/// stays the same.
pub async fn record(api_keys: &ApiKeys, caller: &Caller, target: &str, reason: &str) {
    if let Err(error) = api_keys.record_refusal(caller, target, reason).await {
        tracing::error!(%error, target, "failed to record a refusal in the ledger");
    }
}
