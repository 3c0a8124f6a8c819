//! [`App`]: the state that every handler shares.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use gatekey_core::{
    ApiKeys, Caller, Directory, Env, KeyRing, LastUsed, Operations, Organization, RootKey, Store, Tokens,
    store::{ChangeObserver, Observers},
};

use gatekey_telemetry::Telemetry;

use crate::{Config, openapi};

/// The state that every handler shares. Cloning is cheap.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Shared>);

/// The parts of an [`App`].
pub struct Shared {
    pub config: Config,
    /// The use cases of keys.
    pub api_keys: ApiKeys,
    /// Authenticates keys and deals with tokens.
    pub tokens: Tokens,
    /// The signing keys.
    pub key_ring: Arc<KeyRing>,
    pub directory: Arc<Directory>,
    /// Uses of secrets since the last flush.
    pub last_used: Arc<LastUsed>,
    pub organization: Organization,
    pub store: Arc<dyn Store>,
    pub root_key: Arc<RootKey>,
    /// Local administration and scheduled maintenance.
    pub operations: Arc<Operations>,
    pub env: Env,
    pub telemetry: Arc<Telemetry>,
    /// Whether the server was told to stop: it still answers, but is not ready for new requests.
    pub stopping: AtomicBool,
    /// Unauthenticated calls since the last hourly report. They are counted, never stored.
    pub unauthenticated_calls: AtomicU64,
    /// The OpenAPI document.
    pub openapi: openapi::LazyDocument,
}

/// The caches of an [`App`]. They are the store's observer, so they exist before it.
#[derive(Clone)]
pub struct Memory {
    pub directory: Arc<Directory>,
    pub key_ring: Arc<KeyRing>,
}

impl Memory {
    /// Starts empty; the store fills them.
    pub fn new(root_key: Arc<RootKey>) -> Self {
        Self { directory: Arc::default(), key_ring: Arc::new(KeyRing::new(root_key)) }
    }

    /// Returns both as the store's observer.
    pub fn observer(&self) -> Arc<dyn ChangeObserver> {
        Arc::new(Observers(vec![self.directory.clone(), self.key_ring.clone()]))
    }
}

impl App {
    /// Counts an unauthenticated call. Every public client begins with one, so it is no event for
    /// the ledger.
    pub fn count_unauthenticated(&self) {
        self.unauthenticated_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Records in the ledger that a known caller was refused. A failure to record changes nothing
    /// for the caller.
    pub async fn record_refusal(&self, caller: &Caller, target: &str, reason: &str) {
        if let Err(error) = self.api_keys.record_refusal(caller, target, reason).await {
            tracing::error!(%error, target, "failed to record a refusal in the ledger");
        }
    }
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}
