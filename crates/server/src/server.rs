//! Composes the application.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64},
};

use gatekey_core::{
    ApiKeys, Env, LastUsed, Operations, Organization, RootKey, Store, Tokens, token::TokenSettings,
};
use gatekey_telemetry::{Metrics, RequestLog, Telemetry, Traces};

use crate::{
    App, Config,
    app::{Memory, Shared},
    endpoints::ENDPOINTS,
    openapi, router,
    rpc::bindings::Bindings,
};

impl App {
    /// Composes an application. The memory must be the store's observer.
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        memory: Memory,
        root_key: Arc<RootKey>,
        env: Env,
        request_log: Arc<dyn RequestLog>,
        traces: Option<Traces>,
    ) -> Self {
        let telemetry = Arc::new(Telemetry {
            env: env.clone(),
            trusted_proxies: config.server.trusted_proxies.clone(),
            request_log,
            metrics: Metrics::new(router::routes()),
            traces,
        });
        let organization = Organization::new(&config.server.organization, config.server.public_host());
        let Memory { directory, key_ring } = memory;
        let last_used = Arc::new(LastUsed::new(store.clone()));
        let token_settings = TokenSettings {
            issuer: config.server.issuer().to_owned(),
            audiences: config.tokens.audiences.clone(),
            lifetime: config.tokens.lifetime,
            organization: config.server.organization.clone(),
            failed_authentications_per_minute: config.limits.failed_authentications_per_minute,
        };
        let tokens = Tokens::new(
            token_settings,
            directory.clone(),
            key_ring.clone(),
            last_used.clone(),
            store.clone(),
            root_key.clone(),
            env.clone(),
        );
        let api_keys = ApiKeys::new(store.clone(), root_key.clone(), organization.clone(), env.clone());
        let operations = Arc::new(Operations::new(
            api_keys.clone(),
            directory.clone(),
            key_ring.clone(),
            root_key.clone(),
            store.clone(),
            env.clone(),
        ));
        let issuer = config.server.issuer().to_owned();
        let openapi = openapi::lazy(move || openapi::document(&issuer, ENDPOINTS, Bindings::get()));
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
            operations,
            env,
            telemetry,
            stopping: AtomicBool::new(false),
            unauthenticated_calls: AtomicU64::new(0),
            openapi,
        }))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use gatekey_store::SqliteStore;
    use gatekey_telemetry::NoRequestLog;
    use tempfile::TempDir;

    use super::*;
    use crate::config::Settings;

    /// An application with the defaults.
    pub(crate) fn app() -> App {
        app_with(&Settings::default(), Env::system()).0
    }

    /// An application, and where its store is.
    pub(crate) fn app_with(settings: &Settings, env: Env) -> (App, TempDir) {
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
