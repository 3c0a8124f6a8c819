//! Clocks that are wrong and set right: nothing that was revoked comes back, and nothing stands still.
//!
//! The whole application in this process under a clock of the test's own; then the real binary under libfaketime,
//! where that is installed.

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
    api_key::{CreateApiKey, RotateSecret, WithSecret, list::ListKeys},
    env::{Clock, SystemEntropy},
    ledger::{LedgerHead, verify_chain},
    store::LedgerStore as _,
    token::{TokenError, TokenRefusal},
};
use gatekey_credentials::{Role, jwt::InvalidToken};
use gatekey_server::{App, app::Memory, config::Settings, maintenance};
use gatekey_store::SqliteStore;
use gatekey_telemetry::NoRequestLog;
use serde_json::json;
use tempfile::TempDir;

use crate::support::{PUBLIC_URL, Server, copied_store, eventually, not_proven};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
/// When every test begins: 2026-01-01T00:00:00Z.
const BEGIN: i64 = 1_767_225_600;

/// Shows what the test sets it to, in seconds after the beginning.
#[derive(Default)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(BEGIN + self.0.load(Ordering::SeqCst))
    }
}

/// A server without its sockets.
struct Inside {
    directory: TempDir,
    hands: Arc<Hands>,
    app: App,
}

impl Inside {
    async fn start() -> Self {
        let (directory, hands) = (tempfile::tempdir().unwrap(), Arc::<Hands>::default());
        let app = Self::open(directory.path(), &hands).await;
        Self { directory, hands, app }
    }

    async fn open(directory: &Path, hands: &Arc<Hands>) -> App {
        let root_key = Arc::new(RootKey::new(&[7; 32]));
        let memory = Memory::new(root_key.clone());
        let path = directory.join("gatekey.db");
        let store = SqliteStore::open(&path, &root_key, memory.observer()).unwrap();
        let env = Env::new(hands.clone(), Arc::new(SystemEntropy));
        let config = Settings::default().resolve("127.0.0.1:1".parse().unwrap()).unwrap();
        let app = App::new(config, Arc::new(store), memory, root_key, env, Arc::new(NoRequestLog), None);
        app.operations.signing_keys.ensure(&caller("start"), None).await.unwrap();
        app.store.load().await.unwrap();
        app
    }

    /// Reads everything anew from the disk, as a server that is started again.
    async fn restart(&mut self) {
        self.app = Self::open(self.directory.path(), &self.hands).await;
    }

    /// Sets the clock, and lets pass what happens every hour.
    async fn at(&self, seconds: i64) {
        self.hands.0.store(seconds, Ordering::SeqCst);
        maintenance::flush(&self.app).await;
        maintenance::hourly(&self.app).await;
    }

    async fn create(&self, name: &str) -> WithSecret {
        self.app.api_keys.create(&caller(name), creation(name)).await.unwrap()
    }

    async fn rotate(&self, key: &WithSecret, grace: Duration) -> WithSecret {
        let rotate = RotateSecret { grace, ..RotateSecret::default() };
        let client_id = key.key.client_id.as_str();
        self.app.api_keys.rotate_secret(&caller("rotate"), client_id, rotate).await.unwrap()
    }

    /// A change that has nothing to do with secrets and tokens.
    async fn touch(&self, key: &WithSecret) {
        let patch = ApiKeyPatch { role: Some(Some(Role::Viewer)), ..ApiKeyPatch::default() };
        self.app.api_keys.update(&caller("touch"), key.key.client_id.as_str(), patch).await.unwrap();
    }

    fn token(&self, key: &WithSecret) -> Result<String, TokenError> {
        let authenticated =
            self.app.tokens.authenticate(key.key.client_id.as_str(), key.secret.expose(), None)?;
        Ok(self.app.tokens.issue(&authenticated, "", &[])?.access_token)
    }

    async fn revoke(&self, key: &WithSecret, token: &str) {
        let facts = self.app.directory.find(key.key.client_id.as_str()).unwrap();
        self.app.tokens.revoke(&caller("revoke"), &facts, token).await.unwrap();
    }

    fn refusal(&self, token: &str) -> Option<TokenRefusal> {
        self.app.tokens.verify(token).err()
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
    }
}

#[tokio::test]
async fn a_revoked_token_does_not_come_back_with_the_clock() {
    for away in [HOUR, 13 * HOUR, 23 * HOUR] {
        let mut inside = Inside::start().await;
        let key = inside.create("ci").await;
        let (revoked, other) = (inside.token(&key).unwrap(), inside.token(&key).unwrap());
        inside.revoke(&key, &revoked).await;
        inside.at(away).await;
        inside.at(MINUTE).await;
        assert_eq!(inside.refusal(&revoked), Some(TokenRefusal::Revoked), "{away}");
        assert_eq!(inside.refusal(&other), None, "{away}");
        inside.restart().await;
        assert_eq!(inside.refusal(&revoked), Some(TokenRefusal::Revoked), "{away}");
    }
}

