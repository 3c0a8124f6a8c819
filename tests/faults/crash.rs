//! `kill -9` under load: every acknowledged change survives, and no other change is applied
//! partially.
//!
//! Each worker changes its own keys over HTTP, one change at a time, and remembers which changes
//! were acknowledged. At a random moment, the server is killed; some of its successors are killed,
//! too, while they start. For each change without a response, the ledger then shows whether it was
//! applied, and everything that the server returns must agree with that.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use gatekey_core::{
    ledger::{LedgerEntry, LedgerHead, verify_chain},
    store::{LedgerStore as _, Store as _},
};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{
    Credentials, Http, PUBLIC_URL, Response, ServerProcess, copied_store, gatekey, is_long_run,
    random::{Random, seed},
};

/// How many times a server on the same data directory is killed under load.
const KILLS: u64 = 30;
/// Data directories in a long run, which make a thousand kills; otherwise, there is one.
const DIRECTORIES: u64 = 34;
const WORKERS: u64 = 6;
/// A round ends after 1 to this many acknowledged changes,
const MAX_CHANGES: u64 = 60;
/// plus up to this delay: anywhere within a change, or between two.
const MAX_DELAY_MICROS: u64 = 5_000;
/// One in this many successors is killed while it starts, within `STARTING_MICROS`.
const KILLED_STARTING: u64 = 4;
const STARTING_MICROS: u64 = 60_000;
const MAX_KEYS: usize = 4;

/// No other change is applied partially.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_change_survives_kill_9() {
    let mut random = Random(seed());
    let directories = if is_long_run() { DIRECTORIES } else { 1 };
    for directory_number in 0..directories {
        println!("life {directory_number} of {directories}");
        run_rounds(&mut random).await;
    }
}

/// Runs all rounds on one data directory.
async fn run_rounds(random: &mut Random) {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let mut server = start(&data_dir);
    let admin = server.init();
    let token = server.token(&admin).await;
    let mut workers: Vec<_> =
        (0..WORKERS).map(|number| Worker::new(number, random.next())).collect();
    let mut killed_starting = 0;
    for round in 0..KILLS {
        let changes = 1 + random.below(MAX_CHANGES);
        let later = Duration::from_micros(random.below(MAX_DELAY_MICROS));
        println!("round {round}: killed {later:?} after {changes} acknowledged changes");
        let acknowledged = Arc::new(Countdown::new(changes));
        let client = ServerClient { http: server.http(), admin_token: token.clone() };
        let work = workers.drain(..).map(|worker| {
            // One connection per worker.
            let client = ServerClient { http: server.http(), ..client.clone() };
            tokio::spawn(worker.work(round, client, acknowledged.clone()))
        });
        let work: Vec<_> = work.collect();
        acknowledged.done.notified().await;
        // No event marks the middle of a change.
        tokio::time::sleep(later).await;
        server.kill();
        for worker in work {
            workers.push(worker.await.unwrap());
        }

        while random.below(KILLED_STARTING) == 0 {
            kill_starting(&data_dir, Duration::from_micros(random.below(STARTING_MICROS))).await;
            killed_starting += 1;
        }
        let ledger = ledger(&data_dir).await;
        server = start(&data_dir);
        let client = ServerClient { http: server.http(), admin_token: token.clone() };
        let checks = workers
            .drain(..)
            .map(|worker| tokio::spawn(worker.check(client.clone(), ledger.clone())));
        let checks: Vec<_> = checks.collect();
        for worker in checks {
            workers.push(worker.await.unwrap());
        }
        let expected: BTreeSet<_> = workers
            .iter()
            .flat_map(|worker| worker.keys.keys().cloned())
            .chain(["admin".to_owned()])
            .collect();
        assert_eq!(client.listed().await, expected);
    }
    let (unanswered, applied) = workers.iter().fold((0, 0), |(unanswered, applied), worker| {
        (unanswered + worker.unanswered_counts.0, applied + worker.unanswered_counts.1)
    });
    let replays: u32 = workers.iter().map(|worker| worker.replays).sum();
    println!(
        "{KILLS} kills, {killed_starting} more while starting; {unanswered} changes were not acknowledged, \
         {applied} of them were applied; {replays} creates were repeated"
    );
    let kinds: BTreeSet<_> = workers
        .iter()
        .flat_map(|worker| worker.acknowledged.values().map(|(action, _)| *action))
        .collect();
    let all = [
        "api_key.create",
        "api_key.delete",
        "api_key.disable",
        "api_key.enable",
        "api_key.rotate_secret",
        "api_key.update",
        "token.revoke",
    ];
    assert_eq!(kinds, all.into(), "the load had other kinds of changes");
    assert!(replays > 0, "the load repeated no create");
}

