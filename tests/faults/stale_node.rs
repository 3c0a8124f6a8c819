//! A node whose state in memory may be old refuses nobody: at every door it answers that it cannot
//! decide now.
//!
//! Runs the server within the test, with the feed of the core, whose polls the test answers as a
//! database would. The keys themselves are in the embedded store.

use std::{
    net::Ipv4Addr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use gatekey_core::{
    Application, Caller, Env, RootKey,
    api_key::{CreateApiKey, Limits},
    env::SystemEntropy,
    feed::{
        Answer, Beat, Feed, Found, Freshness, FreshnessLimits, Moment, Moments, Named, Outcome,
        Position, ServerId, SystemMoments,
    },
    network::Networks,
    signing_key::Start,
    store::{Change, ChangeObserver},
};
use gatekey_credentials::Role;
use gatekey_listener::{Listener, serve};
use gatekey_server::{
    config::Settings,
    server::{Caches, Parts, Server, UpstreamAuthorities},
};
use gatekey_store::SqliteStore;
use gatekey_telemetry::NoRequestLog;
use http::Method;
use serde_json::json;
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot};

use crate::support::{Credentials, Http, Response};

const CONFIG: &str = "[server]\npublic_url = \"https://gatekey.example.com\"\n\
                      trusted_proxies = [\"127.0.0.1\"]\n[gate]\nforward_auth = true\n";
const READ: &str = "/flyteidl2.project.ProjectService/GetProject";
const OPEN: &str = "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata";

/// The machine's clocks, some time later.
struct Later(Mutex<Duration>);

impl Moments for Later {
    fn now(&self) -> Moment {
        let (now, later) = (SystemMoments.now(), *self.0.lock().unwrap());
        Moment { since_boot: now.since_boot + later, wall: now.wall.after(later) }
    }
}

/// The memory that the feed would fill: here, the embedded store does.
struct FilledByTheStore;

impl ChangeObserver for FilledByTheStore {
    fn observe(&self, _: &[Change]) {}
}

struct Node {
    http: Http,
    admin: Http,
    key: Credentials,
    feed: Feed,
    clock: Arc<Later>,
    beats: u64,
    _stop: [oneshot::Sender<()>; 2],
    _directory: TempDir,
}

