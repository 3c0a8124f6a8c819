//! Records refusals in the ledger.

use gatekey_core::{ApiKeys, Caller};

/// Records that a known caller was refused. A failure to record changes nothing for the caller.
pub async fn record(api_keys: &ApiKeys, caller: &Caller, target: &str, reason: &str) {
    if let Err(error) = api_keys.record_refusal(caller, target, reason).await {
        tracing::error!(%error, target, "failed to record a refusal in the ledger");
    }
}
