//! A data directory and a backup that were written before rows had seals.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use gatekey_core::{
    Caller, Env, Timestamp,
    env::{Clock, SystemEntropy},
    ledger,
    seal::Sealed,
    signing_key::Start,
    token::TokenRefusal,
};
use gatekey_server::{
    config::Settings,
    server::{Caches, Parts, Server as Inner, UpstreamAuthorities},
};
use gatekey_store::SqliteStore;
use gatekey_telemetry::NoRequestLog;
use serde_json::Value;

use super::{fails, json_lines, stdout, tamper};
use crate::support::{Credentials, PUBLIC_URL, ServerProcess, root_key, run};

/// Written by the last version without seals, with the root key in its second version.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/before_seals")
}

/// Secrets, tokens and the time of the fixtures.
fn contents() -> Value {
    serde_json::from_slice(&fs::read(fixtures().join("contents.json")).unwrap()).unwrap()
}

/// Copies the data directory in `part` of the fixtures into a new directory.
pub(crate) fn copy_old_data_dir(part: &str, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for name in ["gatekey.db", "root.key"] {
        fs::copy(fixtures().join(part).join(name), to.join(name)).unwrap();
        fs::set_permissions(to.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
}

/// The admin of the fixtures' data directory `version_1`.
pub(crate) fn old_admin() -> Credentials {
    let client_secret = contents()["version_1"]["admin"].as_str().unwrap().to_owned();
    Credentials { client_id: "admin".to_owned(), client_secret }
}

/// The secrets that are valid or invalid at the time of the fixtures.
fn secrets(kind: &str) -> Vec<Credentials> {
    let secrets = contents()["secrets"][kind].clone();
    let pair = |pair: &Value| Credentials {
        client_id: pair[0].as_str().unwrap().to_owned(),
        client_secret: pair[1].as_str().unwrap().to_owned(),
    };
    secrets.as_array().unwrap().iter().map(pair).collect()
}

/// The valid secrets that never expire: the first one of `ci` was rotated with a grace.
fn lasting_secrets() -> Vec<Credentials> {
    let mut secrets = secrets("valid");
    let rotated = secrets.iter().position(|secret| secret.client_id == "ci").unwrap();
    secrets.remove(rotated);
    secrets
}

struct Then(i64);

impl Clock for Then {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.0)
    }
}

/// Opens a data directory at the time of the fixtures, as a server does. Returns whether it sealed.
async fn open(data_dir: &Path) -> (Inner, bool) {
    let at = contents()["at"].as_i64().unwrap();
    let env = Env::new(Arc::new(Then(at)), Arc::new(SystemEntropy));
    let root_key = Arc::new(root_key(data_dir));
    let caches = Caches::new(root_key.clone());
    let store =
        SqliteStore::open(&data_dir.join("gatekey.db"), &root_key, caches.observer()).unwrap();
    let toml = format!("[server]\npublic_url = \"{PUBLIC_URL}\"\n");
    let settings = Settings::from_toml(Path::new("gatekey.toml"), &toml).unwrap();
    let config = settings.resolve("127.0.0.1:1".parse().unwrap()).unwrap();
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
    let caller = Caller::server(&inner.env);
    let entry = Sealed::new_entry(&inner.env, &caller);
    let sealed = inner.store.seal_store(entry).await.unwrap();
    inner.operations.signing_keys.ensure(&caller, None, Start::Now).await.unwrap();
    inner.store.load().await.unwrap();
    (inner, sealed.is_some())
}

