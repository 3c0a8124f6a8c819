//! Wrong clocks, and their correction: nothing that was revoked becomes valid, and nothing stops.
//!
//! Runs the application within the test with its own clock, then the real binary under libfaketime,
//! if that is installed.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use gatekey_core::{
    Actor, ApiKeyPatch, Application, Caller, Env, Error, RootKey, Timestamp,
    api_key::{CreateApiKey, LastAdmin, Limits, RotateSecret, WithSecret, list::ListKeys},
    env::{Clock, SystemEntropy},
    ledger::{LedgerHead, verify_chain},
    signing_key::Start,
    store::LedgerStore as _,
    token::{TokenError, TokenRefusal},
};
use gatekey_credentials::{Role, jwt::InvalidToken};
use gatekey_server::{
    config::Settings,
    server::{Caches, Parts, Server as Inner, UpstreamAuthorities},
};
use gatekey_store::SqliteStore;
use gatekey_telemetry::NoRequestLog;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{PUBLIC_URL, Server, copied_store, eventually, not_proven};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
/// When every test begins: 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600;

/// A clock that the test sets, in seconds after the beginning.
#[derive(Default)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(BEGIN + self.0.load(Ordering::SeqCst))
    }
}

/// A server without its sockets.
struct InProcess {
    directory: TempDir,
    clock: Arc<TestClock>,
    inner: Inner,
}

impl InProcess {
    async fn start() -> Self {
        let (directory, clock) = (tempfile::tempdir().unwrap(), Arc::<TestClock>::default());
        let inner = Self::open(directory.path(), &clock).await;
        Self { directory, clock, inner }
    }

    async fn open(directory: &Path, clock: &Arc<TestClock>) -> Inner {
        let root_key = Arc::new(RootKey::new(&[7; 32]));
        let caches = Caches::new(root_key.clone());
        let path = directory.join("gatekey.db");
        let store = SqliteStore::open(&path, &root_key, caches.observer()).unwrap();
        let env = Env::new(clock.clone(), Arc::new(SystemEntropy));
        let config = Settings::default().resolve("127.0.0.1:1".parse().unwrap()).unwrap();
        let (store, request_log) = (Arc::new(store), Arc::new(NoRequestLog));
        let inner = Inner::new(Parts {
            config,
            store,
            caches,
            root_key,
            env,
            request_log,
            traces: None,
            upstream_authorities: UpstreamAuthorities::default(),
            proxies: gatekey_outbound::Proxies::default(),
        });
        inner.operations.signing_keys.ensure(&caller("start"), None, Start::Now).await.unwrap();
        inner.store.load().await.unwrap();
        inner
    }

    /// Reads everything from disk again, as a restarted server does.
    async fn restart(&mut self) {
        self.inner = Self::open(self.directory.path(), &self.clock).await;
    }

    /// Sets the clock, and runs the hourly jobs.
    async fn at(&self, seconds: i64) {
        self.clock.0.store(seconds, Ordering::SeqCst);
        let jobs = self.inner.jobs();
        jobs.flush().await;
        jobs.hourly().await;
    }

    async fn create(&self, name: &str) -> WithSecret {
        self.inner.api_keys.create(&caller(name), creation(name)).await.unwrap()
    }

    async fn rotate(&self, key: &WithSecret, grace: Duration) -> WithSecret {
        let rotate = RotateSecret { grace, ..RotateSecret::default() };
        let client_id = key.key.client_id.as_str();
        self.inner.api_keys.rotate_secret(&caller("rotate"), client_id, rotate).await.unwrap()
    }

    /// A change that concerns neither secrets nor tokens.
    async fn touch(&self, key: &WithSecret) {
        let patch =
            ApiKeyPatch { client_name: Some("touched".to_owned()), ..ApiKeyPatch::default() };
        self.inner
            .api_keys
            .update(&caller("touch"), key.key.client_id.as_str(), patch, LastAdmin::Keep)
            .await
            .unwrap();
    }

