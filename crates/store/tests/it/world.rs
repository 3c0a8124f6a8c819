//! [`World`]: a store under test, the arguments of its calls, and a mirror of its reports.

use std::{
    collections::HashMap,
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gatekey_core::{
    ApiKey, Application, Env, KeyId, RootKey, SecretHash, SecretId, Store, StoreError,
    StoredSecret, Timestamp,
    api_key::{Limits, Replay, Rotation},
    env::{Clock, Entropy},
    feed::Freshness,
    ledger::{ArchivedRange, LedgerBase, LedgerEntry, LedgerHead, NewEntry, verify_chain},
    root_key::{FileError, RootKeyFile, RootKeyVersions},
    signing_key::{SealedSigningKey, SigningKeyAdded},
    store::{Change, ChangeObserver, Created, Rotated},
    token::DeniedToken,
};
use gatekey_credentials::{ClientId, Role, jwt::Algorithm};
use gatekey_store::{PostgresStore, SqliteStore, postgres::PostgresOptions};
use tempfile::TempDir;

use crate::cluster::{self, Database};

/// The time at which every test begins: 2026-01-01T00:00:00Z.
pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// A number of seconds after [`NOW`].
pub(crate) fn later(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

pub(crate) fn client_id(text: &str) -> ClientId {
    text.parse().unwrap()
}

pub(crate) fn root_key() -> RootKey {
    RootKey::new(&[1; 32])
}

/// The file of the root key, in memory. Contains [`root_key`] until a rotation.
pub(crate) struct KeyFile(Mutex<RootKeyVersions>);

impl Default for KeyFile {
    fn default() -> Self {
        Self(Mutex::new(
            "gatekey-root-key-1:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=".parse().unwrap(),
        ))
    }
}

#[async_trait]
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

/// Opens a store, and each time the same stored data.
pub(crate) trait Backend: Send + Sync {
    fn open(&self, root_key: &RootKey, observer: Arc<dyn ChangeObserver>) -> Arc<dyn Store>;
}

/// The embedded store, in its own file.
pub(crate) struct SqliteFile(TempDir);

impl Default for SqliteFile {
    fn default() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl SqliteFile {
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("gatekey.db")
    }

    pub(crate) fn open_sqlite(&self, observer: Arc<dyn ChangeObserver>) -> SqliteStore {
        SqliteStore::open(&self.path(), &root_key(), observer).unwrap()
    }
}

impl Backend for SqliteFile {
    fn open(&self, root_key: &RootKey, observer: Arc<dyn ChangeObserver>) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(&self.path(), root_key, observer).unwrap())
    }
}

/// The store on PostgreSQL, in its own database.
pub(crate) struct PostgresDatabase {
    pub(crate) database: Database,
    directory: TempDir,
}

impl PostgresDatabase {
    /// `None` if PostgreSQL is not installed.
    pub(crate) fn new() -> Option<Self> {
        let Some(cluster) = cluster::cluster() else {
            not_proven(
                "the store on PostgreSQL, which is not installed (Debian's package postgresql)",
            );
            return None;
        };
        Some(Self { database: cluster.database(), directory: tempfile::tempdir().unwrap() })
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions {
            url: self.database.url().parse().unwrap(),
            node_name: "test".to_owned(),
            directory: self.directory.path().to_owned(),
            env: Env::system(),
            freshness: Freshness::current(),
        }
    }

    pub(crate) fn open_postgres(&self, observer: Arc<dyn ChangeObserver>) -> PostgresStore {
        PostgresStore::open(self.options(), &root_key(), observer).unwrap()
    }
}

impl Backend for PostgresDatabase {
    fn open(&self, root_key: &RootKey, observer: Arc<dyn ChangeObserver>) -> Arc<dyn Store> {
        Arc::new(PostgresStore::open(self.options(), root_key, observer).unwrap())
    }
}

/// Reports what could not be proven on this machine, as the other tests do.
#[expect(clippy::print_stdout, reason = "the output of a test")]
pub(crate) fn not_proven(what: &str) {
    println!("NOT PROVEN: {what}");
    #[expect(clippy::disallowed_methods, reason = "./test configures the tests through it")]
    if let Ok(file) = std::env::var("GATEKEY_TEST_NOT_PROVEN") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{what}").unwrap();
    }
}

/// Adds a signing key after those that a store has.
pub(crate) async fn add_signing_key(
    store: &dyn Store,
    key: SealedSigningKey,
    others_published_until: Timestamp,
    entry: NewEntry,
) {
    let stored = store.signing_keys().await.unwrap();
    let after = stored.last().map(|last| &*last.kid);
    let added = store.rotate_signing_key(key, after, others_published_until, entry).await.unwrap();
    assert_eq!(added, SigningKeyAdded::Done);
}

/// What an observer knows from the reported changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) keys: HashMap<ClientId, ApiKey>,
    pub(crate) denials: HashMap<KeyId, HashMap<String, Timestamp>>,
    pub(crate) signing_keys: Vec<SealedSigningKey>,
}