fn start(data_dir: &Path) -> ServerProcess {
    // Tokens stay valid when the port changes.
    ServerProcess::start_on(data_dir, &["--public-url", PUBLIC_URL])
}

/// Starts a server and kills it after a time, whatever it is doing.
async fn kill_starting(data_dir: &Path, after: Duration) {
    let mut child = gatekey()
        .args(["serve", "--listen", "127.0.0.1:0", "--public-url", PUBLIC_URL, "--data-dir"])
        .arg(data_dir)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    tokio::time::sleep(after).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

type Ledger = BTreeMap<(String, String), LedgerEntry>;

/// The changes by request id and action, after verifying the chain, read from the killed server's
/// files.
async fn ledger(data_dir: &Path) -> Arc<Ledger> {
    let (store, root_key, _copy) = copied_store(data_dir);
    let entries = store.ledger_entries(0, usize::MAX).await.unwrap();
    let head = verify_chain(&root_key.ledger_keys(), LedgerHead::EMPTY, &entries).unwrap();
    assert_eq!(head, store.ledger_head().await.unwrap());
    // A row and its share of the digest are never written apart.
    assert_eq!(store.verify_seals().await.unwrap().faults(), [""; 0]);
    let changes: Vec<_> = entries.into_iter().filter(|entry| !entry.entry.is_refusal()).collect();
    let count = changes.len();
    let names = |entry: &LedgerEntry| (entry.entry.request_id.clone(), entry.entry.action.clone());
    let changes: Ledger = changes.into_iter().map(|entry| (names(&entry), entry)).collect();
    assert_eq!(changes.len(), count, "each change has one entry");
    Arc::new(changes)
}

/// Counts acknowledged changes, and notifies when there are enough.
struct Countdown {
    left: AtomicU64,
    done: Notify,
}

impl Countdown {
    fn new(from: u64) -> Self {
        Self { left: AtomicU64::new(from), done: Notify::new() }
    }

    fn step(&self) {
        // Later changes wrap around, which is harmless.
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
    }
}

/// A client of the server.
#[derive(Clone)]
struct ServerClient {
    http: Http,
    admin_token: String,
}

impl ServerClient {
    /// Calls the API key service as the admin; `None` if there is no response.
    async fn call(&self, method: &str, request_id: &str, body: &Value) -> Option<Response> {
        let authorization = format!("Bearer {}", self.admin_token);
        let headers = [
            ("authorization", &*authorization),
            ("content-type", "application/json"),
            ("x-request-id", request_id),
        ];
        let path = format!("/gatekey.v1.ApiKeyService/{method}");
        self.http.try_send(Method::POST, &path, &headers, body.to_string()).await.ok()
    }

    /// Sends a form with a key's secret; `None` if there is no response.
    async fn form(
        &self,
        path: &str,
        request_id: &str,
        key: &Credentials,
        body: String,
    ) -> Option<Response> {
        let authorization = key.basic();
        let headers = [
            ("authorization", &*authorization),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-request-id", request_id),
        ];
        self.http.try_send(Method::POST, path, &headers, body).await.ok()
    }

    /// Fetches a token, or returns the status of the refusal; `None` if there is no response.
    async fn token(&self, client_id: &str, client_secret: &str) -> Option<Result<String, u16>> {
        let key = Credentials {
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
        };
        let body = "grant_type=client_credentials".to_owned();
        let response = self.form("/oauth2/token", "token", &key, body).await?;
        Some(match response.status.as_u16() {
            200 => Ok(response.json()["access_token"].as_str().unwrap().to_owned()),
            status => Err(status),
        })
    }

    async fn is_accepted(&self, token: &str) -> bool {
        let response = self.http.get("/me", &[("authorization", &format!("Bearer {token}"))]).await;
        assert!(matches!(response.status.as_u16(), 200 | 401), "{}", response.text());
        response.status == 200
    }

    /// Every client id; each key must have a secret.
    async fn listed(&self) -> BTreeSet<String> {
        let response =
            self.call("List", "list", &json!({ "pageSize": 1000 })).await.unwrap().json();
        let keys = response["apiKeys"].as_array().unwrap();
        for key in keys {
            assert!(!key["secrets"].as_array().unwrap().is_empty(), "{key}");
        }
        keys.iter().map(|key| key["clientId"].as_str().unwrap().to_owned()).collect()
    }
}

/// What a worker knows about one of its keys.
#[derive(Debug, Default)]
struct Key {
    /// Name and role, which an update changes together.
    profile: (String, &'static str),
    /// The valid secret; `None` if the response with it was lost.
    secret: Option<String>,
    /// The last revoked secret.
    revoked_secret: Option<String>,
    disabled: bool,
    valid_tokens: Vec<String>,
    revoked_tokens: Vec<String>,
}

impl Key {
    fn revoke_tokens(&mut self) {
        self.revoked_tokens.append(&mut self.valid_tokens);
        // Two are enough for the check.
        self.revoked_tokens.drain(..self.revoked_tokens.len().saturating_sub(2));
    }
}

#[derive(Debug, Clone)]
enum Change {
    Create,
    Update((String, &'static str)),
    Rotate,
    Disable,
    Enable,
    Delete,
    Revoke(String),
}

impl Change {
    fn action(&self) -> &'static str {
        match self {
            Self::Create => "api_key.create",
            Self::Update(_) => "api_key.update",
            Self::Rotate => "api_key.rotate_secret",
            Self::Disable => "api_key.disable",
            Self::Enable => "api_key.enable",
            Self::Delete => "api_key.delete",
            Self::Revoke(_) => "token.revoke",
        }
    }
}

/// A change without a response.
#[derive(Debug)]
struct Unanswered {
    request_id: String,
    client_id: String,
    change: Change,
}

struct Worker {
    number: u64,
    random: Random,
    calls: u64,
    keys: BTreeMap<String, Key>,
    /// Keys deleted in the last round, whose secrets and tokens must be refused.
    deleted: Vec<(String, Key)>,
    /// Action and target of each acknowledged change, by request id.
    acknowledged: BTreeMap<String, (&'static str, String)>,
    unanswered: Option<Unanswered>,
    /// Client id and request id of each key created in this round and not changed since.
    created: Vec<(String, String)>,
    /// Number of repeated creates.
    replays: u32,
    /// Number of changes without a response, and how many of them were applied.
    unanswered_counts: (u32, u32),
}

impl Worker {
    fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            random: Random(seed),
            calls: 0,
            keys: BTreeMap::new(),
            deleted: Vec::new(),
            acknowledged: BTreeMap::new(),
            unanswered: None,
            created: Vec::new(),
            replays: 0,
            unanswered_counts: (0, 0),
        }
    }

    /// Changes keys until there is no response.
    async fn work(mut self, round: u64, client: ServerClient, countdown: Arc<Countdown>) -> Self {
        self.deleted.clear();
        self.created.clear();
        while self.change(round, &client).await.is_some() {
            countdown.step();
        }
        self
    }

    /// Makes one change; `None` if there was no response.
    async fn change(&mut self, round: u64, client: &ServerClient) -> Option<()> {
        self.calls += 1;
        let request_id = format!("r{round}-w{}-{}", self.number, self.calls);
        let (client_id, change) = self.choose(client).await?;
        let call = Unanswered { request_id, client_id, change };
        let Some(response) = self.send(client, &call).await else {
            self.unanswered = Some(call);
            return None;
        };
        assert_eq!(response.status, 200, "{call:?}: {}", response.text());
        let secret = match call.change {
            Change::Create | Change::Rotate => {
                Some(response.json()["clientSecret"].as_str().unwrap().to_owned())
            }
            Change::Update(_)
            | Change::Disable
            | Change::Enable
            | Change::Delete
            | Change::Revoke(_) => None,
        };
        if let Change::Create = call.change {
            self.created.push((call.client_id.clone(), call.request_id.clone()));
        }
        let action = call.change.action();
        self.acknowledged.insert(call.request_id, (action, call.client_id.clone()));
        self.apply(&call.client_id, call.change, secret);
        Some(())
    }

    async fn choose(&mut self, client: &ServerClient) -> Option<(String, Change)> {
        let dice = self.random.below(100);
        if self.keys.is_empty() || (dice < 25 && self.keys.len() < MAX_KEYS) {
            return Some((format!("w{}-{}", self.number, self.calls), Change::Create));
        }
        let which = usize::try_from(self.random.below(self.keys.len() as u64)).unwrap();
        let (client_id, key) = self.keys.iter_mut().nth(which).unwrap();
        let change = match dice {
            0..40 if key.disabled => Change::Delete,
            _ if key.disabled => Change::Enable,
            0..40 => Change::Rotate,
            40..52 => {
                let role = if dice.is_multiple_of(2) { "ROLE_ADMIN" } else { "ROLE_CONTRIBUTOR" };
                Change::Update((format!("name {}", self.calls), role))
            }
            52..65 => Change::Disable,
            65..75 => Change::Delete,
            _ => {
                let secret = key.secret.as_deref().unwrap();
                // One to revoke, and one that stays valid.
                let revoked = client.token(client_id, secret).await?.unwrap();
                key.valid_tokens =
                    vec![client.token(client_id, secret).await?.unwrap(), revoked.clone()];
                Change::Revoke(revoked)
            }
        };
        Some((client_id.clone(), change))
    }

    async fn send(&self, client: &ServerClient, call: &Unanswered) -> Option<Response> {
        let Unanswered { request_id, client_id, change } = call;
        let body = json!({ "clientId": client_id });
        match change {
            Change::Create => client.call("Create", request_id, &body).await,
            Change::Update((name, role)) => {
                let key = json!({ "clientId": client_id, "clientName": name, "role": role });
                let body = json!({ "apiKey": key, "updateMask": "clientName,role" });
                client.call("Update", request_id, &body).await
            }
            Change::Rotate => client.call("RotateSecret", request_id, &body).await,
            Change::Disable => client.call("Disable", request_id, &body).await,
            Change::Enable => client.call("Enable", request_id, &body).await,
            Change::Delete => client.call("Delete", request_id, &body).await,
            Change::Revoke(token) => {
                let key = Credentials {
                    client_id: client_id.clone(),
                    client_secret: self.keys[client_id].secret.clone().unwrap(),
                };
                client.form("/oauth2/revoke", request_id, &key, format!("token={token}")).await
            }
        }
    }

    /// Updates the worker's knowledge after a change was applied.
    fn apply(&mut self, client_id: &str, change: Change, secret: Option<String>) {
        if let Change::Create = change {
            let profile = (client_id.to_owned(), "ROLE_CONTRIBUTOR");
            self.keys.insert(client_id.to_owned(), Key { profile, secret, ..Key::default() });
            return;
        }
        if !matches!(change, Change::Revoke(_)) {
            // A changed key is not replayed.
            self.created.retain(|(created, _)| created != client_id);
        }
        let key = self.keys.get_mut(client_id).unwrap();
        match change {
            Change::Create => {}
            Change::Update(profile) => key.profile = profile,
            Change::Rotate => {
                key.revoked_secret = key.secret.take();
                key.secret = secret;
                key.revoke_tokens();
            }
            Change::Disable => {
                key.disabled = true;
                key.revoke_tokens();
            }
            Change::Enable => key.disabled = false,
            Change::Delete => {
                let key = self.keys.remove(client_id).unwrap();
                self.deleted.push((client_id.to_owned(), key));
            }
            Change::Revoke(token) => {
                key.valid_tokens.retain(|valid| *valid != token);
                key.revoked_tokens.push(token);
            }
        }
    }

    /// Asserts that the new server agrees with everything that the worker knows.
    async fn check(mut self, client: ServerClient, ledger: Arc<Ledger>) -> Self {
        for (request_id, (action, target)) in &self.acknowledged {
            let entry = ledger.get(&(request_id.clone(), (*action).to_owned()));
            let entry = entry.unwrap_or_else(|| panic!("{request_id} has no entry"));
            assert_eq!(entry.entry.target, **target);
        }
        let mut new_secret_id = None;
        self.unanswered_counts.0 += u32::from(self.unanswered.is_some());
        if let Some(Unanswered { request_id, client_id, change }) = self.unanswered.take() {
            let made = ledger.get(&(request_id.clone(), change.action().to_owned()));
            if let Some(made) = made {
                assert_eq!(made.entry.target, client_id);
                self.unanswered_counts.1 += 1;
                if let Change::Rotate = change {
                    let id = made
                        .entry
                        .detail
                        .strip_prefix("secret=")
                        .unwrap()
                        .split(' ')
                        .next()
                        .unwrap();
                    new_secret_id = Some((client_id.clone(), id.to_owned()));
                }
            }
            match change {
                // A client without a response repeats the call, and gets a secret either way.
                Change::Create => {
                    self.apply(&client_id, Change::Create, None);
                    self.repeat_create(&client, &client_id, &request_id).await;
                    self.acknowledged.insert(request_id, (Change::Create.action(), client_id));
                }
                change if made.is_some() => self.apply(&client_id, change, None),
                _ => {}
            }
        }
        // The same if the response was lost on the client's side.
        let lost = self.created.pop().filter(|(client_id, _)| self.keys.contains_key(client_id));
        if let Some((client_id, request_id)) = lost {
            self.repeat_create(&client, &client_id, &request_id).await;
        }
        let client_ids: Vec<_> = self.keys.keys().cloned().collect();
        for client_id in client_ids {
            let got = client.call("Get", "get", &json!({ "clientId": client_id })).await.unwrap();
            assert_eq!(got.status, 200, "{client_id}: {}", got.text());
            let got = &got.json()["apiKey"];
            let secrets = got["secrets"].as_array().unwrap();
            if let Some((_, id)) =
                new_secret_id.as_ref().filter(|(rotated, _)| *rotated == client_id)
            {
                assert!(secrets.iter().any(|secret| secret["id"] == **id), "{id}: {got}");
            }
            let key = &self.keys[&client_id];
            assert_eq!(got["disabledAt"].is_string(), key.disabled, "{got}");
            let profile = (got["clientName"].as_str().unwrap(), got["role"].as_str().unwrap());
            assert_eq!(profile, (&*key.profile.0, key.profile.1), "{got}");
            for (valid, tokens) in [(true, &key.valid_tokens), (false, &key.revoked_tokens)] {
                for token in tokens {
                    assert_eq!(
                        client.is_accepted(token).await,
                        valid,
                        "a token of {client_id}: {key:?}"
                    );
                }
            }
            if let Some(secret) = &key.revoked_secret {
                assert_eq!(client.token(&client_id, secret).await.unwrap(), Err(401), "{key:?}");
            }
            if let Some(secret) = &key.secret {
                let fetched = client.token(&client_id, secret).await.unwrap();
                assert_eq!(fetched.err(), key.disabled.then_some(401), "{client_id}: {key:?}");
            } else {
                self.give_secret(&client, &client_id).await;
            }
        }
        for (client_id, key) in &self.deleted {
            let got = client.call("Get", "get", &json!({ "clientId": client_id })).await.unwrap();
            assert_eq!(got.status, 404, "{client_id}: {}", got.text());
            if let Some(secret) = &key.secret {
                assert_eq!(client.token(client_id, secret).await.unwrap(), Err(401));
            }
            for token in key.valid_tokens.iter().chain(&key.revoked_tokens) {
                assert!(!client.is_accepted(token).await, "a token of the deleted {client_id}");
            }
        }
        self
    }

    /// Repeats a Create, which returns an additional secret and removes none.
    async fn repeat_create(&mut self, client: &ServerClient, client_id: &str, request_id: &str) {
        let repeated =
            client.call("Create", request_id, &json!({ "clientId": client_id })).await.unwrap();
        assert_eq!(repeated.status, 200, "{client_id}: {}", repeated.text());
        let secret = repeated.json()["clientSecret"].as_str().unwrap().to_owned();
        let key = self.keys.get_mut(client_id).unwrap();
        let refused = key.disabled.then_some(401);
        for secret in key.secret.iter().chain([&secret]) {
            assert_eq!(
                client.token(client_id, secret).await.unwrap().err(),
                refused,
                "{client_id}"
            );
        }
        key.secret = Some(secret);
        self.replays += 1;
    }

    /// Rotates the secret of a key whose secret was lost: the key itself is complete.
    async fn give_secret(&mut self, client: &ServerClient, client_id: &str) {
        self.calls += 1;
        let request_id = format!("given-w{}-{}", self.number, self.calls);
        let given = client
            .call("RotateSecret", &request_id, &json!({ "clientId": client_id }))
            .await
            .unwrap();
        assert_eq!(given.status, 200, "{}", given.text());
        let secret = given.json()["clientSecret"].as_str().unwrap().to_owned();
        let fetched = client.token(client_id, &secret).await.unwrap();
        assert!(fetched.is_ok() || self.keys[client_id].disabled, "{fetched:?}");
        self.acknowledged.insert(request_id, (Change::Rotate.action(), client_id.to_owned()));
        self.keys.get_mut(client_id).unwrap().secret = Some(secret);
    }
}
