//! `gatekey root-key`: another root key, with every secret and token as valid as before.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use gatekey_core::{RootKey, Timestamp, ledger::NewEntry};
use serde_json::{Value, json};

use crate::{command_line::{fails, json, json_lines, stdout, tamper}, faults::disk::{EIO, EROFS, Faulty}, support::{random::{Random, seed}, Credentials, ServerProcess, gatekey, is_long_run, run, PUBLIC_URL, Server, decoded, eventually}};

/// Runs `gatekey root-key`, or another command on a data directory.
fn on(data_dir: &Path, words: &[&str]) -> Output {
    run(&[words, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

/// Rotates, and gives what was said.
fn rotate(data_dir: &Path) -> Value {
    json(&on(data_dir, &["root-key", "rotate", "--output", "json"]))
}

/// State and count of secrets of each version.
fn versions(data_dir: &Path) -> BTreeMap<u64, (String, u64)> {
    let listed = json(&on(data_dir, &["root-key", "list", "--output", "json"]));
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

/// Every entry of the ledger, once it verifies.
fn ledger(data_dir: &Path) -> Vec<Value> {
    stdout(&on(data_dir, &["ledger", "verify"]));
    json_lines(&on(data_dir, &["ledger", "export"]))
}

/// A copy of a data directory that nobody uses.
fn copied(data_dir: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["gatekey.db", "gatekey.db-wal", "root.key", "server.json"] {
        if data_dir.join(name).exists() {
            fs::copy(data_dir.join(name), to.join(name)).unwrap();
        }
    }
}

/// Writes lines to the file of the root key.
fn put_lines(data_dir: &Path, lines: &[&str]) {
    fs::write(key_file(data_dir), lines.join("\n") + "\n").unwrap();
}

impl Server {
    /// Asserts that a secret and a token from before are as valid as ever.
    async fn serves(&self, key: &Credentials, token: &str) {
        assert!(self.accepts(token).await, "a token from before");
        let fresh = self.token(key).await;
        assert!(self.accepts(&fresh).await);
        assert_eq!(decoded(&fresh).0["kid"], decoded(token).0["kid"], "the same signing key");
        let wrong = gatekey_credentials::Secret::from_random(&[9; 23]).expose().to_owned();
        let wrong = Credentials { client_secret: wrong, ..key.clone() };
        assert_eq!(self.http.token(&wrong, &[]).await.status, 401);
    }
}

#[tokio::test]
async fn secrets_and_tokens_from_before_a_rotation_are_valid_after_it_and_after_a_restart() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let ca = fs::read(server.process.ca_file()).unwrap();
    let rotated = rotate(&data_dir);
    assert_eq!(rotated, json!({ "version": 2, "was_begun": false, "still_pending": false }));
    server.serves(&key, &token).await;
    server.restart().await;
    server.serves(&key, &token).await;
    assert_eq!(fs::read(server.process.ca_file()).unwrap(), ca, "the private CA is the same");
    rotate(&data_dir);
    server.kill_and_restart();
    server.serves(&key, &token).await;
}

#[tokio::test]
async fn an_offline_root_key_rotation_applies_at_startup() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    assert!(server.process.stop().await.success());
    assert_eq!(rotate(&data_dir)["version"], 2);
    server.kill_and_restart();
    server.serves(&key, &token).await;
    assert_eq!(versions(&data_dir).into_keys().collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn new_secrets_are_hashed_under_the_newest_version_and_old_ones_once_they_are_used() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let (used, _idle) = (server.create_key("used").await, server.create_key("idle").await);
    assert_eq!(versions(&data_dir), [(1, is("in_use", 3))].into());
    rotate(&data_dir);
    assert_eq!(versions(&data_dir), [(2, is("in_use", 0)), (1, is("older", 3))].into());
    server.create_key("new").await;
    assert_eq!(versions(&data_dir), [(2, is("in_use", 1)), (1, is("older", 3))].into());
    let token = server.token(&used).await;
    // What is noted is written at the end at the latest.
    server.restart().await;
    assert_eq!(versions(&data_dir), [(2, is("in_use", 2)), (1, is("older", 2))].into());
    server.serves(&used, &token).await;
    let entry = server.ledger().await.into_iter().find(|entry| entry.action == "root_key.rehash_secrets");
    let entry = entry.unwrap();
    assert_eq!((&*entry.actor, &*entry.target, &*entry.detail), ("server", "2", "secrets=1"));
}

#[tokio::test]
async fn a_used_secret_follows_while_the_server_runs() {
    let server = Server::with_public_url().await;
    rotate(&server.process.data_dir);
    server.token(&server.admin).await;
    eventually("the secret is hashed under version 2", async || {
        versions(&server.process.data_dir)[&1] == is("older", 0)
    })
    .await;
    server.serves(&server.admin, &server.admin_token).await;
}

#[tokio::test]
async fn an_old_version_is_retired_only_when_no_secret_needs_it_and_is_then_gone_for_good() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let (idle, _) = (server.create_key("idle").await, server.create_key("off").await);
    rotate(&data_dir);
    let retire = |version: &str| on(&data_dir, &["root-key", "retire", version]);
    assert!(fails(&retire("2"), 2).contains("in use"));
    assert!(fails(&retire("3"), 3).contains("knows no version 3"));
    server.token(&key).await;
    server.token(&server.admin).await;
    server.admin_call("Disable", json!({ "clientId": "off" })).await;
    // A disabled key may be enabled again.
    let refused = fails(&retire("1"), 2);
    assert!(refused.contains("2 secret(s)") && refused.contains("idle, off"), "{refused}");
    server.admin_call("Delete", json!({ "clientId": "off" })).await;
    let rotated = server.rotate(&idle, json!({})).await;
    let before = lines(&data_dir);
    stdout(&retire("1"));
    assert_eq!(lines(&data_dir), before[..1]);
    assert_eq!(versions(&data_dir), [(2, is("in_use", 3)), (1, is("retired", 0))].into());
    stdout(&retire("1"));
    for _ in 0..2 {
        server.serves(&key, &token).await;
        server.serves(&rotated, &token).await;
        let actions: Vec<_> = ledger(&data_dir).into_iter().map(|entry| entry["action"].clone()).collect();
        let retired = actions.iter().filter(|action| *action == "root_key.retire").count();
        assert_eq!(retired, 1, "{actions:?}");
        server.restart().await;
    }
    // With the old line put back the version stays retired, and its key hashes nothing.
    put_lines(&data_dir, &[&before[0], &before[1]]);
    server.restart().await;
    assert_eq!(versions(&data_dir)[&1], is("retired", 0));
    assert_eq!(rotate(&data_dir)["version"], 3);
    server.serves(&key, &token).await;
}

#[tokio::test]
async fn a_rotation_is_entered_and_the_ledger_verifies_over_it() {
    let server = Server::with_public_url().await;
    let data_dir = &server.process.data_dir;
    rotate(data_dir);
    server.create_key("ci").await;
    rotate(data_dir);
    let entries = ledger(data_dir);
    let of = |entry: &Value| {
        (entry["action"].as_str().unwrap().to_owned(), entry["root_key_version"].as_u64().unwrap())
    };
    let written: Vec<_> = entries.iter().map(of).collect();
    let expected = [
        ("signing_key.rotate", 1),
        ("api_key.create", 1),
        ("root_key.rotate", 2),
        ("api_key.create", 2),
        ("root_key.rotate", 3),
    ];
    assert_eq!(written, expected.map(|(action, version)| (action.to_owned(), version)));
    let rotation = &entries[2];
    assert_eq!((&rotation["target"], &rotation["detail"]), (&json!("2"), &json!("after=1")));
    assert!(rotation["actor"].as_str().unwrap().starts_with("local:uid="), "{rotation}");
}

#[tokio::test]
async fn a_changed_entry_is_found_on_either_side_of_a_rotation() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    server.create_key("before").await;
    rotate(&data_dir);
    server.create_key("after").await;
    assert!(server.process.stop().await.success());
    let shelf = tempfile::tempdir().unwrap();
    for (number, (tampering, place)) in [
        ("UPDATE ledger SET target = 'other' WHERE sequence = 3", 3),
        ("UPDATE ledger SET target = 'other' WHERE sequence = 5", 5),
        ("UPDATE ledger SET root_key_version = 2 WHERE sequence = 3", 3),
        ("UPDATE ledger SET root_key_version = 1 WHERE sequence = 5", 5),
        ("UPDATE ledger SET root_key_version = 9 WHERE sequence = 5", 5),
    ]
    .into_iter()
    .enumerate()
    {
        let copy = shelf.path().join(number.to_string());
        copied(&data_dir, &copy);
        tamper(&copy, tampering);
        let stderr = fails(&on(&copy, &["ledger", "verify"]), 8);
        assert!(stderr.contains(&format!("broken at entry {place}")), "{tampering}: {stderr}");
        assert_eq!(on(&copy, &["doctor"]).status.code(), Some(8), "{tampering}");
    }
}

/// An entry that follows the head of a database, linked by hand under a root key.
fn forge(data_dir: &Path, root_key: &RootKey, target: &str) {
    let database = rusqlite::Connection::open(data_dir.join("gatekey.db")).unwrap();
    let (sequence, previous): (i64, [u8; 32]) = database
        .query_row("SELECT sequence, link FROM ledger ORDER BY sequence DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    let entry = NewEntry {
        at: Timestamp::from_micros(0),
        actor: "server".to_owned(),
        action: "api_key.create".to_owned(),
        target: target.to_owned(),
        detail: String::new(),
        request_id: String::new(),
        peer: String::new(),
        user_agent: String::new(),
    };
    let link = root_key.ledger_keys().newest().link(&previous, &entry.canonical(sequence + 1));
    let row = (sequence + 1, "server", "api_key.create", target, link, 1);
    let inserted = database.execute(
        "INSERT INTO ledger (sequence, at, actor, action, target, detail, request_id, peer, user_agent, link,
             root_key_version) VALUES (?1, 0, ?2, ?3, ?4, '', '', '', '', ?5, ?6)",
        row,
    );
    assert_eq!(inserted, Ok(1));
}