#[derive(Default)]
pub(crate) struct Mirror {
    known: Mutex<Known>,
    changes: AtomicU64,
}

impl Mirror {
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// The number of reported changes.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    pub(crate) fn key(&self, id: &str) -> Option<ApiKey> {
        self.known().keys.get(&client_id(id)).cloned()
    }

    pub(crate) fn denials(&self, key_id: KeyId) -> usize {
        self.known().denials.get(&key_id).map_or(0, HashMap::len)
    }
}

impl ChangeObserver for Mirror {
    fn observe(&self, changes: &[Change]) {
        let mut known = self.known();
        for change in changes {
            self.changes.fetch_add(1, Ordering::SeqCst);
            match change.clone() {
                Change::KeyPut(key) => {
                    known.keys.insert(key.client_id.clone(), *key);
                }
                Change::KeyDeleted { client_id, key_id } => {
                    let gone = known.keys.remove(&client_id);
                    assert_eq!(
                        gone.map(|key| key.key_id),
                        Some(key_id),
                        "a key that was never reported"
                    );
                    known.denials.remove(&key_id);
                }
                Change::TokenDenied(DeniedToken { jti, key_id, expires_at }) => {
                    known.denials.entry(key_id).or_default().insert(jti, expires_at);
                }
                Change::DenialsDropped(key_id) => {
                    known.denials.remove(&key_id);
                }
                Change::SigningKeys(keys) => known.signing_keys = keys,
                Change::Reset => *known = Known::default(),
            }
        }
    }
}

#[derive(Default)]
struct Counter(AtomicU64);

impl Entropy for Counter {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            // SplitMix64: successive numbers differ in all bits, and each run has the same ones.
            let mut mixed = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(1)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            chunk.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..chunk.len()]);
        }
    }
}

struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> Timestamp {
        NOW
    }
}

/// The source of ids. No two are the same in a run.
pub(crate) static ENV: LazyLock<Env> =
    LazyLock::new(|| Env::new(Arc::new(Stopped), Arc::new(Counter::default())));

/// A store under test.
pub(crate) struct World {
    backend: Box<dyn Backend>,
    file: Arc<KeyFile>,
    pub(crate) root_key: Arc<RootKey>,
    /// `None` only while it is closed.
    store: Option<Arc<dyn Store>>,
    pub(crate) mirror: Arc<Mirror>,
    /// The store purges expired denials without a report: those that expired before this.
    pub(crate) purged_at: Timestamp,
}

impl World {
    pub(crate) fn new(backend: Box<dyn Backend>) -> Self {
        let mirror = Arc::new(Mirror::default());
        let file = Arc::<KeyFile>::default();
        let root_key = Self::read(&file);
        let store = Some(backend.open(&root_key, mirror.clone()));
        Self { backend, file, root_key, store, mirror, purged_at: Timestamp::from_seconds(0) }
    }

    fn read(file: &Arc<KeyFile>) -> Arc<RootKey> {
        let keys = file.0.lock().unwrap().clone();
        Arc::new(RootKey::from_file(&keys, Some(file.clone())))
    }

    /// Closes the store and opens it again, as a restarted server does.
    pub(crate) async fn reopen(&mut self) {
        self.store = None;
        self.mirror = Arc::new(Mirror::default());
        self.root_key = Self::read(&self.file);
        self.store = Some(self.backend.open(&self.root_key, self.mirror.clone()));
        self.store().load().await.unwrap();
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().unwrap()
    }

    /// Checks what every test must leave: a ledger that verifies, and an observer that knows what
    /// is stored.
    pub(crate) async fn check(&mut self) {
        self.verified_ledger().await;
        let reported = self.comparable();
        self.reopen().await;
        assert_eq!(
            reported,
            self.comparable(),
            "the observer knows (left) something else than is stored (right)"
        );
    }

    fn comparable(&self) -> Known {
        let mut known = self.mirror.known().clone();
        for key in known.keys.values_mut() {
            assert!(!key.secrets.is_empty(), "a key without a secret");
            // The last use is not reported.
            key.secrets.iter_mut().for_each(|secret| secret.last_used_at = None);
        }
        for of_key in known.denials.values_mut() {
            of_key.retain(|_, expires_at| *expires_at > self.purged_at);
        }
        known.denials.retain(|_, of_key| !of_key.is_empty());
        known
    }

