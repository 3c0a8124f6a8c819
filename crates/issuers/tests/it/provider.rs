//! [`Provider`]: a small identity provider.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
};

use gatekey_core::{
    Env, Timestamp,
    env::{Clock, SystemEntropy},
};
use gatekey_credentials::{
    Role,
    jwt::{Algorithm, SigningKey},
};
use gatekey_issuers::{IssuerSettings, Issuers, Refused, RoleRule, VerifiedSubject};
use gatekey_outbound::Proxies;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

pub(crate) const NOW: i64 = 1_767_225_600;
pub(crate) const DISCOVERY: &str = "/.well-known/openid-configuration";

/// A clock that tests move. It shows a later microsecond each time, as a real one does.
#[derive(Default)]
pub(crate) struct ManualClock(AtomicI64);

impl ManualClock {
    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(NOW * 1_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
}

/// Serves documents, and signs tokens.
pub(crate) struct Provider {
    pub(crate) url: String,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) env: Env,
    answers: Arc<Mutex<HashMap<String, String>>>,
    requests: Arc<AtomicUsize>,
}

impl Provider {
    /// Starts a server that serves nothing yet.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::<Mutex<HashMap<String, String>>>::default();
        let requests = Arc::<AtomicUsize>::default();
        let (served, counted) = (answers.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (served, counted) = (served.clone(), counted.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await?);
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let path = head.split(' ').nth(1).unwrap_or_default();
                    let not_found = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
                    let answer = served.lock().unwrap().get(path).cloned();
                    let answer = answer.unwrap_or_else(|| not_found.to_owned());
                    stream.write_all(answer.as_bytes()).await
                });
            }
        });
        let clock = Arc::<ManualClock>::default();
        let env = Env::new(clock.clone(), Arc::new(SystemEntropy));
        Self { url, clock, env, answers, requests }
    }

    /// Starts a server that serves discovery and a key.
    pub(crate) async fn with_key(key: &SigningKey) -> Self {
        let provider = Self::start().await;
        let discovery =
            json!({ "issuer": provider.url, "jwks_uri": format!("{}/jwks", provider.url) });
        provider.serve_json(DISCOVERY, &discovery);
        provider.publish(&[key]);
        provider
    }

    /// Serves a whole HTTP response.
    pub(crate) fn serve(&self, path: &str, response: String) {
        self.answers.lock().unwrap().insert(path.to_owned(), response);
    }

    pub(crate) fn serve_json(&self, path: &str, document: &Value) {
        let body = document.to_string();
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        self.serve(path, head + &body);
    }

    /// Serves nothing any more.
    pub(crate) fn fail(&self) {
        self.answers.lock().unwrap().clear();
    }

    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
        self.serve_json("/jwks", &json!({ "keys": keys }));
    }

    /// The number of requests that were sent to this provider.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn settings(&self) -> IssuerSettings {
        IssuerSettings {
            issuer: self.url.clone(),
            alias: "sso".to_owned(),
            audiences: vec!["flyte".to_owned()],
            algorithms: Algorithm::ALL.into(),
            jwks_url: None,
            authorized_parties: Vec::new(),
            ca_file: None,
            roles: vec![RoleRule {
                claim: "groups".to_owned(),
                value: "flyte-users".to_owned(),
                role: Role::Contributor,
            }],
        }
    }

    pub(crate) fn issuers(&self) -> Issuers {
        self.issuers_with(vec![self.settings()])
    }

    pub(crate) fn issuers_with(&self, settings: Vec<IssuerSettings>) -> Issuers {
        Issuers::new(settings, &Proxies::default(), &self.env)
    }

    /// The claims of a token that is accepted for a day and an hour.
    pub(crate) fn claims(&self) -> Value {
        json!({
            "iss": self.url, "sub": "alice", "aud": "flyte", "exp": NOW + 25 * 3600,
            "groups": ["flyte-users"],
        })
    }

    pub(crate) fn token(&self, key: &SigningKey) -> String {
        key.sign(&self.claims()).unwrap()
    }
}

pub(crate) fn key(kid: &str, algorithm: Algorithm) -> SigningKey {
    let private = SigningKey::generate(algorithm).unwrap();
    SigningKey::from_pkcs8(algorithm, kid, &private).unwrap()
}

/// Verifies a token that names a configured issuer.
pub(crate) async fn verify(issuers: &Issuers, token: &str) -> Result<VerifiedSubject, Refused> {
    issuers.verify(token).await.unwrap()
}
