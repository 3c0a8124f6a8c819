//! [`Rpc`]: the state of the RPC services.

use std::sync::Arc;

use connectrpc_health::StaticChecker;
use gatekey_authn::Authenticator;
use gatekey_core::{ApiKeys, Organization, Tokens};
use gatekey_telemetry::Telemetry;

use crate::Config;

/// The state of the RPC services.
pub struct Rpc {
    pub config: Arc<Config>,
    pub authenticator: Arc<Authenticator>,
    pub api_keys: ApiKeys,
    /// Checks a caller's token again.
    pub tokens: Arc<Tokens>,
    pub organization: Organization,
    pub telemetry: Arc<Telemetry>,
    /// What gRPC health reports.
    pub health: Arc<StaticChecker>,
}