    /// All entries of the ledger, after it verified up to its head.
    pub(crate) async fn verified_ledger(&self) -> Vec<LedgerEntry> {
        let mut entries: Vec<LedgerEntry> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.sequence);
            let page = self.store().ledger_entries(after, 100).await.unwrap();
            if page.is_empty() {
                break;
            }
            entries.extend(page);
        }
        let base = self.store().ledger_base().await.unwrap().head;
        let head = verify_chain(&self.root_key.ledger_keys(), base, &entries).unwrap();
        assert_eq!(head, self.store().ledger_head().await.unwrap());
        entries
    }

    /// The entries from the beginning of the ledger up to a sequence number.
    pub(crate) async fn range(&self, last: i64) -> ArchivedRange {
        let base = self.store().ledger_base().await.unwrap();
        range(base, &self.store().ledger_entries(last - 1, 1).await.unwrap()[0])
    }

    /// The targets of the ledger's entries, in order.
    pub(crate) async fn ledger_targets(&self) -> Vec<String> {
        self.verified_ledger().await.into_iter().map(|entry| entry.entry.target).collect()
    }

    /// Creates a key with a client id.
    pub(crate) async fn create(&self, id: &str) -> ApiKey {
        self.create_key(new_key(id)).await.unwrap()
    }

    /// Creates an admin key with a client id.
    pub(crate) async fn create_admin(&self, id: &str) -> ApiKey {
        self.create_key(ApiKey { roles: Role::Admin.into(), ..new_key(id) }).await.unwrap()
    }

    /// Creates a key, by a call that repeats none.
    pub(crate) async fn create_key(&self, key: ApiKey) -> Result<ApiKey, StoreError> {
        let call = new_call(&key.key_id.to_string());
        let entry = entry(key.created_at, key.client_id.as_str());
        match self.store().create_key(key, call, entry).await? {
            Created::New(key) => Ok(*key),
            Created::Replayed(key) => {
                panic!("the create of {} was taken for a repetition", key.client_id)
            }
        }
    }

    pub(crate) async fn rotate(&self, id: &str, rotation: Rotation) -> Rotated {
        let entry = entry(rotation.secret.created_at, id);
        self.store().rotate_secret(&client_id(id), rotation, entry).await.unwrap()
    }

    pub(crate) async fn find(&self, id: &str) -> Option<ApiKey> {
        self.store().find_key(&client_id(id)).await.unwrap()
    }

    pub(crate) async fn purge(&mut self, now: Timestamp, replays: Timestamp, secrets: Timestamp) {
        self.store().purge(now, replays, secrets).await.unwrap();
        self.purged_at = self.purged_at.max(now);
    }
}

/// A secret that is valid from [`NOW`] on.
pub(crate) fn new_secret(label: &str) -> StoredSecret {
    StoredSecret {
        id: SecretId::generate(&ENV),
        label: label.to_owned(),
        hash: SecretHash { pepper_version: 1, mac: ENV.random() },
        created_at: NOW,
        not_before: NOW,
        expires_at: None,
        admin_expiry: None,
        last_used_at: None,
    }
}

/// A key with one secret.
pub(crate) fn new_key(id: &str) -> ApiKey {
    ApiKey {
        key_id: KeyId::generate(&ENV),
        client_id: client_id(id),
        organization: String::new(),
        roles: Role::Contributor.into(),
        application: Application::named(id),
        limits: Limits::default(),
        created_at: NOW,
        updated_at: NOW,
        expires_at: None,
        disabled_at: None,
        epoch: 1,
        secrets: vec![new_secret("first")],
    }
}

/// A create that can be repeated three times.
pub(crate) fn new_call(request_id: &str) -> Replay {
    Replay {
        actor: "local:uid=0".to_owned(),
        request_id: request_id.to_owned(),
        digest: [7; 32],
        since: NOW.before(Duration::from_mins(10)),
        limit: 3,
        entry: entry(NOW, "repeated"),
    }
}

/// A rotation with a grace in seconds.
pub(crate) fn rotation_at(at: Timestamp, grace: u64) -> Rotation {
    let secret = StoredSecret { created_at: at, not_before: at, ..new_secret("rotated") };
    let retire_others_at = at.after(Duration::from_secs(grace));
    Rotation {
        secret,
        retire_others_at,
        raise_epoch: grace == 0,
        max_secrets: 10,
        only_key: None,
        proven_by: None,
    }
}

/// A ledger entry.
pub(crate) fn entry(at: Timestamp, target: &str) -> NewEntry {
    NewEntry {
        at,
        actor: "local:uid=0".to_owned(),
        action: "test".to_owned(),
        target: target.to_owned(),
        detail: "a=b; c=\"d\"".to_owned(),
        request_id: "request-1".to_owned(),
        peer: "127.0.0.1".to_owned(),
        user_agent: "test/1.0 (ключ; 🔑)".to_owned(),
    }
}

/// The entries after a base, up to and including `last`.
pub(crate) fn range(base: LedgerBase, last: &LedgerEntry) -> ArchivedRange {
    let head = LedgerHead { sequence: last.sequence, link: last.link };
    ArchivedRange { base, end: LedgerBase { head, root_key_version: last.root_key_version } }
}

/// A token of a key that expires some seconds after [`NOW`].
pub(crate) fn token(key: &ApiKey, jti: &str, seconds: u64) -> DeniedToken {
    DeniedToken { jti: jti.to_owned(), key_id: key.key_id, expires_at: later(seconds) }
}

/// A signing key that cannot be decrypted.
pub(crate) fn signing_key(kid: &str) -> SealedSigningKey {
    SealedSigningKey {
        kid: kid.to_owned(),
        algorithm: Algorithm::ES256,
        sealed: vec![1],
        created_at: NOW,
        signs_from: NOW,
        published_until: None,
        high_s_until: None,
    }
}
