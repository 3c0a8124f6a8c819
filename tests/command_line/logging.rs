//! The log: its filter, its bounds, and what strangers can put into it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};

use crate::support::{Http, Server, ServerProcess, basic, binary, eventually, hermetic};

const REQUEST: &str = "gatekey::request";

fn with_filter(filter: &str) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    // Starting waits for a line at level `info`.
    let mut server = ServerProcess::start_in(&data_dir, &[], &[("GATEKEY_LOG", filter)]);
    assert!(server.terminate().success());
    server.log()
}

fn is_complaint(line: &Value) -> bool {
    line["message"].as_str().is_some_and(|message| message.contains("GATEKEY_LOG"))
}

#[test]
fn a_malformed_log_filter_means_info() {
    for filter in ["warning", "verbose", "error;info", "gatekey=loud", "inof=debug", "gatekey"] {
        let log = with_filter(filter);
        let complaint = log
            .iter()
            .find(|line| is_complaint(line))
            .unwrap_or_else(|| panic!("{filter}: {log:?}"));
        assert_eq!((&complaint["level"], &complaint["found"]), (&json!("WARN"), &json!(filter)));
    }
}

#[test]
fn a_valid_log_filter_is_accepted() {
    for filter in [" info ", "", "gatekey::request=off", "debug,h2=off", " Info , rustls = warn "] {
        assert_eq!(with_filter(filter).iter().find(|line| is_complaint(line)), None, "{filter}");
    }
}

/// A server whose standard error is a pipe that nobody reads yet.
struct Unread {
    child: Child,
    http: Http,
    admin_http: Http,
    token: String,
    _directory: tempfile::TempDir,
}

