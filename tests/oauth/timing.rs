//! Does the response time reveal why a secret was refused? Compares an unknown key, a wrong secret,
//! a disabled key and an expired secret: in process, where differences are much clearer than to any
//! attacker, and over HTTP, to print what an attacker could see.
//!
//! Welch's t over 100,000 interleaved calls of each in random order, as in "dude, is my code
//! constant time?" (<https://eprint.iacr.org/2016/1123>): below 4.5, the two are indistinguishable.
//! Without the slowest tenth, which interrupts cause, t detects a difference of one nanosecond;
//! there, the means may differ by 1 %.
//!
//! ```text
//! cargo test -p gatekey-tests timing -- --ignored --nocapture --test-threads 1
//! ```

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gatekey_core::{
    Actor, Application, Caller, Env, RootKey, Timestamp,
    api_key::{CreateApiKey, LastAdmin, RotateSecret},
    env::{Clock, SystemEntropy},
    network::Networks,
    root_key::{FileError, RootKeyFile, RootKeyVersions},
    token::TokenError,
};
use gatekey_credentials::{Role, Secret};
use gatekey_listener::{Limits, Listener, serve};
use gatekey_server::{
    Server,
    config::Settings,
    server::{Caches, Parts, UpstreamAuthorities},
};
use gatekey_store::SqliteStore;
use gatekey_telemetry::NoRequestLog;
use tokio::net::TcpListener;

/// Calls for each reason.
const CALLS: usize = 100_000;
/// The same over HTTP, where each call takes longer.
const CALLS_OVER_HTTP: usize = 20_000;
/// The first calls for each reason, which warm caches up and are not measured.
const WARM_UP: usize = 1_000;
/// The bound of |t|.
const LIMIT: f64 = 4.5;
/// The largest relative difference between the means of the faster nine tenths.
const MARGIN: f64 = 0.01;

/// A clock that stands still.
struct FixedClock(AtomicI64);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// Keeps the root key in memory.
struct KeyFile(Mutex<RootKeyVersions>);

#[async_trait::async_trait]
impl RootKeyFile for KeyFile {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn read(&self) -> Result<RootKeyVersions, FileError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn replace(&self, keys: &RootKeyVersions) -> Result<(), FileError> {
        *self.0.lock().unwrap() = keys.clone();
        Ok(())
    }
}

/// A reason for a refusal, with a client id and a secret that cause it.
struct Reason {
    name: &'static str,
    client_id: String,
    secret: String,
    nanoseconds: Vec<f64>,
}

fn mean_and_variance(sample: &[f64]) -> (f64, f64) {
    let count = f64::from(u32::try_from(sample.len()).unwrap());
    let mean = sample.iter().sum::<f64>() / count;
    (mean, sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0) / count)
}

/// Welch's t of two samples.
fn welch(one: &[f64], two: &[f64]) -> f64 {
    let ((one, of_one), (two, of_two)) = (mean_and_variance(one), mean_and_variance(two));
    (one - two) / (of_one + of_two).sqrt()
}