#[tokio::test]
async fn a_token_revoked_while_the_clock_is_wrong_stays_revoked_once_it_is_right() {
    let inside = Inside::start().await;
    let key = inside.create("ci").await;
    let token = inside.token(&key).unwrap();
    for wrong in [2 * HOUR, -HOUR] {
        inside.at(wrong).await;
        let token = token.clone();
        assert!(inside.refusal(&token).is_some());
        inside.revoke(&key, &token).await;
        inside.at(MINUTE).await;
        assert_eq!(inside.refusal(&token), Some(TokenRefusal::Revoked), "{wrong}");
    }
}

#[tokio::test]
async fn a_token_of_long_ago_needs_no_revoking() {
    let inside = Inside::start().await;
    let key = inside.create("ci").await;
    let token = inside.token(&key).unwrap();
    inside.at(26 * HOUR).await;
    let before = inside.app.store.ledger_head().await.unwrap();
    inside.revoke(&key, &token).await;
    assert_eq!(inside.app.store.ledger_head().await.unwrap(), before);
}

#[tokio::test]
async fn a_retired_secret_does_not_come_back_with_the_clock() {
    let mut inside = Inside::start().await;
    let old = inside.create("ci").await;
    let new = inside.rotate(&old, Duration::from_hours(24)).await;
    let of_old = inside.token(&old).unwrap();
    inside.at(HOUR).await;
    let old_id = new.key.secrets[0].id.to_string();
    inside.app.api_keys.retire_secret(&caller("retire"), "ci", &old_id).await.unwrap();
    let newest = inside.rotate(&new, Duration::ZERO).await;
    // When every secret was valid; and the key is changed, so that it is written and told of anew.
    inside.at(MINUTE).await;
    inside.touch(&newest).await;
    for _ in 0..2 {
        for dead in [&old, &new] {
            assert!(matches!(inside.token(dead), Err(TokenError::InvalidClient)));
        }
        assert!(inside.refusal(&of_old).is_some());
        inside.restart().await;
    }
    inside.at(HOUR).await;
    assert!(inside.token(&newest).is_ok());
}

#[tokio::test]
async fn a_key_made_while_the_clock_was_ahead_works_once_it_is_right() {
    let mut inside = Inside::start().await;
    inside.at(HOUR).await;
    let key = inside.create("ci").await;
    inside.at(0).await;
    for _ in 0..2 {
        assert_eq!(inside.refusal(&inside.token(&key).unwrap()), None);
        inside.restart().await;
    }
}

#[tokio::test]
async fn tokens_of_an_old_epoch_do_not_come_back_with_the_clock() {
    let mut inside = Inside::start().await;
    let key = inside.create("ci").await;
    let token = inside.token(&key).unwrap();
    inside.at(HOUR).await;
    inside.app.api_keys.disable(&caller("disable"), "ci").await.unwrap();
    inside.at(0).await;
    assert_eq!(inside.refusal(&token), Some(TokenRefusal::Key));
    inside.app.api_keys.enable(&caller("enable"), "ci").await.unwrap();
    inside.at(-HOUR).await;
    inside.touch(&key).await;
    inside.at(MINUTE).await;
    for _ in 0..2 {
        assert_eq!(inside.refusal(&token), Some(TokenRefusal::Key));
        assert!(inside.token(&key).is_ok());
        inside.restart().await;
    }
}

#[tokio::test]
async fn a_token_from_a_clock_that_was_ahead_waits_for_its_time() {
    let inside = Inside::start().await;
    let key = inside.create("ci").await;
    inside.at(HOUR).await;
    let token = inside.token(&key).unwrap();
    inside.at(0).await;
    assert_eq!(inside.refusal(&token), Some(InvalidToken::NotYetValid.into()));
    assert!(inside.refusal(&inside.token(&key).unwrap()).is_none());
    inside.at(HOUR).await;
    assert_eq!(inside.refusal(&token), None);
    inside.at(2 * HOUR).await;
    assert_eq!(inside.refusal(&token), Some(InvalidToken::Expired.into()));
}

