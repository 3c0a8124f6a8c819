//! Whether the time of a refusal tells its reason: unknown key, wrong secret, disabled key and expired secret, measured
//! against one another in process, where an attacker could never see as much; and over HTTP, where it is shown how much
//! of that is left to see.
//!
//! Welch's t over 100,000 interleaved calls of each in random order, as in "dude, is my code constant time?"
//! (<https://eprint.iacr.org/2016/1123>): below 4.5 the two are not told apart. Without the slowest tenth, which is what
//! interrupts made of them, t tells one nanosecond from none; there the means may differ by one part in a hundred.
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
    api_key::{CreateApiKey, RotateSecret},
    env::{Clock, SystemEntropy},
    root_key::{FileError, RootKeyFile, RootKeys},
    token::TokenError,
};
use gatekey_credentials::{Role, Secret};
use gatekey_server::{
    App,
    app::Memory,
    config::Settings,
    router,
    serve::{Acceptor, serve},
    telemetry::NoRequestLog,
};
use gatekey_store::SqliteStore;
use tokio::net::TcpListener;

/// Calls of each reason.
const CALLS: usize = 100_000;
/// The same over HTTP, where each takes longer.
const CALLS_OVER_HTTP: usize = 20_000;
/// Of each, the first calls that warm caches up.
const WARM_UP: usize = 1_000;
/// What no |t| may reach.
const LIMIT: f64 = 4.5;
/// By what part the means of the faster nine tenths may differ.
const MARGIN: f64 = 0.01;

/// A clock that stands where it was put.
struct StandingClock(AtomicI64);

impl Clock for StandingClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0.load(Ordering::Relaxed))
    }
}

/// Where the root key is kept.
struct KeyFile(Mutex<RootKeys>);

#[async_trait::async_trait]
impl RootKeyFile for KeyFile {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn read(&self) -> Result<RootKeys, FileError> {
        Ok(self.0.lock().unwrap().clone())
    }

    async fn replace(&self, keys: &RootKeys) -> Result<(), FileError> {
        *self.0.lock().unwrap() = keys.clone();
        Ok(())
    }
}

/// One reason to be refused.
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

/// With keys whose secrets are hashed under the first version of the root key, rotated so often since.
async fn application(directory: &tempfile::TempDir, rotations: u32) -> (App, [Reason; 4]) {
    let clock = Arc::new(StandingClock(AtomicI64::new(1_800_000_000)));
    let env = Env::new(clock.clone(), Arc::new(SystemEntropy));
    let keys = RootKeys::generate(&env);
    let root_key = RootKey::from_file(&keys, Some(Arc::new(KeyFile(Mutex::new(keys.clone())))));
    let root_key = Arc::new(root_key);
    let memory = Memory::new(root_key.clone());
    let database = directory.path().join("gatekey.db");
    let store = SqliteStore::open(&database, &root_key, memory.observer()).unwrap();
    let config = Settings::default().resolve("127.0.0.1:8443".parse().unwrap()).unwrap();
    let app = App::new(config, Arc::new(store), memory, root_key, env.clone(), Arc::new(NoRequestLog), None);
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
        };
        let made = app.api_keys.create(&caller, create).await.unwrap();
        made.secret.expose().to_owned()
    };
    // Among others, as in any directory.
    for number in 0..1000 {
        create(&format!("key-{number:04}")).await;
    }
    create("wrong-sec").await;
    let of_disabled = create("disabled-").await;
    app.api_keys.disable(&caller, "disabled-").await.unwrap();
    create("expired-s").await;
    let soon = env.now().after(Duration::from_mins(1));
    let rotate = RotateSecret { expires_at: Some(soon), ..RotateSecret::default() };
    let rotated = app.api_keys.rotate_secret(&caller, "expired-s", rotate).await.unwrap();
    let of_expired = rotated.secret.expose().to_owned();
    clock.0.fetch_add(3600, Ordering::Relaxed);
    for _ in 0..rotations {
        app.root_key.rotate(&*app.store, &app.env, &caller).await.unwrap();
    }
    let stranger = |byte| Secret::from_random(&[byte; 23]).expose().to_owned();
    let reason = |name, client_id: &str, secret| Reason {
        name,
        client_id: client_id.to_owned(),
        secret,
        nanoseconds: Vec::with_capacity(CALLS),
    };
    let reasons = [
        reason("wrong secret", "wrong-sec", stranger(1)),
        reason("unknown key", "unknown-k", stranger(2)),
        reason("disabled key", "disabled-", of_disabled),
        reason("expired secret", "expired-s", of_expired),
    ];
    (app, reasons)
}

