//! What survives `kill -9` under load: every acknowledged change, and no half of another.
//!
//! Workers change keys of their own over HTTP, each one change at a time, and remember what was acknowledged.
//! At a random moment the server is killed; some of its successors are killed as well, while they start. The
//! ledger then says of each change whose answer never came whether it was made, and everything the server
//! answers must agree with that.

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
    store::LedgerStore as _,
};
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{
    Credentials, Http, PUBLIC_URL, Response, ServerProcess, copied_store, gatekey, is_long_run,
    random::{Random, seed},
};

/// How often a server on the same data directory is killed under load.
const KILLS: u64 = 30;
/// Data directories: one, and in the long run so many that there are a thousand kills.
const LIVES: u64 = 34;
const WORKERS: u64 = 6;
/// A round ends after 1 to so many acknowledged changes,
const MOST_CHANGES: u64 = 60;
/// and up to so much later: somewhere within a change, or between two.
const LATEST_MICROS: u64 = 5_000;
/// One successor of so many is killed before it serves, within so much of its start.
const KILLED_STARTING: u64 = 4;
const STARTING_MICROS: u64 = 60_000;
const MOST_KEYS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_acknowledged_change_survives_kill_9_and_no_half_of_another_does() {
    let mut random = Random(seed());
    let lives = if is_long_run() { LIVES } else { 1 };
    for life in 0..lives {
        println!("life {life} of {lives}");
        live(&mut random).await;
    }
}

/// What happens to one data directory.
async fn live(random: &mut Random) {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let mut server = start(&data_dir);
    let admin = server.init();
    let token = server.token(&admin).await;
    let mut workers: Vec<_> = (0..WORKERS).map(|number| Worker::new(number, random.next())).collect();
    let mut killed_starting = 0;
    for round in 0..KILLS {
        let changes = 1 + random.below(MOST_CHANGES);
        let later = Duration::from_micros(random.below(LATEST_MICROS));
        println!("round {round}: killed {later:?} after {changes} acknowledged changes");
        let acknowledged = Arc::new(Countdown::new(changes));
        let wire = Wire { http: server.http(), admin_token: token.clone() };
        let work = workers.drain(..).map(|worker| {
            // A connection for each.
            let wire = Wire { http: server.http(), ..wire.clone() };
            tokio::spawn(worker.work(round, wire, acknowledged.clone()))
        });
        let work: Vec<_> = work.collect();
        acknowledged.done.notified().await;
        // No event says when a change is half done.
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
        let wire = Wire { http: server.http(), admin_token: token.clone() };
        let checks = workers.drain(..).map(|worker| tokio::spawn(worker.check(wire.clone(), ledger.clone())));
        let checks: Vec<_> = checks.collect();
        for worker in checks {
            workers.push(worker.await.unwrap());
        }
        let expected: BTreeSet<_> = workers
            .iter()
            .flat_map(|worker| worker.keys.keys().cloned())
            .chain(["admin".to_owned()])
            .collect();
        assert_eq!(wire.listed().await, expected);
    }
    let (doubts, made) = workers
        .iter()
        .fold((0, 0), |(doubts, made), worker| (doubts + worker.doubts.0, made + worker.doubts.1));
    let replays: u32 = workers.iter().map(|worker| worker.replays).sum();
    println!(
        "{KILLS} kills, {killed_starting} more while starting; {doubts} changes were not acknowledged, {made} of \
         them were made; {replays} creates were repeated"
    );
    let kinds: BTreeSet<_> =
        workers.iter().flat_map(|worker| worker.acknowledged.values().map(|(action, _)| *action)).collect();
    let all = [
        "api_key.create",
        "api_key.delete",
        "api_key.disable",
        "api_key.enable",
        "api_key.rotate_secret",
        "api_key.update",
        "token.revoke",
    ];
    assert_eq!(kinds, all.into(), "the load was not what it should be");
    assert!(replays > 0, "the load was not what it should be");
}

fn start(data_dir: &Path) -> ServerProcess {
    // Tokens outlive the port.
    ServerProcess::start_on(data_dir, &["--public-url", PUBLIC_URL])
}

/// Starts a server that is killed after so long, wherever it then is.
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

/// The entries by request id and action, once their chain is verified. Taken from what the dead server left on the disk.
async fn ledger(data_dir: &Path) -> Arc<Ledger> {
    let (store, root_key, _copy) = copied_store(data_dir);
    let entries = store.ledger_entries(0, usize::MAX).await.unwrap();
    let head = verify_chain(&root_key.ledger_keys(), LedgerHead::EMPTY, &entries).unwrap();
    assert_eq!(head, store.ledger_head().await.unwrap());
    let count = entries.len();
    let names = |entry: &LedgerEntry| (entry.entry.request_id.clone(), entry.entry.action.clone());
    let entries: Ledger = entries.into_iter().map(|entry| (names(&entry), entry)).collect();
    assert_eq!(entries.len(), count, "each change has one entry");
    Arc::new(entries)
}