#[tokio::test]
async fn the_ledger_keeps_the_order_of_the_changes_whatever_the_clock_says() {
    let mut inside = Inside::start().await;
    let hours = [0, 1, -1, 25, -25, 0];
    for (number, hour) in hours.into_iter().enumerate() {
        inside.at(hour * HOUR).await;
        inside.create(&format!("key-{number}")).await;
        inside.restart().await;
    }
    let entries = inside.app.store.ledger_entries(0, usize::MAX).await.unwrap();
    let ledger_keys = RootKey::new(&[7; 32]).ledger_keys();
    let head = verify_chain(&ledger_keys, LedgerHead::EMPTY, &entries).unwrap();
    assert_eq!(head, inside.app.store.ledger_head().await.unwrap());
    let created: Vec<_> = entries.iter().filter(|entry| entry.entry.action == "api_key.create").collect();
    for (number, (entry, hour)) in created.iter().zip(hours).enumerate() {
        assert_eq!(entry.entry.target, format!("key-{number}"));
        assert_eq!(entry.entry.at, Timestamp::from_seconds(BEGIN + hour * HOUR));
    }
    assert_eq!(created.len(), hours.len());
}

#[tokio::test]
async fn the_same_create_is_known_again_after_the_clock_was_set_back_and_not_after_its_time() {
    let inside = Inside::start().await;
    inside.create("ci").await;
    for back in [-HOUR, 0, 9 * MINUTE] {
        inside.at(back).await;
        let again = inside.create("ci").await;
        assert!(inside.token(&again).is_ok());
    }
    inside.create("other").await;
    inside.at(20 * MINUTE).await;
    for name in ["ci", "other"] {
        let late = inside.app.api_keys.create(&caller(name), creation(name)).await;
        assert!(matches!(late, Err(Error::AlreadyExists(_))), "{name}");
    }
}

#[tokio::test]
async fn a_grace_ends_when_the_clock_says_so() {
    let inside = Inside::start().await;
    let old = inside.create("ci").await;
    inside.at(MINUTE).await;
    let new = inside.rotate(&old, Duration::from_mins(10)).await;
    assert!(inside.token(&old).is_ok() && inside.token(&new).is_ok());
    inside.at(HOUR).await;
    assert!(inside.token(&old).is_err() && inside.token(&new).is_ok());
}

#[tokio::test]
async fn pages_go_on_where_they_ended_whatever_the_clock_says() {
    let inside = Inside::start().await;
    for (number, hour) in [0, 1, -1, 2, -2].into_iter().enumerate() {
        inside.at(hour * HOUR).await;
        inside.create(&format!("key-{number}")).await;
    }
    let mut list = ListKeys { limit: 2, ..ListKeys::default() };
    let mut seen = Vec::new();
    for hour in [1, -1, 48] {
        let page = inside.app.api_keys.list(&list).await.unwrap();
        seen.extend(page.keys.into_iter().map(|key| key.client_id.to_string()));
        list.page_token = page.next_page_token;
        inside.at(hour * HOUR).await;
    }
    assert_eq!(list.page_token, "");
    seen.sort();
    assert_eq!(seen, ["key-0", "key-1", "key-2", "key-3", "key-4"]);
}

#[tokio::test]
async fn a_use_is_written_whatever_the_clock_says_and_a_later_one_kept() {
    let inside = Inside::start().await;
    let key = inside.create("ci").await;
    let mut expected = 0;
    for seconds in [0, HOUR, MINUTE, 2 * HOUR] {
        inside.hands.0.store(seconds, Ordering::SeqCst);
        inside.token(&key).unwrap();
        maintenance::flush(&inside.app).await;
        expected = expected.max(seconds);
        let used = inside.app.api_keys.get("ci").await.unwrap().secrets[0].last_used_at;
        assert_eq!(used, Some(Timestamp::from_seconds(BEGIN + expected)));
    }
}

#[tokio::test]
async fn a_secret_that_is_used_all_the_time_is_written_once_a_minute() {
    let inside = Inside::start().await;
    let key = inside.create("ci").await;
    let mut written = Vec::new();
    for seconds in [0, 5, 59, 60, 65, 130] {
        inside.hands.0.store(seconds, Ordering::SeqCst);
        inside.token(&key).unwrap();
        inside.app.last_used.flush_due(inside.app.env.now()).await.unwrap();
        let used = inside.app.api_keys.get("ci").await.unwrap().secrets[0].last_used_at;
        written.push(used.unwrap().as_seconds() - BEGIN);
    }
    assert_eq!(written, [0, 0, 0, 60, 60, 130]);
}