    fn token(&self, key: &WithSecret) -> Result<String, TokenError> {
        let authenticated = self.inner.tokens.authenticate(
            key.key.client_id.as_str(),
            key.secret.expose(),
            None,
        )?;
        Ok(self.inner.tokens.issue(&authenticated, "", &[])?.access_token)
    }

    async fn revoke(&self, key: &WithSecret, token: &str) {
        let facts = self.inner.caches.directory.find(key.key.client_id.as_str()).unwrap();
        self.inner.tokens.revoke(&caller("revoke"), &facts, token).await.unwrap();
    }

    fn refusal(&self, token: &str) -> Option<TokenRefusal> {
        self.inner.tokens.verify(token).err()
    }
}

fn caller(request_id: &str) -> Caller {
    Caller {
        actor: Actor::Local { uid: 0 },
        request_id: request_id.to_owned(),
        peer: String::new(),
        user_agent: String::new(),
    }
}

fn creation(name: &str) -> CreateApiKey {
    CreateApiKey {
        client_id: String::new(),
        application: Application::named(name),
        role: Some(Role::Contributor),
        expires_at: None,
        secret_label: String::new(),
        limits: Limits::default(),
    }
}

#[tokio::test]
async fn a_revoked_token_stays_revoked_at_any_time() {
    for away in [HOUR, 13 * HOUR, 23 * HOUR] {
        let mut server = InProcess::start().await;
        let key = server.create("ci").await;
        let (revoked, other) = (server.token(&key).unwrap(), server.token(&key).unwrap());
        server.revoke(&key, &revoked).await;
        server.at(away).await;
        server.at(MINUTE).await;
        assert_eq!(server.refusal(&revoked), Some(TokenRefusal::Revoked), "{away}");
        assert_eq!(server.refusal(&other), None, "{away}");
        server.restart().await;
        assert_eq!(server.refusal(&revoked), Some(TokenRefusal::Revoked), "{away}");
    }
}

#[tokio::test]
async fn a_revocation_survives_a_clock_correction() {
    let server = InProcess::start().await;
    let key = server.create("ci").await;
    let token = server.token(&key).unwrap();
    for wrong in [2 * HOUR, -HOUR] {
        server.at(wrong).await;
        let token = token.clone();
        assert!(server.refusal(&token).is_some());
        server.revoke(&key, &token).await;
        server.at(MINUTE).await;
        assert_eq!(server.refusal(&token), Some(TokenRefusal::Revoked), "{wrong}");
    }
}

#[tokio::test]
async fn an_old_token_needs_no_revocation() {
    let server = InProcess::start().await;
    let key = server.create("ci").await;
    let token = server.token(&key).unwrap();
    server.at(26 * HOUR).await;
    let before = server.inner.store.ledger_head().await.unwrap();
    server.revoke(&key, &token).await;
    assert_eq!(server.inner.store.ledger_head().await.unwrap(), before);
}

#[tokio::test]
async fn a_retired_secret_stays_retired_at_any_time() {
    let mut server = InProcess::start().await;
    let old = server.create("ci").await;
    let new = server.rotate(&old, Duration::from_hours(24)).await;
    let of_old = server.token(&old).unwrap();
    server.at(HOUR).await;
    let old_id = new.key.secrets[0].id.to_string();
    server
        .inner
        .api_keys
        .retire_secret(&caller("retire"), "ci", &old_id, LastAdmin::Keep)
        .await
        .unwrap();
    let newest = server.rotate(&new, Duration::ZERO).await;
    // A time when every secret was valid. The change to the key writes it again, and notifies the
    // directory.
    server.at(MINUTE).await;
    server.touch(&newest).await;
    for _ in 0..2 {
        for revoked_one in [&old, &new] {
            assert!(matches!(server.token(revoked_one), Err(TokenError::InvalidClient)));
        }
        assert!(server.refusal(&of_old).is_some());
        server.restart().await;
    }
    server.at(HOUR).await;
    assert!(server.token(&newest).is_ok());
}

