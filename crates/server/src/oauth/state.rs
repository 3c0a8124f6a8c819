//! [`OAuth`]: the state of the OAuth endpoints.

use std::sync::Arc;

use gatekey_authn::Authenticator;
use gatekey_core::{ApiKeys, Env, KeyRing, Organization, Tokens};
use gatekey_telemetry::Telemetry;

use crate::Config;

/// The state of the OAuth endpoints.
pub struct OAuth {
    pub config: Arc<Config>,
    pub authenticator: Arc<Authenticator>,
    pub tokens: Arc<Tokens>,
    pub key_ring: Arc<KeyRing>,
    /// For the caller's identity, and to record refusals.
    pub api_keys: ApiKeys,
    pub organization: Organization,
    pub telemetry: Arc<Telemetry>,
    pub env: Env,
}