#[tokio::test]
async fn who_knows_an_old_root_key_cannot_go_on_with_the_ledger() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let old = crate::support::root_key(&data_dir);
    rotate(&data_dir);
    assert!(server.process.stop().await.success());
    let shelf = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let copy = shelf.path().join(name);
        copied(&data_dir, &copy);
        copy
    };

    let appended = copy("appended");
    forge(&appended, &old, "forged");
    let stderr = fails(&on(&appended, &["ledger", "verify"]), 8);
    assert!(stderr.contains("broken at entry 4"), "{stderr}");

    // What was entered since is cut off, and other things are entered.
    let replaced = copy("replaced");
    tamper(&replaced, "DELETE FROM ledger WHERE sequence >= 3");
    forge(&replaced, &old, "forged");
    let stderr = fails(&on(&replaced, &["ledger", "verify"]), 8);
    assert!(stderr.contains("ends at entry 3 under version 1"), "{stderr}");

    // The same, and nothing in the database tells of the rotation any more.
    let undone = copy("undone");
    tamper(
        &undone,
        "DELETE FROM ledger WHERE sequence >= 3; DELETE FROM root_key WHERE version = 2;
         UPDATE root_key SET ledger_key = NULL; UPDATE secret SET pepper_version = 1",
    );
    forge(&undone, &old, "forged");
    let stderr = fails(&on(&undone, &["ledger", "verify"]), 1);
    assert!(stderr.contains("it is from before the rotation"), "{stderr}");
    let served = on(&undone, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(fails(&served, 1).contains("does not know version 2 of the root key"));
    assert_eq!(on(&undone, &["doctor"]).status.code(), Some(8));
}