/// The key was created while the clock was ahead.
#[tokio::test]
async fn a_key_from_the_future_works_now() {
    let mut server = InProcess::start().await;
    server.at(HOUR).await;
    let key = server.create("ci").await;
    server.at(0).await;
    for _ in 0..2 {
        assert_eq!(server.refusal(&server.token(&key).unwrap()), None);
        server.restart().await;
    }
}

#[tokio::test]
async fn tokens_of_an_old_epoch_stay_revoked() {
    let mut server = InProcess::start().await;
    let key = server.create("ci").await;
    let token = server.token(&key).unwrap();
    server.at(HOUR).await;
    server.inner.api_keys.disable(&caller("disable"), "ci", LastAdmin::Keep).await.unwrap();
    server.at(0).await;
    assert_eq!(server.refusal(&token), Some(TokenRefusal::Key));
    server.inner.api_keys.enable(&caller("enable"), "ci").await.unwrap();
    server.at(-HOUR).await;
    server.touch(&key).await;
    server.at(MINUTE).await;
    for _ in 0..2 {
        assert_eq!(server.refusal(&token), Some(TokenRefusal::Key));
        assert!(server.token(&key).is_ok());
        server.restart().await;
    }
}

#[tokio::test]
async fn a_token_from_the_future_is_refused() {
    let server = InProcess::start().await;
    let key = server.create("ci").await;
    server.at(HOUR).await;
    let token = server.token(&key).unwrap();
    server.at(0).await;
    assert_eq!(server.refusal(&token), Some(InvalidToken::NotYetValid.into()));
    assert!(server.refusal(&server.token(&key).unwrap()).is_none());
    server.at(HOUR).await;
    assert_eq!(server.refusal(&token), None);
    server.at(2 * HOUR).await;
    assert_eq!(server.refusal(&token), Some(InvalidToken::Expired.into()));
}

#[tokio::test]
async fn the_ledger_keeps_its_order_at_any_time() {
    let mut server = InProcess::start().await;
    let hours = [0, 1, -1, 25, -25, 0];
    for (number, hour) in hours.into_iter().enumerate() {
        server.at(hour * HOUR).await;
        server.create(&format!("key-{number}")).await;
        server.restart().await;
    }
    let entries = server.inner.store.ledger_entries(0, usize::MAX).await.unwrap();
    let ledger_keys = RootKey::new(&[7; 32]).ledger_keys();
    let head = verify_chain(&ledger_keys, LedgerHead::EMPTY, &entries).unwrap();
    assert_eq!(head, server.inner.store.ledger_head().await.unwrap());
    let created: Vec<_> =
        entries.iter().filter(|entry| entry.entry.action == "api_key.create").collect();
    for (number, (entry, hour)) in created.iter().zip(hours).enumerate() {
        assert_eq!(entry.entry.target, format!("key-{number}"));
        assert_eq!(entry.entry.at, Timestamp::from_seconds(BEGIN + hour * HOUR));
    }
    assert_eq!(created.len(), hours.len());
}

/// It is not recognized after ten minutes.
#[tokio::test]
async fn a_replay_is_recognized_after_a_clock_correction() {
    let server = InProcess::start().await;
    server.create("ci").await;
    for back in [-HOUR, 0, 9 * MINUTE] {
        server.at(back).await;
        let again = server.create("ci").await;
        assert!(server.token(&again).is_ok());
    }
    server.create("other").await;
    server.at(20 * MINUTE).await;
    for name in ["ci", "other"] {
        let late = server.inner.api_keys.create(&caller(name), creation(name)).await;
        assert!(matches!(late, Err(Error::AlreadyExists(_))), "{name}");
    }
}

