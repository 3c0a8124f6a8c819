//! Rotates the signing key once it reaches its maximum age.

use std::time::Duration;

use gatekey_core::{Caller, Env, Operations, signing_key::SigningKeyRotated};

pub(super) async fn run(operations: &Operations, env: &Env, max_age: Option<Duration>) {
    let Some(max_age) = max_age else { return };
    match operations.signing_keys.rotate_if_older(&Caller::server(env), max_age).await {
        Ok(Some(SigningKeyRotated { kid, .. })) => {
            tracing::info!(
                kid,
                "published the next signing key: the one that signs is about to reach its maximum age"
            );
        }
        Ok(None) => {}
        Err(error) => {
            tracing::error!(%error, "failed to rotate the signing key; retrying in one hour");
        }
    }
}