#[tokio::test]
async fn an_older_database_is_taken_up_by_who_says_so() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    assert!(server.process.stop().await.success());
    let shelf = tempfile::tempdir().unwrap();
    let older = shelf.path().join("older");
    copied(&data_dir, &older);
    rotate(&data_dir);
    fs::copy(key_file(&data_dir), key_file(&older)).unwrap();
    assert!(fails(&on(&older, &["root-key", "list"]), 1).contains("gatekey root-key rotate"));
    assert_eq!(rotate(&older)["was_begun"], true);
    assert_eq!(versions(&older), versions(&data_dir));
    let process = ServerProcess::start_on(&older, &["--public-url", PUBLIC_URL]);
    assert_eq!(process.http().token(&server.admin, &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_is_refused_while_the_root_key_is_rotated() {
    let server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let crowd: Vec<_> = (0..4)
        .map(|number| {
            let (http, key, token) = (server.process.http(), key.clone(), token.clone());
            let (admin_token, done, answered) = (server.admin_token.clone(), done.clone(), answered.clone());
            tokio::spawn(async move {
                let mut made = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let fetched = http.token(&key, &[]).await;
                    assert_eq!(fetched.status, 200, "{}", fetched.text());
                    let me = http.get("/me", &[("authorization", &format!("Bearer {token}"))]).await;
                    assert_eq!(me.status, 200, "{}", me.text());
                    let name = format!("key-{number}-{}", made.len());
                    let created = http.create(&admin_token, &name).await;
                    assert_eq!(http.token(&created, &[]).await.status, 200, "{name}");
                    made.push(created);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                made
            })
        })
        .collect();
    for version in 2..6 {
        let before = answered.load(Ordering::Relaxed);
        let data_dir = data_dir.clone();
        let rotated = tokio::task::spawn_blocking(move || rotate(&data_dir)).await.unwrap();
        assert_eq!(rotated["version"], version);
        eventually("the crowd goes on", async || answered.load(Ordering::Relaxed) > before).await;
    }
    done.store(true, Ordering::Relaxed);
    for worker in crowd {
        for made in worker.await.unwrap() {
            assert_eq!(server.http.token(&made, &[]).await.status, 200, "{}", made.client_id);
        }
    }
    ledger(&data_dir);
}

#[tokio::test]
async fn a_list_that_began_before_a_rotation_goes_on_after_it() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let page = server.admin_call("List", json!({ "pageSize": 1 })).await;
    rotate(&server.process.data_dir);
    let body = json!({ "pageSize": 1, "pageToken": page["nextPageToken"] });
    let next = server.admin_call("List", body).await;
    assert_eq!(next["apiKeys"][0]["clientId"], "ci");
}

#[tokio::test]
async fn a_rotation_that_the_store_refused_leaves_everything_in_force_and_is_finished_later() {
    let mut faulty = Faulty::run_with("data/gatekey.db", &[]).await;
    let server = &mut faulty.server;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    faulty.fail(&["write"], EIO);
    assert!(fails(&on(&data_dir, &["root-key", "rotate"]), 1).contains("unavailable"));
    assert!(lines(&data_dir)[0].ends_with(" pending"));
    faulty.server.serves(&key, &token).await;
    // Between file and store.
    faulty.server.process.kill();
    faulty.mend();
    faulty.server.kill_and_restart();
    let server = &faulty.server;
    server.serves(&key, &token).await;
    assert_eq!(versions(&data_dir), [(2, is("not_in_use", 0)), (1, is("in_use", 2))].into());
    assert_eq!(rotate(&data_dir), json!({ "version": 2, "was_begun": true, "still_pending": false }));
    assert!(!lines(&data_dir)[0].ends_with(" pending"));
    assert_eq!(versions(&data_dir)[&2], is("in_use", 0));
    server.serves(&key, &token).await;
    ledger(&data_dir);
}

/// A rotation that is refused and made all the same: as in `faults`, a commit whose sync fails stands once the log is
/// read anew.
async fn rotation_whose_answer_is_lost(faulty: &Faulty) {
    faulty.fail(&["sync"], EIO);
    fails(&on(&faulty.server.process.data_dir, &["root-key", "rotate"]), 1);
    faulty.fail(&["read"], EIO);
    assert_eq!(faulty.own("Get", &json!({ "clientId": "admin" })).await.status, 503);
    faulty.mend();
}

#[tokio::test]
async fn a_rotation_whose_commit_surfaces_later_is_in_force_then() {
    let faulty = Faulty::run_with("data/gatekey.db", &[]).await;
    let server = &faulty.server;
    let data_dir = server.process.data_dir.clone();
    let patch = json!({ "apiKey": { "clientId": "admin", "clientName": "new" }, "updateMask": "clientName" });
    server.admin_call("Update", patch).await;
    rotation_whose_answer_is_lost(&faulty).await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    assert_eq!(versions(&data_dir)[&2].0, "in_use");
    ledger(&data_dir);
    assert_eq!(rotate(&data_dir)["was_begun"], true);
    assert_eq!(versions(&data_dir).into_keys().collect::<Vec<_>>(), [1, 2]);
    server.serves(&key, &token).await;
    server.serves(&server.admin, &server.admin_token).await;
    ledger(&data_dir);
}

#[tokio::test]
async fn what_is_retired_follows_the_store_also_where_the_answer_to_a_rotation_was_lost() {
    let faulty = Faulty::run_with("data/gatekey.db", &[]).await;
    let server = &faulty.server;
    let data_dir = server.process.data_dir.clone();
    rotation_whose_answer_is_lost(&faulty).await;
    let key = server.create_key("ci").await;
    assert!(!on(&data_dir, &["root-key", "retire", "1"]).status.success(), "both keys' secrets need it");
    for key in [&key, &server.admin] {
        assert_eq!(server.http.token(key, &[]).await.status, 200);
    }
    assert!(on(&data_dir, &["root-key", "retire", "1"]).status.success(), "both were used since");
    assert_eq!(versions(&data_dir)[&1].0, "retired");
    let token = server.process.token(&key).await;
    server.serves(&key, &token).await;
    ledger(&data_dir);
}

#[tokio::test]
async fn a_file_that_was_left_pending_after_the_store_had_followed_is_finished_at_the_next_start() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    rotate(&data_dir);
    server.process.kill();
    let finished = lines(&data_dir);
    let left = [&*format!("{} pending", finished[0]), &finished[1]];
    put_lines(&data_dir, &left);
    // Whoever rotates again means the same rotation.
    assert_eq!(rotate(&data_dir), json!({ "version": 2, "was_begun": true, "still_pending": false }));
    assert_eq!(lines(&data_dir), finished);
    put_lines(&data_dir, &left);
    server.kill_and_restart();
    assert_eq!(lines(&data_dir), finished);
    server.serves(&server.admin, &server.admin_token).await;
}

