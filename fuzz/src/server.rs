//! [`Server`]: Gatekey's service in memory, with a key of each relevant role and a stopped clock.

use std::{
    cell::RefCell,
    convert::Infallible,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::body::{Body, Bytes};
use futures::stream;
use gatekey_core::{
    Actor, Application, Caller as Recorded, Env, RootKey, Timestamp,
    api_key::{CreateApiKey, KeyFacts, Limits},
    env::{Clock, Entropy},
    signing_key::Start,
};
use gatekey_credentials::{Role, jwt::Algorithm};
use gatekey_server::{
    config::Settings,
    server::{self, Caches, Parts},
};
use gatekey_store::SqliteStore;
use gatekey_telemetry::NoRequestLog;
use http::{Request, Response, Version, header};
use http_body_util::BodyExt as _;
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::yield_now};
use tower::{ServiceExt as _, util::BoxCloneService};

use crate::{
    answer::Answer,
    request::{Caller, TextRequest},
};

/// The call without an end: only its first message is read.
pub const ENDLESS: &str = "/grpc.health.v1.Health/Watch";

/// The initial keys.
const KEYS: [(&str, Option<Role>); 3] =
    [("admin", Some(Role::Admin)), ("viewer", Some(Role::Viewer)), ("ci", Some(Role::Contributor))];

/// Beyond these numbers a server is replaced, so that a result does not depend on hours of earlier
/// requests.
const MOST_KEYS: usize = 16;
const MOST_COMMITS: u64 = 200;

/// Always 2027-01-15.
struct StoppedClock;

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }
}

/// The same bytes in every process.
struct SeededEntropy(AtomicU64);

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64, <https://prng.di.unimi.it/splitmix64.c>.
            let mut mixed = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

type Service = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

/// A server in memory.
pub struct Server {
    runtime: Runtime,
    server: server::Server,
    service: Service,
    store: Arc<SqliteStore>,
    commits_at_first: u64,
    keys: [Arc<KeyFacts>; KEYS.len()],
    admin_token: String,
    viewer_token: String,
    /// Dropped last.
    _directory: TempDir,
}

/// The state that a request can change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    commits: u64,
    keys: usize,
    denied_tokens: usize,
    /// Whether `admin` and `ci` are unchanged.
    others_unchanged: bool,
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

