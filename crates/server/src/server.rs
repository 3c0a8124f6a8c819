//! [`Server`]: builds the listeners, sockets and jobs from shared parts.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::http::HeaderName;
use connectrpc_health::StaticChecker;
use gatekey_authn::Authenticator;
use gatekey_core::{
    ApiKeys, Directory, Env, KeyRing, LastUsed, Operations, Organization, RootKey, Store, Tokens,
    feed::Freshness,
    store::{ChangeObserver, Observers},
    token::{TokenParts, TokenSettings},
};
use gatekey_gate::{ForwardAuth, Proxy, token::UpstreamTokens};
use gatekey_issuers::Issuers;
use gatekey_listener::{RequestService, tls::ServedCertificate};
use gatekey_outbound::Proxies;
use gatekey_telemetry::{
    ClientAddresses, Metrics, RequestLog, Telemetry, Traces, request_id::RequestIds,
};

pub use crate::gate::UpstreamAuthorities;
use crate::{
    Config,
    admin::{self, Admin},
    control::Control,
    endpoints::ENDPOINTS,
    gate,
    jobs::Jobs,
    oauth::OAuth,
    openapi, router,
    rpc::{Rpc, bindings::Bindings},
    state::ServerState,
};

/// The caches of a server. They observe the store's changes, so they exist before it.
#[derive(Clone)]
pub struct Caches {
    pub directory: Arc<Directory>,
    pub key_ring: Arc<KeyRing>,
    /// Whether the others are fresh enough to decide by.
    pub freshness: Freshness,
}

impl Caches {
    /// Starts empty; the store fills them, and keeps them current.
    pub fn new(root_key: Arc<RootKey>) -> Self {
        Self::following(root_key, Freshness::current())
    }

    /// Starts empty; the store fills them, and publishes their age.
    pub fn following(root_key: Arc<RootKey>, freshness: Freshness) -> Self {
        let key_ring = Arc::new(KeyRing::new(root_key));
        Self { directory: Arc::default(), key_ring, freshness }
    }

    /// Returns both caches as the store's observer.
    pub fn observer(&self) -> Arc<dyn ChangeObserver> {
        Arc::new(Observers(vec![self.directory.clone(), self.key_ring.clone()]))
    }
}

pub struct Parts {
    pub config: Config,
    pub store: Arc<dyn Store>,
    /// The store's observer.
    pub caches: Caches,
    pub root_key: Arc<RootKey>,
    pub env: Env,
    pub request_log: Arc<dyn RequestLog>,
    /// `None` when no collector is configured.
    pub traces: Option<Traces>,
    pub upstream_authorities: UpstreamAuthorities,
    /// Lead to the issuers whose tokens the gate accepts.
    pub proxies: Proxies,
}

/// A server without its sockets. Each listener gets only the parts that it needs.
pub struct Server {
    pub config: Arc<Config>,
    pub store: Arc<dyn Store>,
    pub caches: Caches,
    pub root_key: Arc<RootKey>,
    pub env: Env,
    pub api_keys: ApiKeys,
    pub tokens: Arc<Tokens>,
    pub operations: Arc<Operations>,
    pub last_used: Arc<LastUsed>,
    pub telemetry: Arc<Telemetry>,
    authenticator: Arc<Authenticator>,
    proxy: Option<Arc<Proxy>>,
    forward_auth: Option<Arc<ForwardAuth>>,
    upstream_tokens: Arc<UpstreamTokens>,
    organization: Organization,
    health: Arc<StaticChecker>,
    stopping: Arc<AtomicBool>,
}

impl Server {
    pub fn new(parts: Parts) -> Self {
        let Parts {
            config,
            store,
            caches,
            root_key,
            env,
            request_log,
            traces,
            upstream_authorities,
            proxies,
        } = parts;
        let Caches { directory, key_ring, freshness } = &caches;
        let organization =
            Organization::new(&config.server.organization, config.server.public_host());
        let last_used = Arc::new(LastUsed::new(store.clone()));
        let token_settings = TokenSettings {
            issuer: config.server.issuer().to_owned(),
            audiences: config.tokens.audiences.clone(),
            lifetime: config.tokens.lifetime,
            organization: config.server.organization.clone(),
            failed_authentications_per_minute: config.limits.failed_authentications_per_minute,
            own_changes_per_minute: config.limits.own_changes_per_minute,
        };
        let tokens = Arc::new(Tokens::new(
            token_settings,
            TokenParts {
                directory: directory.clone(),
                key_ring: key_ring.clone(),
                last_used: last_used.clone(),
                store: store.clone(),
                root_key: root_key.clone(),
                freshness: freshness.clone(),
            },
            env.clone(),
        ));
        let api_keys =
            ApiKeys::new(store.clone(), root_key.clone(), organization.clone(), env.clone())
                .with_lifetimes(config.keys.lifetimes);
        let operations = Operations::new(
            api_keys.clone(),
            directory.clone(),
            key_ring.clone(),
            root_key.clone(),
            store.clone(),
            config.keys.publish_ahead,
            env.clone(),
        );
        let token_header = HeaderName::try_from(config.tokens.authorization_metadata_key.as_str())
            .expect("the configuration was checked");
        let telemetry = Telemetry {
            request_ids: RequestIds::new(env.clone()),
            client_addresses: ClientAddresses::new(
                config.server.trusted_proxies.clone(),
                config.server.forwarded_header.into(),
            ),
            request_log,
            metrics: Metrics::new(router::routes()),
            traces,
        };
        let mut authenticator =
            Authenticator::new(tokens.clone(), api_keys.clone(), token_header.clone());
        if !config.gate.issuers.is_empty() {
            let issuers = Issuers::new(config.gate.issuers.clone(), &proxies, &env);
            authenticator = authenticator.with_issuers(Arc::new(issuers));
        }
        let authenticator = Arc::new(authenticator);
        let persona = &config.identity.persona;
        let upstream_tokens =
            Arc::new(UpstreamTokens::new(tokens.clone(), api_keys.clone(), persona, env.clone()));
        let gate = gate::gate(&config, &authenticator, &api_keys, &token_header);
        let proxy =
            gate::proxy(&config, &gate, &upstream_tokens, &upstream_authorities, &token_header);
        Self {
            authenticator,
            proxy: proxy.map(Arc::new),
            forward_auth: gate::forward_auth(&config, &gate, &upstream_tokens),
            upstream_tokens,
            config: Arc::new(config),
            store,
            caches,
            root_key,
            env,
            api_keys,
            tokens,
            operations: Arc::new(operations),
            last_used,
            telemetry: Arc::new(telemetry),
            organization,
            health: Arc::default(),
            stopping: Arc::default(),
        }
    }