/// Processes that are killed while they rotate.
const KILLS: u64 = 24;
/// Within so much of their start: to open a data directory and rotate takes less.
const WITHIN_MICROS: u64 = 60_000;

#[tokio::test]
async fn a_rotation_that_is_killed_leaves_a_store_that_opens_and_a_rotation_that_can_be_repeated() {
    let mut random = Random(seed());
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let (mut begun, mut versions_before) = (0, 1);
    for round in 0..if is_long_run() { 20 * KILLS } else { KILLS } {
        // Every other time it is the server that rotates and is killed.
        let by_server = round % 2 == 1;
        if !by_server {
            server.process.kill();
        }
        let mut rotating = gatekey()
            .args(["root-key", "rotate", "--data-dir", data_dir.to_str().unwrap()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // No event says when a rotation is half done.
        tokio::time::sleep(Duration::from_micros(random.below(WITHIN_MICROS))).await;
        if by_server {
            server.process.kill();
        } else {
            rotating.kill().unwrap();
        }
        rotating.wait().unwrap();
        if lines(&data_dir)[0].ends_with(" pending") {
            begun += 1;
        }
        server.kill_and_restart();
        server.serves(&key, &token).await;
        let newest = lines(&data_dir).len() as u64;
        assert!((versions_before..=versions_before + 1).contains(&newest), "one rotation makes one version");
        if lines(&data_dir)[0].ends_with(" pending") {
            assert_eq!(rotate(&data_dir)["version"], newest);
        }
        versions_before = newest;
        assert_eq!(versions(&data_dir)[&newest].0, "in_use");
        server.serves(&key, &token).await;
        ledger(&data_dir);
    }
    println!("{begun} were killed between file and file; {versions_before} versions");
    assert!(versions_before > 1, "no rotation was made at all");
}

#[tokio::test]
async fn a_backup_from_before_a_rotation_is_restored_with_the_new_file() {
    let server = Server::with_public_url().await;
    let data_dir = &server.process.data_dir;
    let key = server.create_key("ci").await;
    let shelf = tempfile::tempdir().unwrap();
    let path = |name: &str| shelf.path().join(name).to_str().unwrap().to_owned();
    stdout(&on(data_dir, &["backup", &path("before")]));
    fs::copy(key_file(data_dir), path("old.key")).unwrap();
    rotate(data_dir);
    stdout(&on(data_dir, &["backup", &path("after")]));
    let header = |name: &str| {
        let text = fs::read(path(name)).unwrap();
        let line = text.split(|byte| *byte == b'\n').nth(1).unwrap();
        serde_json::from_slice::<Value>(line).unwrap()["root_key_version"].clone()
    };
    assert_eq!((header("before"), header("after")), (json!(1), json!(2)));

    let root_key = key_file(data_dir).to_str().unwrap().to_owned();
    let before = lines(data_dir);
    for name in ["before", "after"] {
        let new = path(&format!("{name}-restored"));
        stdout(&run(&["restore", &path(name), "--data-dir", &new, "--root-key-file", &root_key]));
        let flags = ["--public-url", PUBLIC_URL, "--root-key-file", &*root_key];
        let process = ServerProcess::start_on(Path::new(&new), &flags);
        assert_eq!(process.http().token(&key, &[]).await.status, 200, "{name}");
        let bearer = format!("Bearer {}", server.admin_token);
        assert_eq!(process.http().get("/me", &[("authorization", &bearer)]).await.status, 401);
        let verify = ["ledger", "verify", "--data-dir", &new, "--root-key-file", &root_key];
        stdout(&run(&verify));
        let list = ["root-key", "list", "--data-dir", &new, "--root-key-file", &root_key, "--output", "json"];
        assert_eq!(json(&run(&list))[0]["state"], "in_use");
    }
    assert_eq!(lines(data_dir), before, "to restore changes nothing of the file");

    let new = path("refused");
    let refused =
        fails(&run(&["restore", &path("after"), "--data-dir", &new, "--root-key-file", &path("old.key")]), 2);
    assert!(refused.contains("version 2 of the root key"), "{refused}");
    // It opens, and what is in it needs more.
    fs::write(path("new.key"), format!("{}\n", before[0])).unwrap();
    fs::set_permissions(path("new.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let refused =
        fails(&run(&["restore", &path("after"), "--data-dir", &new, "--root-key-file", &path("new.key")]), 2);
    assert!(refused.contains("version 1 of the root key is missing"), "{refused}");
    assert!(!Path::new(&new).exists());
}

#[tokio::test]
async fn a_file_that_lacks_a_version_in_use_is_refused_and_the_version_named() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let old = lines(&data_dir);
    rotate(&data_dir);
    let both = lines(&data_dir);
    assert!(server.process.stop().await.success());
    let stranger = "gatekey-root-key-2:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    for (lines, expected) in [
        (vec![&*both[0]], "version 1 of the root key is missing"),
        (vec![&*old[0]], "version 2 of the root key is missing"),
        (vec![stranger, &both[1]], "version 2 of the root key is another one"),
    ] {
        put_lines(&data_dir, &lines);
        for words in [&["serve", "--listen", "127.0.0.1:0"][..], &["root-key", "rotate"]] {
            let refused = fails(&on(&data_dir, words), 1);
            assert!(refused.contains(expected), "{words:?}: {refused}");
        }
        assert_eq!(fs::read_to_string(key_file(&data_dir)).unwrap().lines().collect::<Vec<_>>(), lines);
        let doctor = on(&data_dir, &["doctor"]);
        assert_eq!(doctor.status.code(), Some(8));
        assert!(String::from_utf8_lossy(&doctor.stdout).contains(expected));
    }
    put_lines(&data_dir, &[&both[0], &both[1]]);
    server.kill_and_restart();
    server.serves(&server.admin, &server.admin_token).await;
}

#[tokio::test]
async fn the_file_keeps_its_permissions_and_its_place_behind_a_link() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    assert!(server.process.stop().await.success());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().join("real.key");
    fs::rename(key_file(&data_dir), &real).unwrap();
    symlink(&real, key_file(&data_dir)).unwrap();
    for kept in [0o600, 0o400] {
        fs::set_permissions(&real, fs::Permissions::from_mode(kept)).unwrap();
        rotate(&data_dir);
        assert_eq!(mode(&real), kept);
    }
    // What a killed process left, and what only looks like it.
    for name in ["real.key.0123456789abcdef0123456789abcdef.new", "real.key.old"] {
        fs::write(elsewhere.path().join(name), "").unwrap();
    }
    rotate(&data_dir);
    assert!(fs::symlink_metadata(key_file(&data_dir)).unwrap().is_symlink());
    assert_eq!(lines(&data_dir).len(), 4);
    let names = fs::read_dir(elsewhere.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.collect::<BTreeSet<_>>(), ["real.key".into(), "real.key.old".into()].into());
}

#[tokio::test]
async fn where_the_server_may_not_write_the_file_people_make_it_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let secrets = directory.path().join("secrets");
    fs::create_dir(&secrets).unwrap();
    let (root_key, new) = (secrets.join("root.key"), directory.path().join("new.key"));
    let flags = ["--root-key-file", root_key.to_str().unwrap()];
    let faulty = Faulty::start_in(directory, "secrets/", &flags).await;
    let server = &faulty.server;
    let data_dir = &server.process.data_dir;
    faulty.fail(&["open"], EROFS);
    let before = fs::read(&root_key).unwrap();
    let refused = fails(&on(data_dir, &["root-key", "rotate"]), 1);
    let advice = format!("gatekey root-key new --root-key-file {} NEW", root_key.display());
    assert!(refused.contains(&advice) && refused.contains("Read-only"), "{refused}");
    assert_eq!(fs::read(&root_key).unwrap(), before);

    let words = ["root-key", "new", "--root-key-file", root_key.to_str().unwrap(), new.to_str().unwrap()];
    stdout(&run(&words));
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fails(&run(&words), 2).contains("will not be overwritten"));
    let again = ["root-key", "new", "--root-key-file", new.to_str().unwrap(), "another.key"];
    assert!(fails(&run(&again), 2).contains("already pending"));
    // As a mounted secret is brought up to date.
    fs::rename(&new, &root_key).unwrap();
    let rotated = on(data_dir, &["root-key", "rotate", "--output", "json"]);
    assert_eq!(json(&rotated), json!({ "version": 2, "was_begun": true, "still_pending": true }));
    assert!(String::from_utf8_lossy(&rotated.stderr).contains("remove the word pending by hand"));
    server.serves(&server.admin, &server.admin_token).await;
    let text = fs::read_to_string(&root_key).unwrap();
    fs::write(&root_key, text.replace(" pending", "")).unwrap();
    assert_eq!(versions(data_dir)[&2].0, "in_use");

    server.token(&server.admin).await;
    let retired = on(data_dir, &["root-key", "retire", "1"]);
    stdout(&retired);
    assert!(String::from_utf8_lossy(&retired.stderr).contains("remove the line gatekey-root-key-1:"));
}