#[tokio::test]
async fn a_grace_ends_by_the_current_clock() {
    let server = InProcess::start().await;
    let old = server.create("ci").await;
    server.at(MINUTE).await;
    let new = server.rotate(&old, Duration::from_mins(10)).await;
    assert!(server.token(&old).is_ok() && server.token(&new).is_ok());
    server.at(HOUR).await;
    assert!(server.token(&old).is_err() && server.token(&new).is_ok());
}

#[tokio::test]
async fn page_tokens_survive_clock_changes() {
    let server = InProcess::start().await;
    for (number, hour) in [0, 1, -1, 2, -2].into_iter().enumerate() {
        server.at(hour * HOUR).await;
        server.create(&format!("key-{number}")).await;
    }
    let mut list = ListKeys { limit: 2, ..ListKeys::default() };
    let mut seen = Vec::new();
    for hour in [1, -1, 48] {
        let page = server.inner.api_keys.list(&list).await.unwrap();
        seen.extend(page.keys.into_iter().map(|key| key.client_id.to_string()));
        list.page_token = page.next_page_token;
        server.at(hour * HOUR).await;
    }
    assert_eq!(list.page_token, "");
    seen.sort();
    assert_eq!(seen, ["key-0", "key-1", "key-2", "key-3", "key-4"]);
}

#[tokio::test]
async fn the_latest_use_is_kept_at_any_time() {
    let server = InProcess::start().await;
    let key = server.create("ci").await;
    let mut expected = 0;
    for seconds in [0, HOUR, MINUTE, 2 * HOUR] {
        server.clock.0.store(seconds, Ordering::SeqCst);
        server.token(&key).unwrap();
        server.inner.jobs().flush().await;
        expected = expected.max(seconds);
        let used = server.inner.api_keys.get("ci").await.unwrap().secrets[0].last_used_at;
        assert_eq!(used, Some(Timestamp::from_seconds(BEGIN + expected)));
    }
}

#[tokio::test]
async fn a_busy_secret_is_written_once_a_minute() {
    let server = InProcess::start().await;
    let key = server.create("ci").await;
    let mut written = Vec::new();
    for seconds in [0, 5, 59, 60, 65, 130] {
        server.clock.0.store(seconds, Ordering::SeqCst);
        server.token(&key).unwrap();
        server.inner.last_used.flush_due(server.inner.env.now()).await.unwrap();
        let used = server.inner.api_keys.get("ci").await.unwrap().secrets[0].last_used_at;
        written.push(used.unwrap().as_seconds() - BEGIN);
    }
    assert_eq!(written, [0, 0, 0, 60, 60, 130]);
}

#[tokio::test]
async fn a_use_is_written_within_a_minute() {
    let server = InProcess::start().await;
    let key = server.create("ci").await;
    for (seconds, expected, used) in [(0, 0, true), (30, 0, true), (60, 30, false)] {
        server.clock.0.store(seconds, Ordering::SeqCst);
        if used {
            server.token(&key).unwrap();
        }
        server.inner.last_used.flush_due(server.inner.env.now()).await.unwrap();
        let written = server.inner.api_keys.get("ci").await.unwrap().secrets[0].last_used_at;
        assert_eq!(written, Some(Timestamp::from_seconds(BEGIN + expected)));
    }
}

/// The library of Debian's package `faketime`, and of others.
fn libfaketime() -> Option<String> {
    let architectures =
        ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|name| format!("/usr/lib/{name}"));
    let directories =
        architectures.into_iter().chain(["/usr/lib64".to_owned(), "/usr/lib".to_owned()]);
    let mut libraries =
        directories.map(|directory| format!("{directory}/faketime/libfaketime.so.1"));
    libraries.find(|library| Path::new(library).exists())
}

/// A server whose clock can be set.
struct RealServer {
    server: Server,
    /// Contains the file with the clock's offset.
    offset: TempDir,
}