/// Creates a server with keys whose secrets are hashed under the first version of the root
/// key, then rotates the root key.
async fn server(directory: &tempfile::TempDir, rotations: u32) -> (Server, [Reason; 4]) {
    let clock = Arc::new(FixedClock(AtomicI64::new(1_800_000_000)));
    let env = Env::new(clock.clone(), Arc::new(SystemEntropy));
    let keys = RootKeyVersions::generate(&env);
    let root_key = RootKey::from_file(&keys, Some(Arc::new(KeyFile(Mutex::new(keys.clone())))));
    let root_key = Arc::new(root_key);
    let caches = Caches::new(root_key.clone());
    let database = directory.path().join("gatekey.db");
    let store = SqliteStore::open(&database, &root_key, caches.observer()).unwrap();
    let config = Settings::default().resolve("127.0.0.1:8443".parse().unwrap()).unwrap();
    let (store, request_log) = (Arc::new(store), Arc::new(NoRequestLog));
    let parts = Parts {
        config,
        store,
        caches,
        root_key,
        env: env.clone(),
        request_log,
        traces: None,
        upstream_authorities: UpstreamAuthorities::default(),
        proxies: gatekey_outbound::Proxies::default(),
    };
    let server = Server::new(parts);
    let caller = Caller {
        actor: Actor::Local { uid: 0 },
        request_id: "timing".to_owned(),
        peer: String::new(),
        user_agent: String::new(),
    };
    let create = async |client_id: &str| {
        let create = CreateApiKey {
            client_id: client_id.to_owned(),
            application: Application::named(client_id),
            role: Some(Role::Viewer),
            expires_at: None,
            secret_label: String::new(),
            limits: gatekey_core::api_key::Limits::default(),
        };
        let made = server.api_keys.create(&caller, create).await.unwrap();
        made.secret.expose().to_owned()
    };
    // Other keys, as in any real directory.
    for number in 0..1000 {
        create(&format!("key-{number:04}")).await;
    }
    create("wrong-sec").await;
    let of_disabled = create("disabled-").await;
    server.api_keys.disable(&caller, "disabled-", LastAdmin::Keep).await.unwrap();
    create("expired-s").await;
    let soon = env.now().after(Duration::from_mins(1));
    let rotate = RotateSecret { expires_at: Some(soon), ..RotateSecret::default() };
    let rotated = server.api_keys.rotate_secret(&caller, "expired-s", rotate).await.unwrap();
    let of_expired = rotated.secret.expose().to_owned();
    clock.0.fetch_add(3600, Ordering::Relaxed);
    for _ in 0..rotations {
        server.operations.root_keys.rotate(&caller).await.unwrap();
    }
    let random_secret = |byte| Secret::from_random(&[byte; 23]).expose().to_owned();
    let reason = |name, client_id: &str, secret| Reason {
        name,
        client_id: client_id.to_owned(),
        secret,
        nanoseconds: Vec::with_capacity(CALLS),
    };
    let reasons = [
        reason("wrong secret", "wrong-sec", random_secret(1)),
        reason("unknown key", "unknown-k", random_secret(2)),
        reason("disabled key", "disabled-", of_disabled),
        reason("expired secret", "expired-s", of_expired),
    ];
    (server, reasons)
}

/// Makes `calls` calls for each reason, in random order, and records how long each took.
fn measure(reasons: &mut [Reason; 4], calls: usize, mut call: impl FnMut(&Reason) -> Duration) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for number in 0..calls + WARM_UP {
        // Each round has one call for each reason.
        let mut order = [0, 1, 2, 3];
        for last in (1..order.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(last, usize::try_from(state % (last as u64 + 1)).unwrap());
        }
        for index in order {
            let took = call(&reasons[index]);
            if number >= WARM_UP {
                reasons[index].nanoseconds.push(took.as_secs_f64() * 1e9);
            }
        }
    }
}

/// Prints the measurements, and returns the pairs of reasons that are distinguishable.
fn distinguishable(reasons: &[Reason; 4]) -> Vec<String> {
    let kept: Vec<Vec<f64>> = reasons
        .iter()
        .map(|reason| {
            let mut sorted = reason.nanoseconds.clone();
            sorted.sort_by(f64::total_cmp);
            sorted.truncate(sorted.len() / 10 * 9);
            sorted
        })
        .collect();
    for (reason, kept) in reasons.iter().zip(&kept) {
        let (mean, variance) = mean_and_variance(kept);
        let deviation = (variance * f64::from(u32::try_from(kept.len()).unwrap())).sqrt();
        println!("{:15} {mean:7.1} ns, deviation {deviation:6.1} ns", reason.name);
    }
    let mut apart = Vec::new();
    for one in 0..reasons.len() {
        for two in one + 1..reasons.len() {
            let (whole, cut) = (
                welch(&reasons[one].nanoseconds, &reasons[two].nanoseconds),
                welch(&kept[one], &kept[two]),
            );
            let pair = format!("{} and {}", reasons[one].name, reasons[two].name);
            println!("{pair:32} t = {whole:6.2} of all, {cut:6.2} of the faster nine tenths");
            let (mean_of_one, mean_of_two) =
                (mean_and_variance(&kept[one]).0, mean_and_variance(&kept[two]).0);
            if whole.abs() >= LIMIT || (mean_of_one / mean_of_two - 1.0).abs() >= MARGIN {
                apart.push(pair);
            }
        }
    }
    apart
}

