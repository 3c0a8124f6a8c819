//! The ledger before and after a rotation.

use std::{fs, path::Path};

use gatekey_core::{RootKey, Timestamp, ledger::NewEntry};
use serde_json::{Value, json};

use super::{copy_data_dir, key_file, rotate, run_on, verified_ledger, versions};
use crate::{
    command_line::{fails, tamper},
    support::{PUBLIC_URL, Server, ServerProcess},
};

/// The rotation has an entry.
#[tokio::test]
async fn the_ledger_verifies_across_a_rotation() {
    let server = Server::with_public_url().await;
    let data_dir = &server.process.data_dir;
    rotate(data_dir);
    server.create_key("ci").await;
    rotate(data_dir);
    let entries = verified_ledger(data_dir);
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
async fn tampering_is_found_on_both_sides() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    server.create_key("before").await;
    rotate(&data_dir);
    server.create_key("after").await;
    assert!(server.process.stop().await.success());
    let scratch = tempfile::tempdir().unwrap();
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
        let copy = scratch.path().join(number.to_string());
        copy_data_dir(&data_dir, &copy);
        tamper(&copy, tampering);
        let stderr = fails(&run_on(&copy, &["ledger", "verify"]), 8);
        assert!(stderr.contains(&format!("broken at entry {place}")), "{tampering}: {stderr}");
        assert_eq!(run_on(&copy, &["doctor"]).status.code(), Some(8), "{tampering}");
    }
}

/// Appends an entry to a database's ledger, linked under the given root key.
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
    let link =
        root_key.ledger_keys().newest().link(&previous, &entry.canonical(sequence + 1, None));
    let row = (sequence + 1, "server", "api_key.create", target, link, 1);
    let inserted = database.execute(
        "INSERT INTO ledger (sequence, at, actor, action, target, detail, request_id, peer, user_agent, link,
             root_key_version) VALUES (?1, 0, ?2, ?3, ?4, '', '', '', '', ?5, ?6)",
        row,
    );
    assert_eq!(inserted, Ok(1));
}

#[tokio::test]
async fn an_old_root_key_cannot_extend_the_ledger() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    let old = crate::support::root_key(&data_dir);
    rotate(&data_dir);
    assert!(server.process.stop().await.success());
    let scratch = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let copy = scratch.path().join(name);
        copy_data_dir(&data_dir, &copy);
        copy
    };

    let appended = copy("appended");
    forge(&appended, &old, "forged");
    let stderr = fails(&run_on(&appended, &["ledger", "verify"]), 8);
    assert!(stderr.contains("broken at entry 4"), "{stderr}");

    // Later entries are removed, and forged ones appended.
    let replaced = copy("replaced");
    tamper(&replaced, "DELETE FROM ledger WHERE sequence >= 3");
    forge(&replaced, &old, "forged");
    let stderr = fails(&run_on(&replaced, &["ledger", "verify"]), 8);
    assert!(stderr.contains("ends at entry 3 under version 1"), "{stderr}");

    // The same, without any trace of the rotation in the database.
    let undone = copy("undone");
    tamper(
        &undone,
        "DELETE FROM ledger WHERE sequence >= 3; DELETE FROM root_key WHERE version = 2;
         UPDATE root_key SET ledger_key = NULL; UPDATE secret SET pepper_version = 1",
    );
    forge(&undone, &old, "forged");
    let stderr = fails(&run_on(&undone, &["ledger", "verify"]), 1);
    assert!(stderr.contains("it is from before the rotation"), "{stderr}");
    let served = run_on(&undone, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(fails(&served, 1).contains("does not know version 2 of the root key"));
    assert_eq!(run_on(&undone, &["doctor"]).status.code(), Some(8));
}

#[tokio::test]
async fn an_older_database_needs_confirmation() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    assert!(server.process.stop().await.success());
    let scratch = tempfile::tempdir().unwrap();
    let older = scratch.path().join("older");
    copy_data_dir(&data_dir, &older);
    rotate(&data_dir);
    fs::copy(key_file(&data_dir), key_file(&older)).unwrap();
    assert!(fails(&run_on(&older, &["root-key", "list"]), 1).contains("gatekey root-key rotate"));
    assert_eq!(rotate(&older)["was_begun"], true);
    assert_eq!(versions(&older), versions(&data_dir));
    let process = ServerProcess::start_on(&older, &["--public-url", PUBLIC_URL]);
    assert_eq!(process.http().token(&server.admin, &[]).await.status, 200);
}