#[tokio::test]
async fn a_database_from_before_there_were_versions_is_taken_up_as_it_is() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    assert!(server.process.stop().await.success());
    let unversion =
        "DROP TABLE root_key; ALTER TABLE ledger DROP COLUMN root_key_version; PRAGMA user_version = 1";
    rusqlite::Connection::open(data_dir.join("gatekey.db")).unwrap().execute_batch(unversion).unwrap();
    // Looked at without being changed.
    stdout(&on(&data_dir, &["doctor"]));
    let right = lines(&data_dir);
    put_lines(&data_dir, &["gatekey-root-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]);
    let refused = fails(&on(&data_dir, &["root-key", "list"]), 1);
    assert!(refused.contains("root key that belongs to the data directory"), "{refused}");
    put_lines(&data_dir, &[&right[0]]);
    server.kill_and_restart();
    server.serves(&server.admin, &server.admin_token).await;
    rotate(&data_dir);
    server.serves(&server.admin, &server.admin_token).await;
    let entries = ledger(&data_dir);
    assert_eq!((&entries[0]["root_key_version"], &entries[2]["root_key_version"]), (&json!(1), &json!(2)));
}

#[tokio::test]
async fn people_read_which_versions_there_are_and_what_needs_them() {
    let server = Server::start().await;
    let rotated = stdout(&on(&server.process.data_dir, &["root-key", "rotate"]));
    assert!(rotated.contains("version 2 of the root key is in use"), "{rotated}");
    let text = stdout(&on(&server.process.data_dir, &["root-key", "list"]));
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["VERSION", "STATE", "SINCE", "SECRETS"]);
    assert_eq!(rows[1][..3], ["2", "in", "use"]);
    assert_eq!(rows[2][..2], ["1", "older"]);
    assert_eq!(rows[2][rows[2].len() - 2..], ["1", "yes"], "a secret, in the file");
}
