//! A server with an admin, and values that its tests share.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use gatekey_core::{Directory, Env, RootKey};
use gatekey_store::{SqliteStore, postgres::export};
use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Credentials, Http, ServerProcess, on_postgres};

/// A public URL, so that tokens stay valid when a restarted server gets another port.
pub(crate) const PUBLIC_URL: &str = "https://keys.example.com";

/// A running server, its first admin and an HTTP client.
pub(crate) struct Server {
    pub(crate) process: ServerProcess,
    pub(crate) http: Http,
    pub(crate) admin: Credentials,
    pub(crate) admin_token: String,
    flags: Vec<String>,
    /// Dropped after the server.
    directory: TempDir,
}

impl Server {
    /// Starts a server with the defaults.
    pub(crate) async fn start() -> Self {
        Self::with_flags(&[]).await
    }

    /// Starts a server with more flags.
    pub(crate) async fn with_flags(flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), flags, &[]).await
    }

    /// Starts a server with a configuration file.
    pub(crate) async fn with_config(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gatekey.toml");
        fs::write(&file, toml).unwrap();
        let file = file.to_str().unwrap().to_owned();
        Self::start_in(directory, &["--config", &file], &[]).await
    }

    /// Starts a server with a public URL, which stays the same after a restart.
    pub(crate) async fn with_public_url() -> Self {
        Self::with_flags(&["--public-url", PUBLIC_URL]).await
    }

    /// Starts a server whose data directory is `data` in the given one, with variables in the
    /// environment of its first process.
    pub(crate) async fn start_in(
        directory: TempDir,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let process = ServerProcess::start_in(&directory.path().join("data"), flags, environment);
        let (http, admin) = (process.http(), process.init());
        let admin_token = process.token(&admin).await;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Self { process, http, admin, admin_token, flags, directory }
    }

    /// Stops the server gracefully and starts it again.
    pub(crate) async fn restart(&mut self) {
        assert!(self.process.stop().await.success());
        self.start_again();
    }

    /// Starts a stopped server again.
    pub(crate) fn restart_stopped(&mut self) {
        self.start_again();
    }

    /// Kills the server and starts it again.
    pub(crate) fn kill_and_restart(&mut self) {
        self.process.kill();
        self.start_again();
    }

    fn start_again(&mut self) {
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        self.process = ServerProcess::start_on(&self.directory.path().join("data"), &flags);
        self.http = self.process.http();
    }

    /// Creates a contributor with the public API.
    pub(crate) async fn create_key(&self, name: &str) -> Credentials {
        self.http.create(&self.admin_token, name).await
    }

    /// Creates a key with the API key service; the body has the fields other than the client id.
    pub(crate) async fn create_key_with(&self, name: &str, mut body: Value) -> Credentials {
        body["clientId"] = json!(name);
        let created = self.admin_call("Create", body).await;
        Credentials {
            client_id: name.to_owned(),
            client_secret: created["clientSecret"].as_str().unwrap().to_owned(),
        }
    }

    /// Calls the API key service as the admin; the call must succeed.
    pub(crate) async fn admin_call(&self, method: &str, body: Value) -> Value {
        let procedure = format!("/gatekey.v1.ApiKeyService/{method}");
        let response = self.http.connect_json(&procedure, &self.admin_token, &body).await;
        assert_eq!(response.status, 200, "{method} {body}: {}", response.text());
        response.json()
    }

    /// Rotates a key's secret, and returns the new one.
    pub(crate) async fn rotate(&self, key: &Credentials, mut body: Value) -> Credentials {
        body["clientId"] = json!(key.client_id);
        let rotated = self.admin_call("RotateSecret", body).await;
        Credentials {
            client_id: key.client_id.clone(),
            client_secret: rotated["clientSecret"].as_str().unwrap().to_owned(),
        }
    }

    /// Fetches a token for a key.
    pub(crate) async fn token(&self, key: &Credentials) -> String {
        let response = self.http.token(key, &[]).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// Whether a token is valid; every endpoint must agree.
    pub(crate) async fn accepts(&self, token: &str) -> bool {
        let valid = self.is_active(token).await;
        let bearer = format!("Bearer {token}");
        let me = self.http.get("/me", &[("authorization", &bearer)]).await;
        let rpc = "/flyteidl2.auth.IdentityService/UserInfo";
        let rpc = self.http.connect_json(rpc, token, &json!({})).await;
        // It may expire between these calls; then all of them refuse it from now on.
        if valid && (me.status, rpc.status) != (StatusCode::OK, StatusCode::OK) {
            assert!(!self.is_active(token).await, "/me: {}, the RPC: {}", me.text(), rpc.text());
            return false;
        }
        let (status, code) =
            if valid { (200, Value::Null) } else { (401, json!("unauthenticated")) };
        assert_eq!(me.status, status, "active: {valid}, /me: {}", me.text());
        assert_eq!(rpc.status, status, "active: {valid}, the RPC: {}", rpc.text());
        assert_eq!(rpc.json()["code"], code);
        valid
    }

    /// Waits until a token expires.
    pub(crate) async fn wait_until_expired(&self, token: &str) {
        eventually("the token expires", async || !self.accepts(token).await).await;
    }

    async fn is_active(&self, token: &str) -> bool {
        self.introspect(&self.admin, token).await["active"].as_bool().unwrap()
    }

    /// Introspects a token as a key.
    pub(crate) async fn introspect(&self, caller: &Credentials, token: &str) -> Value {
        let headers = [("authorization", &*caller.basic())];
        let response =
            self.http.form("/oauth2/introspect", &headers, &format!("token={token}")).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }
}

