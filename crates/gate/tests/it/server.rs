//! [`Server`]: the parts of a server that the gate uses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::http::{HeaderMap, HeaderName, header};
use gatekey_authn::{Authenticator, Presented, Refusal};
use gatekey_core::{
    ApiKeyPatch, ApiKeys, Application, Caller, Directory, Env, KeyRing, LastUsed, Organization,
    RootKey, Timestamp, Tokens,
    api_key::{CreateApiKey, LastAdmin},
    env::{Clock, SystemEntropy},
    feed::Freshness,
    signing_key::{SigningKeys, Start},
    store::Observers,
    token::{Persona, TokenParts, TokenSettings},
};
use gatekey_credentials::{EncodedCredentials, PlainSecret, Role};
use gatekey_gate::token::UpstreamTokens;
use gatekey_issuers::Issuers;
use gatekey_store::SqliteStore;
use gatekey_telemetry::Record;
use tempfile::TempDir;

pub(crate) const ISSUER: &str = "https://keys.example.com";
/// Allowed failures a minute.
pub(crate) const FAILURES: u16 = 3;

#[derive(Default)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_767_225_600 + self.0.load(Ordering::Relaxed))
    }
}

pub(crate) struct Server {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) env: Env,
    pub(crate) caller: Caller,
    pub(crate) api_keys: ApiKeys,
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) last_used: Arc<LastUsed>,
    pub(crate) authenticator: Authenticator,
    _directory: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let clock = Arc::<ManualClock>::default();
        let env = Env::new(clock.clone(), Arc::new(SystemEntropy));
        let caller = Caller::server(&env);
        let (files, root_key) = (tempfile::tempdir().unwrap(), Arc::new(RootKey::new(&[1; 32])));
        let directory = Arc::<Directory>::default();
        let key_ring = Arc::new(KeyRing::new(root_key.clone()));
        let observers = Observers(vec![directory.clone(), key_ring.clone()]);
        let path = files.path().join("gatekey.db");
        let store = Arc::new(SqliteStore::open(&path, &root_key, Arc::new(observers)).unwrap());
        let settings = TokenSettings {
            issuer: ISSUER.to_owned(),
            audiences: Vec::new(),
            lifetime: Duration::from_hours(1),
            organization: "acme".to_owned(),
            failed_authentications_per_minute: FAILURES,
            own_changes_per_minute: 0,
        };
        let signing_keys = SigningKeys::new(
            key_ring.clone(),
            root_key.clone(),
            store.clone(),
            Duration::ZERO,
            env.clone(),
        );
        signing_keys.ensure(&caller, None, Start::Now).await.unwrap();
        let last_used = Arc::new(LastUsed::new(store.clone()));
        let parts = TokenParts {
            directory,
            key_ring,
            last_used: last_used.clone(),
            store: store.clone(),
            root_key: root_key.clone(),
            freshness: Freshness::current(),
        };
        let tokens = Arc::new(Tokens::new(settings, parts, env.clone()));
        let organization = Organization::new("acme", "keys.example.com");
        let api_keys = ApiKeys::new(store, root_key, organization, env.clone());
        let authenticator =
            Authenticator::new(tokens.clone(), api_keys.clone(), header::AUTHORIZATION);
        Self { clock, env, caller, api_keys, tokens, last_used, authenticator, _directory: files }
    }

    /// Accepts tokens of a provider, too.
    pub(crate) fn trusting(mut self, issuers: Issuers) -> Self {
        self.authenticator = self.authenticator.with_issuers(Arc::new(issuers));
        self
    }

    /// Creates a key, and returns its secret.
    pub(crate) async fn create(&self, name: &str, role: Role) -> PlainSecret {
        let create = CreateApiKey {
            client_id: name.to_owned(),
            application: Application::named(format!("{name} key")),
            role: Some(role),
            expires_at: None,
            secret_label: String::new(),
            limits: gatekey_core::api_key::Limits::default(),
        };
        let created = self.api_keys.create(&self.caller, create).await.unwrap();
        PlainSecret::from(&created.secret)
    }

    /// Creates a contributor, and returns its encoded credentials.
    pub(crate) async fn encoded(&self, name: &str) -> String {
        encode("keys.example.com", name, self.create(name, Role::Contributor).await)
    }

    pub(crate) async fn update(&self, name: &str, patch: ApiKeyPatch) {
        let updated = self.api_keys.update(&self.caller, name, patch, LastAdmin::Keep);
        updated.await.unwrap();
    }

    /// Fetches an access token for a key.
    pub(crate) fn token(&self, name: &str, secret: &PlainSecret) -> String {
        let key = self.tokens.authenticate(name, secret.expose(), None).unwrap();
        self.tokens.issue(&key, "", &[]).unwrap().access_token
    }

    pub(crate) async fn present(&self, credential: &str) -> Result<Presented, Refusal> {
        self.present_as(&Record::default(), credential).await
    }

    pub(crate) async fn present_as(
        &self,
        record: &Record,
        credential: &str,
    ) -> Result<Presented, Refusal> {
        let headers = headers(&[(header::AUTHORIZATION, &format!("Bearer {credential}"))]);
        Ok(self.authenticator.present(record, &headers, None).await?.unwrap())
    }

    pub(crate) fn upstream_tokens(&self) -> UpstreamTokens {
        let (tokens, api_keys) = (self.tokens.clone(), self.api_keys.clone());
        UpstreamTokens::new(tokens, api_keys, &Persona::default(), self.env.clone())
    }
}

pub(crate) fn encode(endpoint: &str, client_id: &str, secret: PlainSecret) -> String {
    let encoded = EncodedCredentials::new(endpoint, client_id, secret, "acme").unwrap();
    encoded.encode().expose().to_owned()
}

pub(crate) fn headers(headers: &[(HeaderName, &str)]) -> HeaderMap {
    headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
}