/// Acknowledged changes, and a notice when there are enough.
struct Countdown {
    left: AtomicU64,
    done: Notify,
}

impl Countdown {
    fn new(from: u64) -> Self {
        Self { left: AtomicU64::new(from), done: Notify::new() }
    }

    fn step(&self) {
        // Those that come in after the last wrap around, which harms nobody.
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
    }
}

/// The server, as a worker speaks to it.
#[derive(Clone)]
struct Wire {
    http: Http,
    admin_token: String,
}

impl Wire {
    /// A call of our own service as admin; `None` when no answer comes.
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

    /// A form with a key's secret; `None` when no answer comes.
    async fn form(&self, path: &str, request_id: &str, key: &Credentials, body: String) -> Option<Response> {
        let authorization = key.basic();
        let headers = [
            ("authorization", &*authorization),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-request-id", request_id),
        ];
        self.http.try_send(Method::POST, path, &headers, body).await.ok()
    }

    /// A token, if the secret is good; `None` when no answer comes.
    async fn token(&self, client_id: &str, client_secret: &str) -> Option<Result<String, u16>> {
        let key = Credentials { client_id: client_id.to_owned(), client_secret: client_secret.to_owned() };
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

    /// Every client id; each with a secret at least.
    async fn listed(&self) -> BTreeSet<String> {
        let response = self.call("List", "list", &json!({ "pageSize": 1000 })).await.unwrap().json();
        let keys = response["apiKeys"].as_array().unwrap();
        for key in keys {
            assert!(!key["secrets"].as_array().unwrap().is_empty(), "{key}");
        }
        keys.iter().map(|key| key["clientId"].as_str().unwrap().to_owned()).collect()
    }
}

/// What a worker knows of a key of its own.
#[derive(Debug, Default)]
struct Key {
    /// Name and role: what an update changes together.
    face: (String, &'static str),
    /// The one that works; `None` when the answer that held it never came.
    secret: Option<String>,
    /// The last one that does not work any more.
    dead_secret: Option<String>,
    disabled: bool,
    live_tokens: Vec<String>,
    dead_tokens: Vec<String>,
}

impl Key {
    fn kill_tokens(&mut self) {
        self.dead_tokens.append(&mut self.live_tokens);
        // Enough to see the rule; more take only time.
        self.dead_tokens.drain(..self.dead_tokens.len().saturating_sub(2));
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

/// A change whose answer never came.
#[derive(Debug)]
struct Doubt {
    request_id: String,
    client_id: String,
    change: Change,
}

struct Worker {
    number: u64,
    random: Random,
    calls: u64,
    keys: BTreeMap<String, Key>,
    /// Deleted in the last round, with a secret and tokens that must be dead.
    gone: Vec<(String, Key)>,
    /// Action and target of each acknowledged change, by request id.
    acknowledged: BTreeMap<String, (&'static str, String)>,
    doubt: Option<Doubt>,
    /// Client id and request id of what was created in this round.
    created: Vec<(String, String)>,
    /// How many creates were repeated.
    replays: u32,
    /// Changes whose answer never came, and how many of them were made all the same.
    doubts: (u32, u32),
}

impl Worker {
    fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            random: Random(seed),
            calls: 0,
            keys: BTreeMap::new(),
            gone: Vec::new(),
            acknowledged: BTreeMap::new(),
            doubt: None,
            created: Vec::new(),
            replays: 0,
            doubts: (0, 0),
        }
    }

    /// Changes keys until an answer fails to come.
    async fn work(mut self, round: u64, wire: Wire, countdown: Arc<Countdown>) -> Self {
        self.gone.clear();
        self.created.clear();
        while self.change(round, &wire).await.is_some() {
            countdown.step();
        }
        self
    }

    /// Makes one change; `None` when no answer came.
    async fn change(&mut self, round: u64, wire: &Wire) -> Option<()> {
        self.calls += 1;
        let request_id = format!("r{round}-w{}-{}", self.number, self.calls);
        let (client_id, change) = self.choose(wire).await?;
        let asked = Doubt { request_id, client_id, change };
        let Some(response) = self.ask(wire, &asked).await else {
            self.doubt = Some(asked);
            return None;
        };
        assert_eq!(response.status, 200, "{asked:?}: {}", response.text());
        let secret = match asked.change {
            Change::Create | Change::Rotate => {
                Some(response.json()["clientSecret"].as_str().unwrap().to_owned())
            }
            Change::Update(_) | Change::Disable | Change::Enable | Change::Delete | Change::Revoke(_) => None,
        };
        if let Change::Create = asked.change {
            self.created.push((asked.client_id.clone(), asked.request_id.clone()));
        }
        let action = asked.change.action();
        self.acknowledged.insert(asked.request_id, (action, asked.client_id.clone()));
        self.apply(&asked.client_id, asked.change, secret);
        Some(())
    }

    async fn choose(&mut self, wire: &Wire) -> Option<(String, Change)> {
        let dice = self.random.below(100);
        if self.keys.is_empty() || (dice < 25 && self.keys.len() < MOST_KEYS) {
            return Some((format!("w{}-{}", self.number, self.calls), Change::Create));
        }
        let which = usize::try_from(self.random.below(self.keys.len() as u64)).unwrap();
        let (client_id, key) = self.keys.iter_mut().nth(which).unwrap();
        let change = match dice {
            0..40 if key.disabled => Change::Delete,
            _ if key.disabled => Change::Enable,
            0..40 => Change::Rotate,
            40..52 => {
                let role = if dice.is_multiple_of(2) { "ROLE_VIEWER" } else { "ROLE_CONTRIBUTOR" };
                Change::Update((format!("name {}", self.calls), role))
            }
            52..65 => Change::Disable,
            65..75 => Change::Delete,
            _ => {
                let secret = key.secret.as_deref().unwrap();
                // One to revoke and one to live on.
                let revoked = wire.token(client_id, secret).await?.unwrap();
                key.live_tokens = vec![wire.token(client_id, secret).await?.unwrap(), revoked.clone()];
                Change::Revoke(revoked)
            }
        };
        Some((client_id.clone(), change))
    }

    async fn ask(&self, wire: &Wire, asked: &Doubt) -> Option<Response> {
        let Doubt { request_id, client_id, change } = asked;
        let body = json!({ "clientId": client_id });
        match change {
            Change::Create => wire.call("Create", request_id, &body).await,
            Change::Update((name, role)) => {
                let key = json!({ "clientId": client_id, "clientName": name, "role": role });
                let body = json!({ "apiKey": key, "updateMask": "clientName,role" });
                wire.call("Update", request_id, &body).await
            }
            Change::Rotate => wire.call("RotateSecret", request_id, &body).await,
            Change::Disable => wire.call("Disable", request_id, &body).await,
            Change::Enable => wire.call("Enable", request_id, &body).await,
            Change::Delete => wire.call("Delete", request_id, &body).await,
            Change::Revoke(token) => {
                let key = Credentials {
                    client_id: client_id.clone(),
                    client_secret: self.keys[client_id].secret.clone().unwrap(),
                };
                wire.form("/oauth2/revoke", request_id, &key, format!("token={token}")).await
            }
        }
    }

    /// Takes in that a change was made.
    fn apply(&mut self, client_id: &str, change: Change, secret: Option<String>) {
        if let Change::Create = change {
            let face = (client_id.to_owned(), "ROLE_CONTRIBUTOR");
            self.keys.insert(client_id.to_owned(), Key { face, secret, ..Key::default() });
            return;
        }
        let key = self.keys.get_mut(client_id).unwrap();
        match change {
            Change::Create => {}
            Change::Update(face) => key.face = face,
            Change::Rotate => {
                key.dead_secret = key.secret.take();
                key.secret = secret;
                key.kill_tokens();
            }
            Change::Disable => {
                key.disabled = true;
                key.kill_tokens();
            }
            Change::Enable => key.disabled = false,
            Change::Delete => {
                let key = self.keys.remove(client_id).unwrap();
                self.gone.push((client_id.to_owned(), key));
            }
            Change::Revoke(token) => {
                key.live_tokens.retain(|live| *live != token);
                key.dead_tokens.push(token);
            }
        }
    }

    /// Asserts that a server over what the dead one left agrees with all that is known.
    async fn check(mut self, wire: Wire, ledger: Arc<Ledger>) -> Self {
        for (request_id, (action, target)) in &self.acknowledged {
            let entry = ledger.get(&(request_id.clone(), (*action).to_owned()));
            let entry = entry.unwrap_or_else(|| panic!("{request_id} has no entry"));
            assert_eq!(entry.entry.target, **target);
        }
        let mut new_secret_id = None;
        self.doubts.0 += u32::from(self.doubt.is_some());
        if let Some(Doubt { request_id, client_id, change }) = self.doubt.take() {
            let made = ledger.get(&(request_id.clone(), change.action().to_owned()));
            if let Some(made) = made {
                assert_eq!(made.entry.target, client_id);
                self.doubts.1 += 1;
                if let Change::Rotate = change {
                    let id = made.entry.detail.strip_prefix("secret=").unwrap().split(' ').next().unwrap();
                    new_secret_id = Some((client_id.clone(), id.to_owned()));
                }
            }
            match change {
                // Who got no answer asks again, and gets a key with a secret either way.
                Change::Create => {
                    self.apply(&client_id, Change::Create, None);
                    self.repeat_create(&wire, &client_id, &request_id).await;
                    self.acknowledged.insert(request_id, (Change::Create.action(), client_id));
                }
                change if made.is_some() => self.apply(&client_id, change, None),
                _ => {}
            }
        }
        // Nor does it matter when the answer came, and was lost behind this side's network.
        let lost = self.created.pop().filter(|(client_id, _)| self.keys.contains_key(client_id));
        if let Some((client_id, request_id)) = lost {
            self.repeat_create(&wire, &client_id, &request_id).await;
        }
        let client_ids: Vec<_> = self.keys.keys().cloned().collect();
        for client_id in client_ids {
            let told = wire.call("Get", "get", &json!({ "clientId": client_id })).await.unwrap();
            assert_eq!(told.status, 200, "{client_id}: {}", told.text());
            let told = &told.json()["apiKey"];
            let secrets = told["secrets"].as_array().unwrap();
            if let Some((_, id)) = new_secret_id.as_ref().filter(|(rotated, _)| *rotated == client_id) {
                assert!(secrets.iter().any(|secret| secret["id"] == **id), "{id}: {told}");
            }
            let key = &self.keys[&client_id];
            assert_eq!(told["disabledAt"].is_string(), key.disabled, "{told}");
            let face = (told["clientName"].as_str().unwrap(), told["role"].as_str().unwrap());
            assert_eq!(face, (&*key.face.0, key.face.1), "{told}");
            for (alive, tokens) in [(true, &key.live_tokens), (false, &key.dead_tokens)] {
                for token in tokens {
                    assert_eq!(wire.is_accepted(token).await, alive, "a token of {client_id}: {key:?}");
                }
            }
            if let Some(dead) = &key.dead_secret {
                assert_eq!(wire.token(&client_id, dead).await.unwrap(), Err(401), "{key:?}");
            }
            if let Some(secret) = &key.secret {
                let fetched = wire.token(&client_id, secret).await.unwrap();
                assert_eq!(fetched.err(), key.disabled.then_some(401), "{client_id}: {key:?}");
            } else {
                self.give_secret(&wire, &client_id).await;
            }
        }
        for (client_id, key) in &self.gone {
            let told = wire.call("Get", "get", &json!({ "clientId": client_id })).await.unwrap();
            assert_eq!(told.status, 404, "{client_id}: {}", told.text());
            if let Some(secret) = &key.secret {
                assert_eq!(wire.token(client_id, secret).await.unwrap(), Err(401));
            }
            for token in key.live_tokens.iter().chain(&key.dead_tokens) {
                assert!(!wire.is_accepted(token).await, "a token of the deleted {client_id}");
            }
        }
        self
    }

    /// The same Create again gives a further secret, and takes none away.
    async fn repeat_create(&mut self, wire: &Wire, client_id: &str, request_id: &str) {
        let repeated = wire.call("Create", request_id, &json!({ "clientId": client_id })).await.unwrap();
        assert_eq!(repeated.status, 200, "{client_id}: {}", repeated.text());
        let secret = repeated.json()["clientSecret"].as_str().unwrap().to_owned();
        let key = self.keys.get_mut(client_id).unwrap();
        let refused = key.disabled.then_some(401);
        for secret in key.secret.iter().chain([&secret]) {
            assert_eq!(wire.token(client_id, secret).await.unwrap().err(), refused, "{client_id}");
        }
        key.secret = Some(secret);
        self.replays += 1;
    }

    /// A key whose secret was never heard of is a whole key all the same: it can be given another.
    async fn give_secret(&mut self, wire: &Wire, client_id: &str) {
        self.calls += 1;
        let request_id = format!("given-w{}-{}", self.number, self.calls);
        let given = wire.call("RotateSecret", &request_id, &json!({ "clientId": client_id })).await.unwrap();
        assert_eq!(given.status, 200, "{}", given.text());
        let secret = given.json()["clientSecret"].as_str().unwrap().to_owned();
        let fetched = wire.token(client_id, &secret).await.unwrap();
        assert!(fetched.is_ok() || self.keys[client_id].disabled, "{fetched:?}");
        self.acknowledged.insert(request_id, (Change::Rotate.action(), client_id.to_owned()));
        self.keys.get_mut(client_id).unwrap().secret = Some(secret);
    }
}