/// Returns the server of this process, or a new one when it has changed too much.
pub fn with_server<T>(work: impl FnOnce(&Server) -> T) -> T {
    SERVER.with_borrow_mut(|server| {
        if server.as_ref().is_some_and(Server::is_worn) {
            *server = None;
        }
        work(server.get_or_insert_with(Server::start))
    })
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime of one thread");
        // In memory if possible: the store waits for the disk at every change.
        let memory_file_system = Path::new("/dev/shm");
        let directory = if memory_file_system.is_dir() {
            tempfile::tempdir_in(memory_file_system)
        } else {
            tempfile::tempdir()
        };
        let directory = directory.expect("a directory for the store");
        let env = Env::new(Arc::new(StoppedClock), Arc::new(SeededEntropy(AtomicU64::new(1))));
        let root_key = Arc::new(RootKey::new(&[1; 32]));
        let caches = Caches::new(root_key.clone());
        let path = directory.path().join("gatekey.db");
        let store = SqliteStore::open(&path, &root_key, caches.observer());
        let store = Arc::new(store.expect("a new store opens"));
        let config = Settings::default().resolve("127.0.0.1:8443".parse().expect("an address"));
        let config = config.expect("the defaults can be");
        let server = server::Server::new(Parts {
            config,
            store: store.clone(),
            caches,
            root_key,
            env,
            request_log: Arc::new(NoRequestLog),
            traces: None,
            upstream_authorities: server::UpstreamAuthorities::default(),
            proxies: Default::default(),
        });
        let recorded = Recorded {
            actor: Actor::Local { uid: 0 },
            request_id: "fuzz".to_owned(),
            peer: String::new(),
            user_agent: String::new(),
        };
        let (admin_token, viewer_token) = runtime.block_on(async {
            let signing_keys = &server.operations.signing_keys;
            signing_keys
                .ensure(&recorded, Some(Algorithm::ES256), Start::Now)
                .await
                .expect("a signing key");
            let mut tokens = Vec::new();
            for (client_id, role) in KEYS {
                let create = CreateApiKey {
                    client_id: client_id.to_owned(),
                    application: Application::named(client_id),
                    role,
                    expires_at: None,
                    secret_label: String::new(),
                    limits: Limits::default(),
                };
                let made = server.api_keys.create(&recorded, create).await.expect("a key");
                let key = server
                    .tokens
                    .authenticate(client_id, made.secret.expose(), None)
                    .expect("its secret");
                tokens.push(server.tokens.issue(&key, "", &[]).expect("a token").access_token);
            }
            (tokens[0].clone(), tokens[1].clone())
        });
        let keys = KEYS.map(|(client_id, _)| {
            server.caches.directory.find(client_id).expect("it was just made")
        });
        let (service, commits_at_first) = (Service::new(server.service()), store.commits());
        Self {
            runtime,
            server,
            service,
            store,
            commits_at_first,
            keys,
            admin_token,
            viewer_token,
            _directory: directory,
        }
    }

    /// Sends a request as HTTP/2 would deliver it, with its body in a few pieces, and reads the
    /// answer.
    pub fn send(&self, text: &TextRequest) -> Answer {
        let pieces: Vec<_> = text
            .body
            .chunks(text.body.len() / 3 + 1)
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let mut request = Request::new(Body::from_stream(stream::iter(pieces)));
        *request.method_mut() = text.method.clone();
        *request.uri_mut() = text.target.clone();
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = text.headers.clone();
        let token = match text.caller {
            Caller::Nobody => None,
            Caller::Forger => Some(forged(&self.admin_token)),
            Caller::Viewer => Some(self.viewer_token.clone()),
            Caller::Admin => Some(self.admin_token.clone()),
        };
        if let Some(token) = token {
            let value = format!("Bearer {token}").try_into().expect("a token is plain text");
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        self.runtime.block_on(read(self.service.clone(), request))
    }

    pub fn state(&self) -> State {
        let same = |place: usize| {
            let now = self.server.caches.directory.find(KEYS[place].0);
            now.is_some_and(|now| Arc::ptr_eq(&now, &self.keys[place]))
        };
        State {
            commits: self.store.commits(),
            keys: self.server.caches.directory.len(),
            denied_tokens: self.server.caches.directory.denied_tokens(),
            others_unchanged: same(0) && same(2),
        }
    }

    /// Whether the initial keys changed, or there are too many.
    fn is_worn(&self) -> bool {
        let state = self.state();
        let viewer = self.server.caches.directory.find("viewer");
        !state.others_unchanged
            || !viewer.is_some_and(|now| Arc::ptr_eq(&now, &self.keys[1]))
            || state.keys > MOST_KEYS
            || state.denied_tokens > 0
            || state.commits - self.commits_at_first > MOST_COMMITS
    }
}

/// Asserts that a request changed only what its caller may change.
pub fn assert_no_forbidden_change(caller: Caller, before: &State, after: &State) {
    match caller {
        Caller::Nobody | Caller::Forger => {
            assert_eq!(before, after, "changed without a credential")
        }
        // A viewer may rotate its own secret, and refusals are recorded in the ledger.
        Caller::Viewer => assert_eq!(
            State { commits: 0, ..before.clone() },
            State { commits: 0, ..after.clone() },
            "changed by a viewer"
        ),
        Caller::Admin => {}
    }
}

/// A token that another key signed.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').expect("a token has three parts");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    format!("{signed}.{other}{}", &signature[1..])
}

async fn read(service: Service, request: Request<Body>) -> Answer {
    let endless = request.uri().path() == ENDLESS;
    let Ok(response) = service.oneshot(request).await;
    let (parts, mut body) = response.into_parts();
    let (mut bytes, mut trailers, mut partial) = (Vec::new(), None, false);
    loop {
        let frame = if endless {
            tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = yields() => { partial = true; None }
            }
        } else {
            body.frame().await
        };
        let Some(frame) = frame else { break };
        match frame.expect("a body in memory does not fail").into_data() {
            Ok(data) => {
                assert!(trailers.is_none(), "data after the trailers");
                bytes.extend_from_slice(&data);
            }
            Err(frame) => {
                let more = frame.into_trailers().expect("a frame is data or trailers");
                assert!(trailers.replace(more).is_none(), "trailers twice");
            }
        }
    }
    Answer { status: parts.status, headers: parts.headers, body: bytes.into(), trailers, partial }
}

/// Yields until all other tasks are idle.
async fn yields() {
    for _ in 0..16 {
        yield_now().await;
    }
}