    /// Returns the service of the public listener.
    pub fn service(&self) -> impl RequestService + use<> {
        router::service(self.state(), &self.rpc())
    }

    /// Returns the service of the admin listener.
    pub fn admin(&self, served: Option<Arc<ServedCertificate>>) -> impl RequestService + use<> {
        admin::router(Arc::new(Admin {
            store: self.store.clone(),
            directory: self.caches.directory.clone(),
            key_ring: self.caches.key_ring.clone(),
            freshness: self.caches.freshness.clone(),
            tokens: self.tokens.clone(),
            authenticator: self.authenticator.clone(),
            upstream_tokens: self.upstream_tokens.clone(),
            telemetry: self.telemetry.clone(),
            stopping: self.stopping.clone(),
            proxy: self.proxy.clone(),
            forward_auth: self.forward_auth.clone(),
            served,
            env: self.env.clone(),
        }))
    }

    /// Waits until all tunnels through the gate have ended: the listener knows nothing of them.
    pub async fn tunnels_closed(&self) {
        if let Some(proxy) = &self.proxy {
            proxy.tunnels_closed().await;
        }
    }

    /// Returns the state of the control socket.
    pub fn control(&self) -> Control {
        Control {
            operations: self.operations.clone(),
            endpoint: self.config.server.endpoint().to_owned(),
            organization: self.config.server.organization.clone(),
            env: self.env.clone(),
        }
    }

    /// Returns the periodic jobs.
    pub fn jobs(&self) -> Jobs {
        Jobs {
            operations: self.operations.clone(),
            last_used: self.last_used.clone(),
            store: self.store.clone(),
            telemetry: self.telemetry.clone(),
            signing_key_max_age: self.config.keys.signing_key_max_age,
            env: self.env.clone(),
        }
    }

    /// Reports the server as not ready. Requests that still arrive are answered.
    pub fn announce_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(proxy) = &self.proxy {
            proxy.announce_stop(self.config.gate.drain);
        }
        self.health.shutdown();
        for service in self.health.services() {
            self.health.remove_service(&service);
        }
    }

    fn state(&self) -> ServerState {
        let issuer = self.config.server.issuer().to_owned();
        let openapi = openapi::lazy(move || openapi::document(&issuer, ENDPOINTS, Bindings::get()));
        ServerState {
            oauth: Arc::new(OAuth {
                config: self.config.clone(),
                authenticator: self.authenticator.clone(),
                tokens: self.tokens.clone(),
                key_ring: self.caches.key_ring.clone(),
                api_keys: self.api_keys.clone(),
                organization: self.organization.clone(),
                telemetry: self.telemetry.clone(),
                env: self.env.clone(),
            }),
            openapi: Arc::new(openapi),
            proxy: self.proxy.clone(),
            forward_auth: self.forward_auth.clone(),
        }
    }

    pub(crate) fn rpc(&self) -> Arc<Rpc> {
        Arc::new(Rpc {
            config: self.config.clone(),
            authenticator: self.authenticator.clone(),
            api_keys: self.api_keys.clone(),
            tokens: self.tokens.clone(),
            organization: self.organization.clone(),
            telemetry: self.telemetry.clone(),
            health: self.health.clone(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use gatekey_store::SqliteStore;
    use gatekey_telemetry::NoRequestLog;
    use tempfile::TempDir;

    use super::*;
    use crate::config::Settings;

    impl Server {
        pub(crate) fn router(&self) -> axum::Router {
            router::router(self.state(), &self.rpc())
        }
    }

    /// Returns a server with the default configuration.
    pub(crate) fn server() -> Server {
        server_with(&Settings::default(), Env::system()).0
    }

    /// Returns a server and the directory of its store.
    pub(crate) fn server_with(settings: &Settings, env: Env) -> (Server, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let root_key = Arc::new(RootKey::new(&[1; 32]));
        let caches = Caches::new(root_key.clone());
        let database = directory.path().join("gatekey.db");
        let store = SqliteStore::open(&database, &root_key, caches.observer()).unwrap();
        let config = settings.resolve("127.0.0.1:8443".parse().unwrap()).unwrap();
        let (store, request_log) = (Arc::new(store), Arc::new(NoRequestLog));
        let server = Server::new(Parts {
            config,
            store,
            caches,
            root_key,
            env,
            request_log,
            traces: None,
            upstream_authorities: UpstreamAuthorities::default(),
            proxies: Proxies::default(),
        });
        (server, directory)
    }
}