/// Asks with each reason so often as calls, in any order of them, and keeps how long that took.
fn measure(reasons: &mut [Reason; 4], calls: usize, mut ask: impl FnMut(&Reason) -> Duration) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for call in 0..calls + WARM_UP {
        // Each as often as the others.
        let mut order = [0, 1, 2, 3];
        for last in (1..order.len()).rev() {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            order.swap(last, usize::try_from(state % (last as u64 + 1)).unwrap());
        }
        for index in order {
            let took = ask(&reasons[index]);
            if call >= WARM_UP {
                reasons[index].nanoseconds.push(took.as_secs_f64() * 1e9);
            }
        }
    }
}

/// Shows what was measured, and gives the pairs that are told apart.
fn told_apart(reasons: &[Reason; 4]) -> Vec<String> {
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
            let (whole, cut) =
                (welch(&reasons[one].nanoseconds, &reasons[two].nanoseconds), welch(&kept[one], &kept[two]));
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
#[ignore = "takes a while and wants a machine that does little else"]
async fn the_time_of_a_refusal_does_not_tell_its_reason() {
    no_refusal_tells_its_reason(0).await;
}

#[tokio::test]
#[ignore = "takes a while and wants a machine that does little else"]
async fn the_time_of_a_refusal_does_not_tell_its_reason_while_secrets_need_an_older_root_key() {
    no_refusal_tells_its_reason(1).await;
}

/// After so many rotations of the root key.
async fn no_refusal_tells_its_reason(rotations: u32) {
    let directory = tempfile::tempdir().unwrap();
    let (app, mut reasons) = application(&directory, rotations).await;
    let from = Some(IpAddr::from(Ipv4Addr::LOCALHOST));
    measure(&mut reasons, CALLS, |reason| {
        let began = Instant::now();
        let refused = app.tokens.authenticate(&reason.client_id, &reason.secret, from);
        let took = began.elapsed();
        assert!(
            matches!(refused, Err(TokenError::InvalidClient | TokenError::TooManyFailures { .. })),
            "{}: {refused:?}",
            reason.name
        );
        took
    });
    let apart = told_apart(&reasons);
    assert!(apart.is_empty(), "the time tells apart: {apart:?}");
}

/// What an attacker sees: the same over a connection that is kept, from the first byte sent to the last one read. Shown
/// without a bar, because the machine's own noise is most of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "takes a while and wants a machine that does little else"]
async fn the_time_of_a_refusal_over_http_is_shown() {
    let directory = tempfile::tempdir().unwrap();
    let (app, mut reasons) = application(&directory, 0).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let acceptor = Acceptor { listener, tls: None, only_from: Vec::new(), drain: Duration::from_secs(1) };
    let serving = tokio::spawn(serve(acceptor, router::service(&app), async {
        let _ = stopped.await;
    }));
    let asking = tokio::task::spawn_blocking(move || {
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
            let response = read_answer(&stream);
            let took = began.elapsed();
            let refused = ["HTTP/1.1 401 ", "HTTP/1.1 429 "].iter().any(|line| response.starts_with(line));
            assert!(refused, "{}: {response}", reason.name);
            took
        });
        told_apart(&reasons);
    });
    asking.await.unwrap();
    stop.send(()).unwrap();
    serving.await.unwrap();
}

/// Reads one answer of a connection that stays open.
fn read_answer(mut stream: &std::net::TcpStream) -> String {
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
