//! `gatekey root-key`: rotation of the root key, which keeps every secret and token valid.

mod file;
mod interrupted;
mod ledger;
mod rotation;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::Value;

use crate::{
    command_line::{json, json_lines, stdout},
    support::{Credentials, Server, decoded, run},
};

/// Runs `gatekey root-key`, or another command on a data directory.
fn run_on(data_dir: &Path, words: &[&str]) -> Output {
    run(&[words, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

/// Rotates, and returns the printed JSON.
fn rotate(data_dir: &Path) -> Value {
    json(&run_on(data_dir, &["root-key", "rotate", "--output", "json"]))
}

/// State and number of secrets of each version.
fn versions(data_dir: &Path) -> BTreeMap<u64, (String, u64)> {
    let listed = json(&run_on(data_dir, &["root-key", "list", "--output", "json"]));
    let versions = listed.as_array().unwrap().iter().map(|version| {
        let state = version["state"].as_str().unwrap().to_owned();
        (version["version"].as_u64().unwrap(), (state, version["secrets"].as_u64().unwrap()))
    });
    versions.collect()
}

fn is(state: &str, secrets: u64) -> (String, u64) {
    (state.to_owned(), secrets)
}

fn key_file(data_dir: &Path) -> PathBuf {
    data_dir.join("root.key")
}

fn lines(data_dir: &Path) -> Vec<String> {
    fs::read_to_string(key_file(data_dir)).unwrap().lines().map(str::to_owned).collect()
}

/// All entries of the ledger, after verifying it.
fn verified_ledger(data_dir: &Path) -> Vec<Value> {
    stdout(&run_on(data_dir, &["ledger", "verify"]));
    json_lines(&run_on(data_dir, &["ledger", "export"]))
}

/// Copies a data directory that no process uses.
fn copy_data_dir(data_dir: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["gatekey.db", "gatekey.db-wal", "root.key", "server.json"] {
        if data_dir.join(name).exists() {
            fs::copy(data_dir.join(name), to.join(name)).unwrap();
        }
    }
}

/// Writes lines to the root key file.
fn write_lines(data_dir: &Path, lines: &[&str]) {
    fs::write(key_file(data_dir), lines.join("\n") + "\n").unwrap();
}

impl Server {
    /// Asserts that an earlier secret and an earlier token are valid.
    async fn serves(&self, key: &Credentials, token: &str) {
        assert!(self.accepts(token).await, "an earlier token");
        let fresh = self.token(key).await;
        assert!(self.accepts(&fresh).await);
        assert_eq!(decoded(&fresh).0["kid"], decoded(token).0["kid"], "the same signing key");
        let wrong = gatekey_credentials::Secret::from_random(&[9; 23]).expose().to_owned();
        let wrong = Credentials { client_secret: wrong, ..key.clone() };
        assert_eq!(self.http.token(&wrong, &[]).await.status, 401);
    }
}