#[tokio::test]
async fn a_use_within_the_minute_is_written_once_the_minute_is_over() {
    let inside = Inside::start().await;
    let key = inside.create("ci").await;
    for (seconds, expected, used) in [(0, 0, true), (30, 0, true), (60, 30, false)] {
        inside.hands.0.store(seconds, Ordering::SeqCst);
        if used {
            inside.token(&key).unwrap();
        }
        inside.app.last_used.flush_due(inside.app.env.now()).await.unwrap();
        let written = inside.app.api_keys.get("ci").await.unwrap().secrets[0].last_used_at;
        assert_eq!(written, Some(Timestamp::from_seconds(BEGIN + expected)));
    }
}

/// Where Debian's package `faketime` and others have the library.
fn libfaketime() -> Option<String> {
    let architectures = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map(|name| format!("/usr/lib/{name}"));
    let directories = architectures.into_iter().chain(["/usr/lib64".to_owned(), "/usr/lib".to_owned()]);
    let mut libraries = directories.map(|directory| format!("{directory}/faketime/libfaketime.so.1"));
    libraries.find(|library| Path::new(library).exists())
}

/// A server whose clock can be set.
struct Outside {
    server: Server,
    /// Holds how far the clock is wrong.
    offset: TempDir,
}

impl Outside {
    /// With a clock that is wrong by so many seconds; `None` where libfaketime is not installed.
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
            // A machine's clock is set; its monotonic one goes on. The variable's name changed between versions.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start_in(directory, &["--public-url", PUBLIC_URL], &environment).await;
        Some(Self { server, offset })
    }
}

/// Written beside and renamed: the server reads it at any time.
fn set(offset: &TempDir, seconds: i64) {
    let beside = offset.path().join("new");
    fs::write(&beside, format!("{seconds:+}\n")).unwrap();
    fs::rename(&beside, offset.path().join("offset")).unwrap();
}

#[tokio::test]
async fn a_server_first_started_while_its_clock_was_ahead_serves_those_whose_clock_is_right() {
    // A client refuses certificates of the future.
    let Some(Outside { server, offset }) = Outside::start(23 * HOUR).await else { return };
    set(&offset, 0);
    let token = server.token(&server.admin).await;
    let me = server.http.get("/me", &[("authorization", &format!("Bearer {token}"))]).await;
    assert_eq!(me.status, 200, "{}", me.text());
}

#[tokio::test]
async fn a_server_lives_through_an_hour_forth_and_back() {
    let Some(Outside { server, offset }) = Outside::start(0).await else { return };
    let http = &server.http;
    let (key, other) = (server.create_key("ci").await, server.create_key("rotated").await);
    let (revoked, alive) = (server.token(&key).await, server.token(&key).await);
    let of_old_secret = server.token(&other).await;
    let headers = [("authorization", &*key.basic())];
    assert_eq!(http.form("/oauth2/revoke", &headers, &format!("token={revoked}")).await.status, 200);
    server.rotate(&other, json!({})).await;

    let mut steps = 0;
    for seconds in [3700, 0, -3700, 0] {
        set(&offset, seconds);
        steps += 1;
        // The server's own word on what time it is.
        let told = http.token(&server.admin, &[]).await.json();
        let admin_token = told["access_token"].as_str().unwrap();
        let issued = crate::support::decoded(admin_token).1["iat"].as_i64().unwrap();
        let jumped = issued - (crate::support::now() + seconds);
        assert!((-30..=30).contains(&jumped), "the clock did not jump: {jumped}");
        let body = json!({ "clientId": format!("step-{steps}") });
        let create = "/gatekey.v1.ApiKeyService/Create";
        assert_eq!(http.connect_json(create, admin_token, &body).await.status, 200);
        let bearer = |token: &str| format!("Bearer {token}");
        for dead in [&revoked, &of_old_secret] {
            let me = http.get("/me", &[("authorization", &bearer(dead))]).await;
            assert_eq!(me.status, 401, "at {seconds}");
        }
        assert_eq!(http.token(&other, &[]).await.status, 401, "at {seconds}");
    }
    assert!(server.accepts(&alive).await, "the clock is right again");
    // What happens in the background still happens.
    let late = server.create_key("late").await;
    server.token(&late).await;
    eventually("the use is written", async || {
        let told = server.admin_call("Get", json!({ "clientId": "late" })).await;
        told["apiKey"]["secrets"][0]["lastUsedAt"].is_string()
    })
    .await;
    let (store, root_key, _copy) = copied_store(&server.process.data_dir);
    let entries = store.ledger_entries(0, usize::MAX).await.unwrap();
    verify_chain(&root_key.ledger_keys(), LedgerHead::EMPTY, &entries).unwrap();
    let steps = entries.iter().filter_map(|entry| entry.entry.target.strip_prefix("step-"));
    assert_eq!(steps.collect::<Vec<_>>(), ["1", "2", "3", "4"]);
}
