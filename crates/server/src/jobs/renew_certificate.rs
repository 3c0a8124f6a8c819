//! Renews the certificate of the private CA before it expires.

use std::sync::Arc;

use gatekey_core::{Env, Timestamp};
use gatekey_listener::tls::{PrivateCa, ServedCertificate, private_ca::RENEW_BEFORE};

/// A certificate of the private CA that is served.
pub struct Renewal {
    pub ca: PrivateCa,
    pub served: Arc<ServedCertificate>,
    /// When the served certificate expires.
    pub expires_at: Timestamp,
}

pub(super) fn run(renewal: &mut Renewal, env: &Env) {
    if env.now().after(RENEW_BEFORE) < renewal.expires_at {
        return;
    }
    let renewed = renewal.ca.issue_leaf(env).and_then(|leaf| {
        renewal.served.replace(leaf.chain, &leaf.key)?;
        renewal.expires_at = leaf.expires_at;
        Ok(())
    });
    match renewed {
        Ok(()) => tracing::info!("renewed the server's certificate"),
        Err(error) => {
            tracing::error!(%error, "failed to renew the server's certificate; retrying in one hour");
        }
    }
}