impl Unread {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (data_dir, ready) = (directory.path().join("data"), directory.path().join("ready"));
        let child = hermetic(binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--plaintext", "--log-format", "json", "--ready-file", ready.to_str().unwrap()])
            .args(["--data-dir", data_dir.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        eventually("the server is ready", async || ready.exists()).await;
        let ready: Value = serde_json::from_slice(&fs::read(ready).unwrap()).unwrap();
        let http = Http::new(ready["url"].as_str().unwrap(), None);
        let admin_http = Http::new(ready["admin_url"].as_str().unwrap(), None);
        let init = hermetic(binary())
            .args(["init", "--output", "json", "--data-dir", data_dir.to_str().unwrap()])
            .output()
            .unwrap();
        let admin: Value = serde_json::from_slice(&init.stdout).unwrap();
        let text = |name: &str| admin[name].as_str().unwrap().to_owned();
        let authorization = basic(&text("client_id"), &text("client_secret"));
        let headers = [("authorization", &*authorization)];
        let response = http.form("/oauth2/token", &headers, "grant_type=client_credentials").await;
        let token = response.json()["access_token"].as_str().unwrap().to_owned();
        Self { child, http, admin_http, token, _directory: directory }
    }

    /// Makes a hundred requests of a key, whose lines have about 700 bytes each.
    async fn log_much(&self) {
        let path = format!("/oauth_app/api/v1/{}", "\"".repeat(230));
        let authorization = format!("Bearer {}", self.token);
        let headers = [("authorization", &*authorization)];
        let requests = (0..100).map(|_| self.http.get(&path, &headers));
        futures::future::join_all(requests).await;
    }

    async fn dropped(&self) -> u64 {
        let metrics = self.admin_http.get("/metrics", &[]).await.text();
        let name = "gatekey_log_lines_dropped_total ";
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        value.parse().unwrap()
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A reader that stalls: a terminal stopped by Ctrl-S, or a collector whose disk is full.
#[tokio::test]
async fn a_stalled_log_reader_delays_nothing() {
    let mut server = Unread::start().await;
    // A pipe has 64 KiB.
    for _ in 0..5 {
        server.log_much().await;
    }
    assert_eq!(server.admin_http.get("/readyz", &[]).await.status, 200);
    let pid = server.child.id().to_string();
    let asked = std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    assert!(asked.success());
    let started = Instant::now();
    let mut status = None;
    eventually("the server stops", async || {
        status = server.child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert!(status.unwrap().success() && started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn dropped_log_lines_are_counted_and_reported() {
    let mut server = Unread::start().await;
    assert_eq!(server.dropped().await, 0);
    let mut sent = 0;
    while server.dropped().await == 0 {
        server.log_much().await;
        sent += 1;
        assert!(sent < 200, "14 MB wait for the reader");
    }
    let dropped = server.dropped().await;
    let lines = BufReader::new(server.child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut lines = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let is_report = |line: &Value| line["message"].as_str().unwrap().contains("dropped log lines");
    let report = lines.find(is_report).unwrap();
    assert_eq!(report["lines"], json!(dropped));
}

/// HPACK sends a repeated path and request id in a byte each.
#[tokio::test]
async fn a_stranger_causes_few_log_lines() {
    let mut server = Server::start().await;
    let path = format!("/{}", "\"".repeat(250));
    let request_id = "x".repeat(64);
    let headers = [("x-request-id", &*request_id)];
    for _ in 0..20 {
        futures::future::join_all((0..100).map(|_| server.http.get(&path, &headers))).await;
    }
    let token = server.token(&server.admin).await;
    assert!(!token.is_empty());
    assert!(server.process.stop().await.success());
    let log = server.process.log();
    let strangers =
        log.iter().filter(|line| line["target"] == REQUEST && line["client_id"] != "admin");
    let (single, summaries): (Vec<_>, Vec<_>) =
        strangers.partition(|line| line["message"] == "request");
    let requests: u64 = summaries.iter().map(|line| line["requests"].as_u64().unwrap()).sum();
    assert_eq!(single.len() as u64 + requests, 2000);
    assert!(single.len() + summaries.len() < 400, "{} lines", single.len());
    assert_eq!(summaries[0]["peer"], "127.0.0.1");
    assert!(single.iter().all(|line| line["path"] == format!("/{}", "\"".repeat(31))));
    let known = log.iter().filter(|line| line["client_id"] == "admin").count();
    assert_eq!(known, 2, "the admin's token requests");
}

#[tokio::test]
async fn a_strangers_path_is_cut_unless_served() {
    let mut server = Server::start().await;
    let served = "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata";
    let token = server.admin_token.clone();
    server.http.connect_json(served, "", &json!({})).await;
    server.http.connect_json(&format!("{served}2"), "", &json!({})).await;
    let keys_own = "/oauth_app/api/v1/a-client-id-that-is-not-in-use";
    let authorization = format!("Bearer {token}");
    server.http.send(Method::GET, keys_own, &[("authorization", &authorization)], "").await;
    assert!(server.process.stop().await.success());
    let log = server.process.log();
    let logged = |path: &str| log.iter().any(|line| line["path"] == path);
    assert!(logged(served) && logged("/flyteidl2.auth.AuthMetadataServ") && logged(keys_own));
}

/// With many addresses, each is throttled for the first time.
#[tokio::test]
async fn repeated_warnings_become_one_line() {
    let toml =
        "server.trusted_proxies = [\"127.0.0.1\"]\nlimits.failed_authentications_per_minute = 1";
    let mut server = Server::with_config(toml).await;
    for number in 0..300 {
        let from = format!("2001:db8:{number:x}::1");
        let wrong = basic("admin", "wrong");
        let headers = [("authorization", &*wrong), ("x-forwarded-for", &from)];
        for _ in 0..2 {
            server.http.form("/oauth2/token", &headers, "grant_type=client_credentials").await;
        }
    }
    assert!(server.process.stop().await.success());
    let log = server.process.log();
    let warnings = log.iter().filter(|line| line["peer"].is_string() && line["limit"] == 1).count();
    let counted = log.iter().filter(|line| line["message"] == "dropped repeated log lines");
    let counted: u64 = counted
        .filter(|line| line["like"].as_str().unwrap().contains("throttled an address"))
        .map(|line| line["lines"].as_u64().unwrap())
        .sum();
    assert!((280..=300).contains(&(warnings as u64 + counted)), "{warnings} + {counted}");
    assert!(warnings < 250, "{warnings}");
}