impl Node {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root_key = Arc::new(RootKey::new(&[7; 32]));
        let clock = Arc::new(Later(Mutex::default()));
        let freshness = Freshness::following(clock.clone(), FreshnessLimits::default());
        let caches = Caches::following(root_key.clone(), freshness.clone());
        let database = directory.path().join("gatekey.db");
        let store = SqliteStore::open(&database, &root_key, caches.observer()).unwrap();
        let settings = Settings::from_toml(Path::new("gatekey.toml"), CONFIG).unwrap();
        let server = Server::new(Parts {
            config: settings.resolve("127.0.0.1:1".parse().unwrap()).unwrap(),
            store: Arc::new(store),
            caches,
            root_key,
            env: Env::new(Arc::new(gatekey_core::env::SystemClock), Arc::new(SystemEntropy)),
            request_log: Arc::new(NoRequestLog),
            traces: None,
            upstream_authorities: UpstreamAuthorities::default(),
            proxies: gatekey_outbound::Proxies::default(),
        });
        let caller = Caller::server(&server.env);
        server.operations.signing_keys.ensure(&caller, None, Start::Now).await.unwrap();
        let create = CreateApiKey {
            client_id: "ci".to_owned(),
            application: Application::named("CI"),
            role: Some(Role::Admin),
            expires_at: None,
            secret_label: String::new(),
            limits: Limits::default(),
        };
        let created = server.api_keys.create(&caller, create).await.unwrap();
        let client_secret = created.secret.expose().to_owned();
        let key = Credentials { client_id: "ci".to_owned(), client_secret };
        let (address, stop) = listen(server.service()).await;
        let (admin, stop_admin) = listen(server.admin(None)).await;
        Self {
            http: Http::new(&address, None),
            admin: Http::new(&admin, None),
            key,
            feed: Feed::new(freshness),
            clock,
            beats: 0,
            _stop: [stop, stop_admin],
            _directory: directory,
        }
    }

    /// Lets time pass.
    fn wait(&self, seconds: u64) {
        *self.clock.0.lock().unwrap() += Duration::from_secs(seconds);
    }

    /// Answers polls as the primary does, until the feed has its proof.
    fn answer_polls(&mut self) {
        for _ in 0..3 {
            self.beats += 1;
            let now = self.clock.now();
            let question = self.feed.ask(now);
            let found = if question.after.is_none() {
                Found::All { keys: Vec::new(), signing_keys: Vec::new(), root_keys: Vec::new() }
            } else {
                let (rows, named) = (Vec::new(), Named::default());
                Found::Changes { at_cursor: None, oldest: 0, rows, named }
            };
            let answer = Answer {
                server: ServerId([1; 16]),
                is_primary: true,
                at: now.wall,
                head: Position::START,
                repaired: None,
                beat: Beat { number: self.beats, at: now.wall },
                found,
            };
            let outcome = self.feed.apply(question.number, answer, now, &FilledByTheStore);
            assert!(matches!(outcome, Outcome::Applied { .. }), "{outcome:?}");
        }
    }

    async fn token(&self) -> String {
        let response = self.http.token(&self.key, &[]).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// One request at each door that decides about a credential.
    async fn knock(&self, token: &str) -> Vec<(&'static str, Response)> {
        let (basic, bearer) = (self.key.basic(), format!("Bearer {token}"));
        let wrong = Credentials { client_secret: "wrong".to_owned(), ..self.key.clone() };
        let form = format!("token={token}");
        let by_secret = [("authorization", basic.as_str())];
        let by_token = [("authorization", bearer.as_str())];
        let encoded = format!("Bearer {}", self.key.encoded("gatekey.example.com"));
        let forward = |authorization| {
            [
                ("x-forwarded-method", "POST"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-host", "flyte.example.com"),
                ("x-forwarded-uri", READ),
                ("authorization", authorization),
            ]
        };
        let get = json!({ "clientId": "ci" });
        let envoy = format!("/gate/envoy{READ}");
        vec![
            ("token", self.http.token(&self.key, &[]).await),
            ("token, wrong secret", self.http.token(&wrong, &[]).await),
            ("introspect", self.http.form("/oauth2/introspect", &by_secret, &form).await),
            ("introspect by token", self.http.form("/oauth2/introspect", &by_token, &form).await),
            ("userinfo", self.http.get("/oauth2/userinfo", &by_token).await),
            ("me", self.http.get("/me", &by_token).await),
            (
                "rpc",
                self.http.connect_json("/cloudidl.identity.AppsService/Get", token, &get).await,
            ),
            ("own rpc", self.http.connect_json("/gatekey.v1.ApiKeyService/Get", token, &get).await),
            ("forward", self.http.get("/gate/forward", &forward(&bearer)).await),
            ("forward, encoded", self.http.get("/gate/forward", &forward(&encoded)).await),
            ("envoy", self.http.send(Method::POST, &envoy, &by_token, "").await),
            ("revoke", self.http.form("/oauth2/revoke", &by_secret, &form).await),
        ]
    }
}

async fn listen(
    service: impl gatekey_listener::RequestService + 'static,
) -> (String, oneshot::Sender<()>) {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("http://{}", socket.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let limits = gatekey_listener::Limits {
        connections: 100,
        share_per_address: 1.0,
        unlimited: Networks::default(),
        idle: Duration::from_hours(1),
        age: Duration::from_hours(1),
    };
    let (only_from, drain) = (Networks::default(), Duration::from_secs(1));
    let listener = Listener { socket, tls: None, only_from, limits, drain };
    tokio::spawn(serve(listener, service, async {
        let _ = stopped.await;
    }));
    (address, stop)
}

#[tokio::test]
async fn a_stale_node_refuses_nobody() {
    let mut node = Node::start().await;
    node.answer_polls();
    let token = node.token().await;
    node.wait(60);
    for (door, response) in node.knock(&token).await {
        let (status, text) = (response.status.as_u16(), response.text());
        assert_eq!(status, 503, "{door}: {text}");
        assert_eq!(response.header("retry-after"), "1", "{door}");
        assert_eq!(response.header("www-authenticate"), "", "{door}");
        for word in ["invalid", "active", "unauth"] {
            assert!(!text.to_lowercase().contains(word), "{door}: {text}");
        }
        if ["token", "introspect", "revoke"].contains(&door) {
            assert_eq!(response.json()["error"], "temporarily_unavailable", "{door}");
        }
        if door.ends_with("rpc") {
            assert_eq!(response.json()["code"], "unavailable", "{door}");
        }
    }
    for path in ["/oauth2/jwks", "/.well-known/oauth-authorization-server"] {
        assert_eq!(node.http.get(path, &[]).await.status, 200, "{path}");
    }
    assert_eq!(node.http.connect_json(OPEN, "", &json!({})).await.status, 200);
}

#[tokio::test]
async fn a_node_that_catches_up_serves_again() {
    let mut node = Node::start().await;
    for (door, response) in node.knock("a.b.c").await {
        assert_eq!(response.status, 503, "{door}");
    }
    node.answer_polls();
    let token = node.token().await;
    node.wait(60);
    node.answer_polls();
    for (door, response) in node.knock(&token).await {
        let expected = if door.contains("wrong") { 401 } else { 200 };
        assert_eq!(response.status, expected, "{door}: {}", response.text());
    }
}

#[tokio::test]
async fn an_aging_node_is_not_ready_but_serves() {
    let mut node = Node::start().await;
    assert_eq!(node.admin.get("/readyz", &[]).await.json()["fresh"], false);
    node.answer_polls();
    assert_eq!(node.admin.get("/readyz", &[]).await.status, 200);
    node.wait(5);
    let readiness = node.admin.get("/readyz", &[]).await;
    assert_eq!((readiness.status.as_u16(), &readiness.json()["fresh"]), (503, &json!(false)));
    assert_eq!(node.http.token(&node.key, &[]).await.status, 200);
}
