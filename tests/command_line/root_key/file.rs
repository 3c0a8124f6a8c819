//! The root key file and its versions.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use serde_json::{Value, json};

use super::{key_file, lines, rotate, run_on, verified_ledger, versions, write_lines};
use crate::{
    command_line::{
        fails, json, stdout,
        upgrade::{copy_old_data_dir, old_admin},
    },
    faults::disk::{EROFS, Faulty},
    support::{PUBLIC_URL, Server, ServerProcess, run},
};

#[tokio::test]
async fn the_new_file_restores_older_backups() {
    let server = Server::with_public_url().await;
    let data_dir = &server.process.data_dir;
    let key = server.create_key("ci").await;
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    stdout(&run_on(data_dir, &["backup", &path("before")]));
    fs::copy(key_file(data_dir), path("old.key")).unwrap();
    rotate(data_dir);
    stdout(&run_on(data_dir, &["backup", &path("after")]));
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
        let list = [
            "root-key",
            "list",
            "--data-dir",
            &new,
            "--root-key-file",
            &root_key,
            "--output",
            "json",
        ];
        assert_eq!(json(&run(&list))[0]["state"], "in_use");
    }
    assert_eq!(lines(data_dir), before, "a restore does not change the file");

    let new = path("refused");
    let refused = fails(
        &run(&["restore", &path("after"), "--data-dir", &new, "--root-key-file", &path("old.key")]),
        2,
    );
    assert!(refused.contains("version 2 of the root key"), "{refused}");
    // The backup opens, but its secrets need another version.
    fs::write(path("new.key"), format!("{}\n", before[0])).unwrap();
    fs::set_permissions(path("new.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let refused = fails(
        &run(&["restore", &path("after"), "--data-dir", &new, "--root-key-file", &path("new.key")]),
        2,
    );
    assert!(refused.contains("version 1 of the root key is missing"), "{refused}");
    assert!(!Path::new(&new).exists());
}

#[tokio::test]
async fn a_missing_version_is_named() {
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
        (vec![stranger, &both[1]], "version 2 of the root key does not match"),
    ] {
        write_lines(&data_dir, &lines);
        for words in [&["serve", "--listen", "127.0.0.1:0"][..], &["root-key", "rotate"]] {
            let refused = fails(&run_on(&data_dir, words), 1);
            assert!(refused.contains(expected), "{words:?}: {refused}");
        }
        assert_eq!(
            fs::read_to_string(key_file(&data_dir)).unwrap().lines().collect::<Vec<_>>(),
            lines
        );
        let doctor = run_on(&data_dir, &["doctor"]);
        assert_eq!(doctor.status.code(), Some(8));
        assert!(String::from_utf8_lossy(&doctor.stdout).contains(expected));
    }
    write_lines(&data_dir, &[&both[0], &both[1]]);
    server.kill_and_restart();
    server.serves(&server.admin, &server.admin_token).await;
}

#[tokio::test]
async fn the_file_keeps_its_permissions_and_link() {
    let mut server = Server::with_public_url().await;
    let data_dir = server.process.data_dir.clone();
    assert!(server.process.stop().await.success());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let elsewhere = tempfile::tempdir().unwrap();
    let real = elsewhere.path().join("real.key");
    fs::rename(key_file(&data_dir), &real).unwrap();
    let link = elsewhere.path().join("link.key");
    symlink(&real, &link).unwrap();
    let words = ["root-key", "rotate", "--root-key-file", link.to_str().unwrap()];
    for kept in [0o600, 0o400] {
        fs::set_permissions(&real, fs::Permissions::from_mode(kept)).unwrap();
        stdout(&run_on(&data_dir, &words));
        assert_eq!(mode(&real), kept);
    }
    // A file that a killed process left, and a file with a similar name.
    for name in ["real.key.0123456789abcdef0123456789abcdef.new", "real.key.old"] {
        fs::write(elsewhere.path().join(name), "").unwrap();
    }
    stdout(&run_on(&data_dir, &words));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&real).unwrap().lines().count(), 4);
    let names = fs::read_dir(elsewhere.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(
        names.collect::<BTreeSet<_>>(),
        ["link.key".into(), "real.key".into(), "real.key.old".into()].into()
    );
}

#[tokio::test]
async fn a_read_only_file_is_rotated_by_hand() {
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
    let refused = fails(&run_on(data_dir, &["root-key", "rotate"]), 1);
    let advice = format!("gatekey root-key new --root-key-file {} NEW", root_key.display());
    assert!(refused.contains(&advice) && refused.contains("Read-only"), "{refused}");
    assert_eq!(fs::read(&root_key).unwrap(), before);

    let words =
        ["root-key", "new", "--root-key-file", root_key.to_str().unwrap(), new.to_str().unwrap()];
    stdout(&run(&words));
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fails(&run(&words), 2).contains("will not be overwritten"));
    let again = ["root-key", "new", "--root-key-file", new.to_str().unwrap(), "another.key"];
    assert!(fails(&run(&again), 2).contains("already pending"));
    // Kubernetes updates a mounted secret like this.
    fs::rename(&new, &root_key).unwrap();
    let rotated = run_on(data_dir, &["root-key", "rotate", "--output", "json"]);
    assert_eq!(json(&rotated), json!({ "version": 2, "was_begun": true, "still_pending": true }));
    assert!(String::from_utf8_lossy(&rotated.stderr).contains("remove the word pending by hand"));
    server.serves(&server.admin, &server.admin_token).await;
    let text = fs::read_to_string(&root_key).unwrap();
    fs::write(&root_key, text.replace(" pending", "")).unwrap();
    assert_eq!(versions(data_dir)[&2].0, "in_use");

    server.token(&server.admin).await;
    let retired = run_on(data_dir, &["root-key", "retire", "1"]);
    stdout(&retired);
    assert!(
        String::from_utf8_lossy(&retired.stderr).contains("remove the line gatekey-root-key-1:")
    );
}

#[tokio::test]
async fn a_database_without_versions_is_migrated() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    copy_old_data_dir("version_1", &data_dir);
    let unversion = "DROP TABLE root_key; ALTER TABLE ledger DROP COLUMN root_key_version; PRAGMA user_version = 1";
    rusqlite::Connection::open(data_dir.join("gatekey.db"))
        .unwrap()
        .execute_batch(unversion)
        .unwrap();
    // Doctor opens the file without changing it.
    stdout(&run_on(&data_dir, &["doctor"]));
    let right = lines(&data_dir);
    write_lines(&data_dir, &["gatekey-root-key-1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="]);
    let refused = fails(&run_on(&data_dir, &["root-key", "list"]), 1);
    assert!(refused.contains("root key that belongs to the data directory"), "{refused}");
    write_lines(&data_dir, &[&right[0]]);
    let server = ServerProcess::start_on(&data_dir, &["--public-url", PUBLIC_URL]);
    let admin = old_admin();
    server.token(&admin).await;
    rotate(&data_dir);
    server.token(&admin).await;
    let entries = verified_ledger(&data_dir);
    let last = entries.last().unwrap();
    assert_eq!(
        (&entries[0]["root_key_version"], &last["root_key_version"]),
        (&json!(1), &json!(2))
    );
    assert_eq!((&entries[0]["state"], last["state"].is_string()), (&Value::Null, true));
}