impl RealServer {
    /// Starts a server whose clock is ahead by `seconds`. Returns `None` if libfaketime is not
    /// installed.
    async fn start(seconds: i64) -> Option<Self> {
        let Some(library) = libfaketime() else {
            not_proven(
                "a real server whose clock jumps: there is no libfaketime (Debian's package faketime)",
            );
            return None;
        };
        let offset = tempfile::tempdir().unwrap();
        set(&offset, seconds);
        let file = offset.path().join("offset");
        let environment = [
            ("LD_PRELOAD", &*library),
            ("FAKETIME_TIMESTAMP_FILE", file.to_str().unwrap()),
            ("FAKETIME_NO_CACHE", "1"),
            // Only the wall clock jumps, not the monotonic one. The variable's name differs
            // between versions.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start_in(directory, &["--public-url", PUBLIC_URL], &environment).await;
        Some(Self { server, offset })
    }
}

/// Replaces the file atomically, because the server reads it at any time.
fn set(offset: &TempDir, seconds: i64) {
    let beside = offset.path().join("new");
    fs::write(&beside, format!("{seconds:+}\n")).unwrap();
    fs::rename(&beside, offset.path().join("offset")).unwrap();
}

/// Clients refuse certificates that are not valid yet.
#[tokio::test]
async fn a_server_started_in_the_future_is_trusted() {
    let Some(RealServer { server, offset }) = RealServer::start(23 * HOUR).await else { return };
    set(&offset, 0);
    let token = server.token(&server.admin).await;
    let me = server.http.get("/me", &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(me.status, 200, "{}", me.text());
}

/// An hour ahead and an hour back.
#[tokio::test]
async fn a_server_survives_clock_jumps() {
    let Some(RealServer { server, offset }) = RealServer::start(0).await else { return };
    let http = &server.http;
    let (key, other) = (server.create_key("ci").await, server.create_key("rotated").await);
    let (revoked, valid) = (server.token(&key).await, server.token(&key).await);
    let of_old_secret = server.token(&other).await;
    let headers = [("authorization", &*key.basic())];
    assert_eq!(
        http.form("/oauth2/revoke", &headers, &format!("token={revoked}")).await.status,
        200
    );
    server.rotate(&other, json!({})).await;

    let mut steps = 0;
    for seconds in [3700, 0, -3700, 0] {
        set(&offset, seconds);
        steps += 1;
        // The time according to the server.
        let details = http.token(&server.admin, &[]).await.json();
        let admin_token = details["access_token"].as_str().unwrap();
        let issued = crate::support::decoded(admin_token).1["iat"].as_i64().unwrap();
        let jumped = issued - (crate::support::now() + seconds);
        assert!((-30..=30).contains(&jumped), "the clock did not jump: {jumped}");
        let body = json!({ "clientId": format!("step-{steps}") });
        let create = "/gatekey.v1.ApiKeyService/Create";
        assert_eq!(http.connect_json(create, admin_token, &body).await.status, 200);
        let bearer = |token: &str| format!("Bearer {token}");
        for revoked_one in [&revoked, &of_old_secret] {
            let me = http.get("/me", &[("authorization", &bearer(revoked_one))]).await;
            assert_eq!(me.status, 401, "at {seconds}");
        }
        assert_eq!(http.token(&other, &[]).await.status, 401, "at {seconds}");
    }
    assert!(server.accepts(&valid).await, "the clock is correct again");
    // Background jobs still run.
    let late = server.create_key("late").await;
    server.token(&late).await;
    eventually("the use is written", async || {
        let details = server.admin_call("Get", json!({ "clientId": "late" })).await;
        details["apiKey"]["secrets"][0]["lastUsedAt"].is_string()
    })
    .await;
    let (store, root_key, _copy) = copied_store(&server.process.data_dir);
    let entries = store.ledger_entries(0, usize::MAX).await.unwrap();
    verify_chain(&root_key.ledger_keys(), LedgerHead::EMPTY, &entries).unwrap();
    let steps = entries.iter().filter_map(|entry| entry.entry.target.strip_prefix("step-"));
    assert_eq!(steps.collect::<Vec<_>>(), ["1", "2", "3", "4"]);
}