#[tokio::test]
async fn an_upgrade_keeps_secrets_tokens_and_revocations() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    copy_old_data_dir("", &data_dir);
    for is_first in [true, false] {
        let (server, sealed) = open(&data_dir).await;
        assert_eq!(sealed, is_first);
        let logs_in = |key: &Credentials| {
            server.tokens.authenticate(&key.client_id, &key.client_secret, None).is_ok()
        };
        for key in secrets("valid") {
            assert!(logs_in(&key), "{}", key.client_id);
        }
        for key in secrets("invalid") {
            assert!(!logs_in(&key), "{}", key.client_id);
        }
        let refusal = |token: &Value| server.tokens.verify(token.as_str().unwrap()).err();
        let tokens = contents()["tokens"].clone();
        for token in tokens["valid"].as_array().unwrap() {
            assert_eq!(refusal(token), None);
        }
        assert_eq!(refusal(&tokens["revoked"][0]), Some(TokenRefusal::Revoked));
        assert_eq!(server.store.verify_seals().await.unwrap().faults(), [""; 0]);
        let keys = server.root_key.ledger_keys();
        let head = ledger::verify(keys, ledger::LedgerBase::EMPTY, &[], |after, limit| {
            server.store.ledger_entries(after, limit)
        });
        let head = head.await.unwrap();
        let entry = server.store.ledger_entries(head.sequence - 1, 1).await.unwrap().remove(0);
        assert_eq!(entry.entry.action, "store.seal");
        assert_eq!(entry.entry.detail, "api_keys=6 denials=1 signing_keys=1");
    }
}

#[tokio::test]
async fn an_old_data_directory_is_sealed_once() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    copy_old_data_dir("", &data_dir);
    let on = |words: &[&str]| run(&[words, &["--data-dir", data_dir.to_str().unwrap()]].concat());
    assert!(stdout(&on(&["doctor", "store"])).contains("seals the rows"));
    for _ in 0..2 {
        let mut server = ServerProcess::start_on(&data_dir, &["--public-url", PUBLIC_URL]);
        for key in lasting_secrets() {
            server.token(&key).await;
        }
        for key in secrets("invalid") {
            assert_eq!(server.http().token(&key, &[]).await.status, 401, "{}", key.client_id);
        }
        stdout(&on(&["ledger", "verify"]));
        assert!(server.stop().await.success());
    }
    stdout(&on(&["root-key", "rotate"]));
    let entries = json_lines(&on(&["ledger", "export"]));
    let seals = entries.iter().filter(|entry| entry["action"] == "store.seal");
    assert_eq!(seals.count(), 1);
    assert!(entries[0]["state"].is_null() && entries.last().unwrap()["state"].is_string());
    // From now on a database without seals is refused.
    tamper(&data_dir, "DELETE FROM state; UPDATE api_key SET seal = NULL");
    assert!(fails(&on(&["ledger", "verify"]), 8).contains("not sealed"));
}

#[tokio::test]
async fn an_old_backup_restores_every_secret() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let (backup, key) = (fixtures().join("gatekey.backup"), directory.path().join("root.key"));
    fs::copy(fixtures().join("root.key"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let (data_dir_flag, key) = (data_dir.to_str().unwrap(), key.to_str().unwrap());
    let flags = ["--data-dir", data_dir_flag, "--root-key-file", key];
    stdout(&run(&[&["restore", backup.to_str().unwrap()], &flags[..]].concat()));
    let serve = ["--public-url", PUBLIC_URL, "--root-key-file", key];
    let server = ServerProcess::start_on(&data_dir, &serve);
    for key in lasting_secrets() {
        server.token(&key).await;
    }
    for key in secrets("invalid") {
        assert_eq!(server.http().token(&key, &[]).await.status, 401, "{}", key.client_id);
    }
    let verified = run(&[&["ledger", "verify"], &flags[..]].concat());
    stdout(&verified);
    let entries = json_lines(&run(&[&["ledger", "export"], &flags[..]].concat()));
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    let pair = ["store.seal", "store.restore"];
    assert!(actions.windows(2).any(|actions| actions == pair), "{actions:?}");
}

/// Otherwise the ledger from before the upgrade could be put back, with other rows.
#[tokio::test]
async fn sealing_omits_keys_the_ledger_contradicts() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    copy_old_data_dir("", &data_dir);
    tamper(&data_dir, "UPDATE api_key SET role = 'admin' WHERE client_id = 'viewer'");
    let server = ServerProcess::start_on(&data_dir, &["--public-url", PUBLIC_URL]);
    for key in lasting_secrets() {
        let expected = if key.client_id == "viewer" { 401 } else { 200 };
        let response = server.http().token(&key, &[]).await;
        assert_eq!(response.status, expected, "{}", key.client_id);
    }
    let verify = run(&["ledger", "verify", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(fails(&verify, 8).contains("refused: viewer"));
}
