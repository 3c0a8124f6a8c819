//! `gatekey ledger`.

use std::{
    fs,
    io::{BufRead as _, BufReader, Lines},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, ChildStdout, Output, Stdio},
};

use serde_json::{Value, json};

use super::{fails, json, json_lines, stdout, tamper, value_of};
use crate::support::{Server, gatekey, run};

fn ledger(data_dir: &Path, words: &[&str]) -> Output {
    run(&[&["ledger"], words, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

fn listed(data_dir: &Path, flags: &[&str]) -> Vec<Value> {
    json_lines(&ledger(data_dir, &[&["list", "--output", "json"], flags].concat()))
}

/// A server that has deleted a key for a client with a user agent, and refused another call.
async fn eventful() -> Server {
    let server = Server::with_public_url().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let refused =
        server.http.connect_json("/cloudidl.identity.AppsService/List", &token, &json!({})).await;
    assert_eq!(refused.status, 403);
    let bearer = format!("Bearer {}", server.admin_token);
    let headers = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("user-agent", "an editor/1"),
        ("x-request-id", "the-deletion"),
    ];
    let body = json!({ "clientId": "ci" }).to_string();
    let deleted = server
        .http
        .send(http::Method::POST, "/gatekey.v1.ApiKeyService/Delete", &headers, body)
        .await;
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    server
}

fn assert_eventful(entries: &[Value]) {
    let deletion = entries.last().unwrap();
    assert!(deletion["actor"].as_str().unwrap().starts_with("key:admin/"), "{deletion}");
    assert_eq!(deletion["sequence"], entries.len());
    assert_eq!(
        (&deletion["action"], &deletion["target"]),
        (&json!("api_key.delete"), &json!("ci"))
    );
    assert_eq!(
        (&deletion["address"], &deletion["client"]),
        (&json!("127.0.0.1"), &json!("an editor/1"))
    );
    assert_eq!(
        (&deletion["outcome"], &deletion["request_id"]),
        (&json!("done"), &json!("the-deletion"))
    );
    assert!(humantime::parse_rfc3339(deletion["at"].as_str().unwrap()).is_ok(), "{deletion}");
    assert_eq!(deletion["link"].as_str().unwrap().len(), 64);
    let refusal = &entries[entries.len() - 2];
    assert!(refusal["actor"].as_str().unwrap().starts_with("key:ci/"), "{refusal}");
    assert_eq!(refusal["outcome"], "refused");
    assert_eq!(refusal["target"], "/cloudidl.identity.AppsService/List");
    assert!(refusal["detail"].as_str().unwrap().contains("role admin"), "{refusal}");
}

/// Covers actor, action, time, address and user agent.
#[tokio::test]
async fn ledger_list_prints_complete_entries() {
    let server = eventful().await;
    assert_eventful(&listed(&server.process.data_dir, &[]));
}

#[tokio::test]
async fn ledger_list_works_offline() {
    let mut server = eventful().await;
    let running = listed(&server.process.data_dir, &[]);
    assert!(server.process.stop().await.success());
    let stopped = listed(&server.process.data_dir, &[]);
    assert_eventful(&stopped);
    assert_eq!(running, stopped);
}

#[tokio::test]
async fn ledger_list_prints_a_table() {
    let server = eventful().await;
    let text = stdout(&ledger(&server.process.data_dir, &["list"]));
    let deletion = text.lines().last().unwrap();
    for part in ["api_key.delete", "ci", "done", "127.0.0.1", "an editor/1"] {
        assert!(deletion.contains(part), "{part}: {text}");
    }
    assert!(text.contains("this machine"), "{text}");
}

#[tokio::test]
async fn ledger_list_filters_by_key_and_count() {
    let server = eventful().await;
    server.create_key("other").await;
    let about = listed(&server.process.data_dir, &["--key", "ci"]);
    let actions: Vec<_> = about.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["api_key.create", "refuse", "api_key.delete"]);
    let newest = listed(&server.process.data_dir, &["--limit", "2"]);
    let targets: Vec<_> = newest.iter().map(|entry| entry["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["ci", "other"]);
    assert_eq!(listed(&server.process.data_dir, &["--key", "ci", "--limit", "1"]), about[2..]);
    assert_eq!(listed(&server.process.data_dir, &["--since", "0"]), [] as [Value; 0]);
    assert_eq!(listed(&server.process.data_dir, &["--since", "1h", "--limit", "2"]), newest);
}

#[tokio::test]
async fn ledger_verify_prints_the_logged_head() {
    let mut server = eventful().await;
    let entries = listed(&server.process.data_dir, &[]);
    let running = json(&ledger(&server.process.data_dir, &["verify", "--output", "json"]));
    assert_eq!(running["entries"], entries.len());
    assert!(server.process.stop().await.success());
    let text = stdout(&ledger(&server.process.data_dir, &["verify"]));
    assert!(text.contains(&format!("{} entries", entries.len())), "{text}");
    let log = server.process.log();
    let logged = log.iter().rfind(|line| line["message"] == "ledger head").unwrap();
    let head = format!("{}:{}", logged["sequence"], logged["link"].as_str().unwrap());
    assert_eq!(value_of(&text, "head"), head);
    assert_eq!(running["head"], head);
}

#[tokio::test]
async fn ledger_verify_names_the_first_broken_entry() {
    for (tampering, place) in [
        ("UPDATE ledger SET peer = '192.0.2.1' WHERE sequence = 3", 3),
        ("UPDATE ledger SET user_agent = 'nobody' WHERE sequence = 4", 4),
        ("DELETE FROM ledger WHERE sequence = 2", 3),
        ("UPDATE ledger SET link = x'00' WHERE sequence = 3", 3),
    ] {
        let mut server = eventful().await;
        assert!(server.process.stop().await.success());
        tamper(&server.process.data_dir, tampering);
        let stderr = fails(&ledger(&server.process.data_dir, &["verify"]), 8);
        assert!(stderr.contains(&format!("entry {place}")), "{tampering}: {stderr}");
        server.kill_and_restart();
        let stderr = fails(&ledger(&server.process.data_dir, &["verify"]), 8);
        assert!(stderr.contains(&format!("entry {place}")), "{tampering}, serving: {stderr}");
    }
}

#[tokio::test]
async fn a_kept_head_reveals_a_truncated_ledger() {
    let mut server = eventful().await;
    let verified = json(&ledger(&server.process.data_dir, &["verify", "--output", "json"]));
    let head = verified["head"].as_str().unwrap();
    server.create_key("later").await;
    stdout(&ledger(&server.process.data_dir, &["verify", "--known-head", head]));
    assert!(server.process.stop().await.success());
    tamper(&server.process.data_dir, "DELETE FROM ledger WHERE sequence > 2");
    let stderr = fails(&ledger(&server.process.data_dir, &["verify"]), 8);
    assert!(stderr.contains("ends at entry 2, but the state belongs to entry"), "{stderr}");
    let stderr = fails(&ledger(&server.process.data_dir, &["verify", "--known-head", head]), 8);
    assert!(stderr.contains("ends at entry 2"), "{stderr}");
}

#[tokio::test]
async fn ledger_export_writes_a_private_file() {
    let server = eventful().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ledger.jsonl");
    let path = file.to_str().unwrap();
    stdout(&ledger(&server.process.data_dir, &["export", path]));
    let text = fs::read_to_string(&file).unwrap();
    let entries: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eventful(&entries);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(json_lines(&ledger(&server.process.data_dir, &["export"])), entries);
    let rest = json_lines(&ledger(&server.process.data_dir, &["export", "--after", "2"]));
    assert_eq!(rest, entries[2..]);

    let stderr = fails(&ledger(&server.process.data_dir, &["export", path]), 2);
    assert!(stderr.contains("already exists"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left behind");
}

#[tokio::test]
async fn a_long_ledger_is_listed_completely() {
    let server = Server::start().await;
    for _ in 0..1100 {
        server.admin_call("Enable", json!({ "clientId": "admin" })).await;
    }
    let entries = json_lines(&ledger(&server.process.data_dir, &["export"]));
    let sequences: Vec<_> =
        entries.iter().map(|entry| entry["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, (1..=1102).collect::<Vec<_>>());
    let newest = listed(&server.process.data_dir, &["--key", "admin", "--limit", "3"]);
    assert_eq!(newest, entries[1099..]);
}

#[test]
fn ledger_commands_create_no_database() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    for words in [["list"], ["verify"], ["export"]] {
        let stderr = fails(&ledger(&data_dir, &words), 2);
        assert!(stderr.contains("no Gatekey database"), "{stderr}");
    }
    assert!(!data_dir.exists());
}

/// `gatekey ledger follow`, and the entries that it prints.
struct Following {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Following {
    fn start(data_dir: &Path, flags: &[&str]) -> Self {
        let mut command = gatekey();
        command.args(["ledger", "follow", "--output", "json", "--data-dir"]).arg(data_dir);
        let mut child = command.args(flags).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for the entry of an action on a key.
    fn wait_for(&mut self, action: &str, target: &str) -> Value {
        let entries = self.lines.by_ref().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let mut entries = entries.filter(|entry: &Value| {
            (&entry["action"], &entry["target"]) == (&action.into(), &target.into())
        });
        entries.next().unwrap()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn ledger_follow_prints_each_entry() {
    let mut server = Server::with_public_url().await;
    server.create_key("first").await;
    let mut following = Following::start(&server.process.data_dir, &[]);
    let first = following.wait_for("api_key.create", "first");
    server.create_key("second").await;
    let second = following.wait_for("api_key.create", "second");
    assert_eq!(second["sequence"], first["sequence"].as_i64().unwrap() + 1);
    server.restart().await;
    server.admin_token = server.token(&server.admin).await;
    server.create_key("third").await;
    let third = following.wait_for("api_key.create", "third");
    assert!(third["sequence"].as_i64() > second["sequence"].as_i64());
    let listed = listed(&server.process.data_dir, &[]);
    assert!([first, second, third].iter().all(|entry| listed.contains(entry)));
}

#[tokio::test]
async fn ledger_follow_begins_where_asked() {
    let server = Server::start().await;
    for name in ["first", "second"] {
        server.create_key(name).await;
    }
    let entries = listed(&server.process.data_dir, &["--key", "first"]);
    let after = entries.last().unwrap()["sequence"].to_string();
    let mut following = Following::start(&server.process.data_dir, &["--after", &after]);
    let line = following.lines.next().unwrap().unwrap();
    let entry: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(entry["target"], "second");
    let mut following = Following::start(&server.process.data_dir, &["--key", "second"]);
    let line = following.lines.next().unwrap().unwrap();
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), entry);
}

#[test]
fn ledger_follow_needs_a_database() {
    let directory = tempfile::tempdir().unwrap();
    let output = ledger(directory.path(), &["follow"]);
    assert!(fails(&output, 2).contains("no Gatekey database"));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}
