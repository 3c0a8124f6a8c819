//! Rehashes secrets under the newest root key, once their keys have used them.

use gatekey_core::{Caller, Env, Operations};

pub(super) async fn run(operations: &Operations, env: &Env) {
    if let Err(error) = operations.root_keys.flush_rehashes(&Caller::server(env)).await {
        tracing::warn!(%error, "failed to rehash secrets under the newest root key; retrying with the next flush");
    }
}