#[tokio::test]
#[ignore = "slow; needs an otherwise idle machine"]
async fn the_response_time_hides_the_refusals_reason() {
    assert_indistinguishable(0).await;
}

/// Secrets are then still hashed under an older version of the root key.
#[tokio::test]
#[ignore = "slow; needs an otherwise idle machine"]
async fn the_response_time_hides_it_after_a_rotation() {
    assert_indistinguishable(1).await;
}

/// Measures after `rotations` rotations of the root key.
async fn assert_indistinguishable(rotations: u32) {
    let directory = tempfile::tempdir().unwrap();
    let (server, mut reasons) = server(&directory, rotations).await;
    let from = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
    measure(&mut reasons, CALLS, |reason| {
        let began = Instant::now();
        let refused = server.tokens.authenticate(&reason.client_id, &reason.secret, from);
        let took = began.elapsed();
        let refused = refused.map_err(TokenError::from);
        assert!(
            matches!(refused, Err(TokenError::InvalidClient | TokenError::TooManyFailures { .. })),
            "{}: {refused:?}",
            reason.name
        );
        took
    });
    let apart = distinguishable(&reasons);
    assert!(apart.is_empty(), "distinguishable by time: {apart:?}");
}

/// Measures what an attacker sees: over one kept connection, from the first byte sent to the last
/// byte read. Without a limit, because most of it is the machine's own noise.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "slow; needs an otherwise idle machine"]
async fn the_response_time_over_http_is_printed() {
    let directory = tempfile::tempdir().unwrap();
    let (server, mut reasons) = server(&directory, 0).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let limits = Limits {
        connections: 1,
        share_per_address: 1.0,
        unlimited: Networks::default(),
        idle: Duration::from_hours(1),
        age: Duration::from_hours(1),
    };
    let acceptor = Listener {
        socket: listener,
        tls: None,
        only_from: Networks::default(),
        limits,
        drain: Duration::from_secs(1),
    };
    let serving = tokio::spawn(serve(acceptor, server.service(), async {
        let _ = stopped.await;
    }));
    let client = tokio::task::spawn_blocking(move || {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        measure(&mut reasons, CALLS_OVER_HTTP, |reason| {
            let form = "grant_type=client_credentials";
            let basic = BASE64_STANDARD.encode(format!("{}:{}", reason.client_id, reason.secret));
            let request = format!(
                "POST /oauth2/token HTTP/1.1\r\nhost: h\r\nauthorization: Basic {basic}\r\n\
                 content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
                form.len()
            );
            let began = Instant::now();
            (&stream).write_all(request.as_bytes()).unwrap();
            let response = read_response(&stream);
            let took = began.elapsed();
            let refused =
                ["HTTP/1.1 401 ", "HTTP/1.1 429 "].iter().any(|line| response.starts_with(line));
            assert!(refused, "{}: {response}", reason.name);
            took
        });
        distinguishable(&reasons);
    });
    client.await.unwrap();
    stop.send(()).unwrap();
    serving.await.unwrap();
}

/// Reads one response from a connection that stays open.
fn read_response(mut stream: &std::net::TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        let mut piece = [0; 2048];
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "closed after {:?}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            return text.into_owned();
        }
    }
}
