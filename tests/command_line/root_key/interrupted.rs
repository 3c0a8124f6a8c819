//! Rotations that fail or are killed halfway.

use std::{process::Stdio, time::Duration};

use serde_json::json;

use super::{is, lines, rotate, run_on, verified_ledger, versions, write_lines};
use crate::{
    command_line::fails,
    faults::disk::{EIO, Faulty},
    support::{
        Server, gatekey, is_long_run,
        random::{Random, seed},
    },
};

/// Everything stays valid until then.
#[tokio::test]
async fn a_refused_rotation_is_completed_later() {
    let mut faulty = Faulty::with("data/gatekey.db", &[]).await;
    let server = &mut faulty.server;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    faulty.fail(&["write"], EIO);
    assert!(fails(&run_on(&data_dir, &["root-key", "rotate"]), 1).contains("unavailable"));
    assert!(lines(&data_dir)[0].ends_with(" pending"));
    faulty.server.serves(&key, &token).await;
    // The rotation fails between file and store.
    faulty.server.process.kill();
    faulty.repair();
    faulty.server.kill_and_restart();
    let server = &faulty.server;
    server.serves(&key, &token).await;
    assert_eq!(versions(&data_dir), [(2, is("not_in_use", 0)), (1, is("in_use", 2))].into());
    assert_eq!(
        rotate(&data_dir),
        json!({ "version": 2, "was_begun": true, "still_pending": false })
    );
    assert!(!lines(&data_dir)[0].ends_with(" pending"));
    assert_eq!(versions(&data_dir)[&2], is("in_use", 0));
    server.serves(&key, &token).await;
    verified_ledger(&data_dir);
}

/// A rotation that is refused, but takes effect: as in `faults::disk`, a commit whose sync fails is
/// durable once the log is read again.
async fn rotate_without_result(faulty: &Faulty) {
    faulty.fail(&["sync"], EIO);
    fails(&run_on(&faulty.server.process.data_dir, &["root-key", "rotate"]), 1);
    faulty.fail(&["read"], EIO);
    assert_eq!(faulty.call("Get", &json!({ "clientId": "admin" })).await.status, 503);
    faulty.repair();
}

#[tokio::test]
async fn a_late_commit_completes_the_rotation() {
    let faulty = Faulty::with("data/gatekey.db", &[]).await;
    let server = &faulty.server;
    let data_dir = server.process.data_dir.clone();
    let patch = json!({ "apiKey": { "clientId": "admin", "clientName": "new" }, "updateMask": "clientName" });
    server.admin_call("Update", patch).await;
    rotate_without_result(&faulty).await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    assert_eq!(versions(&data_dir)[&2].0, "in_use");
    verified_ledger(&data_dir);
    assert_eq!(rotate(&data_dir)["was_begun"], true);
    assert_eq!(versions(&data_dir).into_keys().collect::<Vec<_>>(), [1, 2]);
    server.serves(&key, &token).await;
    server.serves(&server.admin, &server.admin_token).await;
    verified_ledger(&data_dir);
}

/// The store decides even if the result of a rotation was lost.
#[tokio::test]
async fn retiring_follows_the_stores_version() {
    let faulty = Faulty::with("data/gatekey.db", &[]).await;
    let server = &faulty.server;
    let data_dir = server.process.data_dir.clone();
    rotate_without_result(&faulty).await;
    let key = server.create_key("ci").await;
    assert!(
        !run_on(&data_dir, &["root-key", "retire", "1"]).status.success(),
        "the secrets of both keys need it"
    );
    for key in [&key, &server.admin] {
        assert_eq!(server.http.token(key, &[]).await.status, 200);
    }
    assert!(
        run_on(&data_dir, &["root-key", "retire", "1"]).status.success(),
        "both secrets were used since"
    );
    assert_eq!(versions(&data_dir)[&1].0, "retired");
    let token = server.process.token(&key).await;
    server.serves(&key, &token).await;
    verified_ledger(&data_dir);
}

#[tokio::test]
async fn a_pending_file_is_completed_at_startup() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    rotate(&data_dir);
    server.process.kill();
    let finished = lines(&data_dir);
    let left = [&*format!("{} pending", finished[0]), &finished[1]];
    write_lines(&data_dir, &left);
    // Rotating again completes the same rotation.
    assert_eq!(
        rotate(&data_dir),
        json!({ "version": 2, "was_begun": true, "still_pending": false })
    );
    assert_eq!(lines(&data_dir), finished);
    write_lines(&data_dir, &left);
    server.kill_and_restart();
    assert_eq!(lines(&data_dir), finished);
    server.serves(&server.admin, &server.admin_token).await;
}

/// Number of processes that are killed while they rotate.
const KILLS: u64 = 24;
/// The latest time after the start to kill; opening a data directory and rotating takes less.
const WITHIN_MICROS: u64 = 60_000;

#[tokio::test]
async fn a_killed_rotation_can_be_repeated() {
    let mut random = Random(seed());
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let (mut begun, mut versions_before) = (0, 1);
    for round in 0..if is_long_run() { 20 * KILLS } else { KILLS } {
        // Every other time, the server rotates and is killed.
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
        // No event marks the middle of a rotation.
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
        assert!(
            (versions_before..=versions_before + 1).contains(&newest),
            "one rotation creates one version"
        );
        if lines(&data_dir)[0].ends_with(" pending") {
            assert_eq!(rotate(&data_dir)["version"], newest);
        }
        versions_before = newest;
        assert_eq!(versions(&data_dir)[&newest].0, "in_use");
        server.serves(&key, &token).await;
        verified_ledger(&data_dir);
    }
    println!("{begun} were killed between file and file; {versions_before} versions");
    assert!(versions_before > 1, "no rotation succeeded");
}
