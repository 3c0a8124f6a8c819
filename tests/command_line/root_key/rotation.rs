//! Rotating the root key, rehashing secrets, and retiring old versions.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use serde_json::json;

use super::{is, lines, rotate, run_on, verified_ledger, versions, write_lines};
use crate::{
    command_line::{fails, stdout},
    support::{Server, eventually},
};

/// The result is the same after a restart.
#[tokio::test]
async fn a_root_key_rotation_keeps_credentials_valid() {
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

/// New secrets are hashed under the newest version.
#[tokio::test]
async fn secrets_are_rehashed_when_used() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let (used, _idle) = (server.create_key("used").await, server.create_key("idle").await);
    assert_eq!(versions(&data_dir), [(1, is("in_use", 3))].into());
    rotate(&data_dir);
    assert_eq!(versions(&data_dir), [(2, is("in_use", 0)), (1, is("older", 3))].into());
    server.create_key("new").await;
    assert_eq!(versions(&data_dir), [(2, is("in_use", 1)), (1, is("older", 3))].into());
    let token = server.token(&used).await;
    // Uses are written at shutdown at the latest.
    server.restart().await;
    assert_eq!(versions(&data_dir), [(2, is("in_use", 2)), (1, is("older", 2))].into());
    server.serves(&used, &token).await;
    let entry =
        server.ledger().await.into_iter().find(|entry| entry.action == "root_key.rehash_secrets");
    let entry = entry.unwrap();
    assert_eq!((&*entry.actor, &*entry.target, &*entry.detail), ("server", "2", "secrets=1"));
}

#[tokio::test]
async fn a_used_secret_is_rehashed_while_serving() {
    let server = Server::with_public_url().await;
    rotate(&server.process.data_dir);
    server.token(&server.admin).await;
    eventually("the secret is hashed under version 2", async || {
        versions(&server.process.data_dir)[&1] == is("older", 0)
    })
    .await;
    server.serves(&server.admin, &server.admin_token).await;
}

/// A retired version never comes back.
#[tokio::test]
async fn a_needed_version_cannot_be_retired() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let (idle, _) = (server.create_key("idle").await, server.create_key("off").await);
    rotate(&data_dir);
    let retire = |version: &str| run_on(&data_dir, &["root-key", "retire", version]);
    assert!(fails(&retire("2"), 2).contains("in use"));
    assert!(fails(&retire("3"), 3).contains("knows no version 3"));
    server.token(&key).await;
    server.token(&server.admin).await;
    server.admin_call("Disable", json!({ "clientId": "off" })).await;
    // A disabled key still needs its version: it may be enabled again.
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
        let actions: Vec<_> =
            verified_ledger(&data_dir).into_iter().map(|entry| entry["action"].clone()).collect();
        let retired = actions.iter().filter(|action| *action == "root_key.retire").count();
        assert_eq!(retired, 1, "{actions:?}");
        server.restart().await;
    }
    // Restoring the old line does not restore the version, and its key hashes nothing.
    write_lines(&data_dir, &[&before[0], &before[1]]);
    server.restart().await;
    assert_eq!(versions(&data_dir)[&1], is("retired", 0));
    assert_eq!(rotate(&data_dir)["version"], 3);
    server.serves(&key, &token).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_during_a_rotation() {
    let server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let crowd: Vec<_> = (0..4)
        .map(|number| {
            let (http, key, token) = (server.process.http(), key.clone(), token.clone());
            let (admin_token, done, answered) =
                (server.admin_token.clone(), done.clone(), answered.clone());
            tokio::spawn(async move {
                let mut made = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let fetched = http.token(&key, &[]).await;
                    assert_eq!(fetched.status, 200, "{}", fetched.text());
                    let me =
                        http.get("/me", &[("authorization", &format!("Bearer {token}"))]).await;
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
        eventually("requests continue", async || answered.load(Ordering::Relaxed) > before).await;
    }
    done.store(true, Ordering::Relaxed);
    for worker in crowd {
        for made in worker.await.unwrap() {
            assert_eq!(server.http.token(&made, &[]).await.status, 200, "{}", made.client_id);
        }
    }
    verified_ledger(&data_dir);
}

#[tokio::test]
async fn page_tokens_survive_a_rotation() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let page = server.admin_call("List", json!({ "pageSize": 1 })).await;
    rotate(&server.process.data_dir);
    let body = json!({ "pageSize": 1, "pageToken": page["nextPageToken"] });
    let next = server.admin_call("List", body).await;
    assert_eq!(next["apiKeys"][0]["clientId"], "ci");
}

#[tokio::test]
async fn root_key_list_prints_versions_and_needs() {
    let server = Server::start().await;
    let rotated = stdout(&run_on(&server.process.data_dir, &["root-key", "rotate"]));
    assert!(rotated.contains("version 2 of the root key is in use"), "{rotated}");
    let text = stdout(&run_on(&server.process.data_dir, &["root-key", "list"]));
    let rows: Vec<Vec<_>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..4], ["VERSION", "STATE", "SINCE", "SECRETS"]);
    assert_eq!(rows[1][..3], ["2", "in", "use"]);
    assert_eq!(rows[2][..2], ["1", "older"]);
    assert_eq!(rows[2][rows[2].len() - 2..], ["1", "yes"], "a secret, in the file");
}
