//! [`App`]: the state that every handler shares, and the router.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
};
use gatekey_core::{
    ApiKeys, Caller, Directory, Env, KeyRing, LastUsed, Organization, RootKey, Store, Tokens,
    store::{ChangeObserver, Observers},
    token::TokenPolicy,
};

use crate::{
    Config,
    call::RequestLog,
    endpoints,
    metrics::Metrics,
    rpc,
    traces::{Traces, store::TracedStore},
};

/// What every handler shares. Cloning is cheap.
#[derive(Clone)]
pub struct App(Arc<Shared>);

/// The parts of an [`App`].
pub struct Shared {
    /// The configuration.
    pub config: Config,
    /// The use cases of keys.
    pub api_keys: ApiKeys,
    /// Authenticates keys and deals with tokens.
    pub tokens: Tokens,
    /// The signing keys.
    pub key_ring: Arc<KeyRing>,
    /// Every key's hot facts.
    pub directory: Arc<Directory>,
    /// Uses of secrets since the last flush.
    pub last_used: Arc<LastUsed>,
    /// Whom the server serves.
    pub organization: Organization,
    /// Where keys are kept.
    pub store: Arc<dyn Store>,
    /// The one key outside the database.
    pub root_key: Arc<RootKey>,
    /// Time and randomness.
    pub env: Env,
    /// Takes a line for each request.
    pub request_log: Arc<dyn RequestLog>,
    /// Takes a span for each request; `None` where traces go nowhere.
    pub traces: Option<Traces>,
    /// What is counted.
    pub metrics: Metrics,
    /// Whether the server was told to stop: it still answers, and wants no more requests.
    pub stopping: AtomicBool,
    /// Calls that lacked a credential in force since the last hour: counted, never stored.
    pub unauthenticated_calls: AtomicU64,
    /// The description of what is served, once somebody asked for it.
    pub openapi: OnceLock<Bytes>,
}

/// What is held in memory, to be given to the store as its observer before there is an [`App`].
#[derive(Clone)]
pub struct Memory {
    /// Every key's hot facts.
    pub directory: Arc<Directory>,
    /// The signing keys.
    pub key_ring: Arc<KeyRing>,
}

impl Memory {
    /// Empty, to be fed.
    pub fn new(root_key: Arc<RootKey>) -> Self {
        Self { directory: Arc::default(), key_ring: Arc::new(KeyRing::new(root_key)) }
    }

    /// Both, as the store's observer.
    pub fn observer(&self) -> Arc<dyn ChangeObserver> {
        Arc::new(Observers(vec![self.directory.clone(), self.key_ring.clone()]))
    }
}

impl App {
    /// Puts an application together. The memory must be the store's observer.
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        memory: Memory,
        root_key: Arc<RootKey>,
        env: Env,
        request_log: Arc<dyn RequestLog>,
        traces: Option<Traces>,
    ) -> Self {
        let store = match &traces {
            Some(traces) => Arc::new(TracedStore::new(store, traces)),
            None => store,
        };
        let organization = Organization::new(&config.organization, config.public_host());
        let Memory { directory, key_ring } = memory;
        let last_used = Arc::<LastUsed>::default();
        let policy = TokenPolicy {
            issuer: config.issuer().to_owned(),
            audiences: config.audiences.clone(),
            lifetime: config.token_lifetime,
            organization: config.organization.clone(),
            failed_authentications_per_minute: config.failed_authentications_per_minute,
        };
        let tokens = Tokens::new(
            policy,
            directory.clone(),
            key_ring.clone(),
            last_used.clone(),
            store.clone(),
            root_key.clone(),
            env.clone(),
        );
        let api_keys = ApiKeys::new(store.clone(), root_key.clone(), organization.clone(), env.clone());
        Self(Arc::new(Shared {
            config,
            api_keys,
            tokens,
            key_ring,
            directory,
            last_used,
            organization,
            store,
            root_key,
            env,
            request_log,
            traces,
            metrics: Metrics::default(),
            stopping: AtomicBool::new(false),
            unauthenticated_calls: AtomicU64::new(0),
            openapi: OnceLock::new(),
        }))
    }

    /// Counts a call that lacked a credential in force. Every public client begins with one, so it is no event
    /// for the ledger.
    pub fn count_unauthenticated(&self) {
        self.unauthenticated_calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Enters into the ledger that a known caller was refused. That it cannot be entered changes nothing for
    /// the caller.
    pub async fn record_refusal(&self, caller: &Caller, target: &str, reason: &str) {
        if let Err(error) = self.api_keys.record_refusal(caller, target, reason).await {
            tracing::error!(%error, target, "a refusal could not be entered into the ledger");
        }
    }

    /// Every route; what each request passes before is [`Calls`](crate::call::Calls).
    pub fn router(&self) -> Router {
        Router::new()
            .merge(endpoints::routes(self))
            .merge(rpc::routes(self))
            .fallback(not_found)
            .with_state(self.clone())
    }
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

async fn not_found(State(app): State<App>, method: Method, headers: HeaderMap) -> Response {
    if rpc::is_rpc(&method, &headers) {
        return rpc::unimplemented(&headers);
    }
    let document = format!("{}/.well-known/oauth-authorization-server", app.config.issuer());
    let body = serde_json::json!({ "error": "not_found", "error_description": format!("nothing is served at this path; what is served is listed at {document}") });
    (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
}

#[cfg(test)]
pub(crate) mod tests {
    use gatekey_store::SqliteStore;
    use tempfile::TempDir;

    use super::*;
    use crate::{call::NoRequestLog, config::Settings};

    /// An application with the defaults.
    pub(crate) fn app() -> App {
        app_with(Settings::default(), Env::system()).0
    }

    /// An application, and where its store is.
    pub(crate) fn app_with(settings: Settings, env: Env) -> (App, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let root_key = Arc::new(RootKey::new(&[1; 32]));
        let memory = Memory::new(root_key.clone());
        let database = directory.path().join("gatekey.db");
        let store = SqliteStore::open(&database, &root_key, memory.observer()).unwrap();
        let config = settings.resolve("127.0.0.1:8443".parse().unwrap()).unwrap();
        let app = App::new(config, Arc::new(store), memory, root_key, env, Arc::new(NoRequestLog), None);
        (app, directory)
    }
}