/// Polls a condition until it is true; fails after a minute.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < Duration::from_mins(1), "this never happened: {what}");
        tokio::task::yield_now().await;
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    Env::system().now().as_seconds()
}

/// An instant in the future, in protobuf's JSON form.
pub(crate) fn in_future(ahead: Duration) -> String {
    let micros = u64::try_from(Env::system().now().as_micros()).unwrap();
    let at: SystemTime = UNIX_EPOCH + Duration::from_micros(micros) + ahead;
    humantime::format_rfc3339_micros(at).to_string()
}

/// A token's header and claims, without verification.
pub(crate) fn decoded(token: &str) -> (Value, Value) {
    let mut parts = token.split('.').map(|part| BASE64URL.decode(part).unwrap());
    let (header, claims) = (parts.next().unwrap(), parts.next().unwrap());
    (serde_json::from_slice(&header).unwrap(), serde_json::from_slice(&claims).unwrap())
}

/// The root key of a data directory.
pub(crate) fn root_key(data_dir: &Path) -> RootKey {
    let text = fs::read_to_string(data_dir.join("root.key")).unwrap();
    RootKey::from_file(&text.parse().unwrap(), None)
}

/// Opens a copy of a data directory's store, as it is on disk or in PostgreSQL; returns the root
/// key, too.
pub(crate) fn copied_store(data_dir: &Path) -> (SqliteStore, RootKey, TempDir) {
    let copy = tempfile::tempdir().unwrap();
    if let Some(url) = on_postgres::url(data_dir) {
        let mut file = export(&url.parse().unwrap(), copy.path()).unwrap();
        let copied = copy.path().join("gatekey.db");
        std::io::copy(&mut file, &mut fs::File::create(copied).unwrap()).unwrap();
    }
    for name in ["gatekey.db", "gatekey.db-wal"] {
        if data_dir.join(name).exists() {
            fs::copy(data_dir.join(name), copy.path().join(name)).unwrap();
        }
    }
    let root_key = root_key(data_dir);
    let observer = Arc::<Directory>::default();
    let store = SqliteStore::open(&copy.path().join("gatekey.db"), &root_key, observer).unwrap();
    (store, root_key, copy)
}
