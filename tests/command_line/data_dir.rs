//! The contents of a data directory, and who may use it.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::Path,
    process::Output,
};

use super::{fails, json, stdout};
use crate::support::{ServerProcess, run};

fn serve(data_dir: &Path, flags: &[&str]) -> Output {
    run(&[&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()], flags]
        .concat())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A directory that a server has used, and the path of its root key.
fn used() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let output = run(&["init", "--data-dir", data_dir.to_str().unwrap()]);
    assert!(output.status.success());
    let root_key = data_dir.join("root.key");
    (directory, data_dir, root_key)
}

#[tokio::test]
async fn only_the_owner_can_read_the_directory() {
    let server = ServerProcess::start();
    server.token(&server.init()).await;
    assert_eq!(mode(&server.data_dir), 0o700);
    let mut private = Vec::new();
    for file in fs::read_dir(&server.data_dir).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        match &*name {
            // Files that clients need, and files without private contents.
            "ca.pem" | "ca-bundle.pem" | "server.json" | ".gitignore" => {}
            _ => {
                assert_eq!(mode(&file.path()), 0o600, "{name}");
                private.push(name);
            }
        }
    }
    private.sort();
    let expected =
        ["control.sock", "gatekey.db", "gatekey.db-shm", "gatekey.db-wal", "lock", "root.key"];
    assert_eq!(private, expected);
    assert!(fs::metadata(server.data_dir.join("control.sock")).unwrap().file_type().is_socket());
}

#[tokio::test]
async fn git_ignores_the_directory() {
    let server = ServerProcess::start();
    assert_eq!(fs::read_to_string(server.data_dir.join(".gitignore")).unwrap(), "*\n");
}

#[tokio::test]
async fn an_existing_gitignore_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".gitignore"), "mine\n").unwrap();
    let server = ServerProcess::start_on(directory.path(), &[]);
    assert_eq!(fs::read_to_string(server.data_dir.join(".gitignore")).unwrap(), "mine\n");
}

/// The message names the process that uses the directory, and its host: in containers, every
/// server is process 1.
#[tokio::test]
async fn a_second_server_is_refused() {
    let server = ServerProcess::start();
    let stderr = fails(&serve(&server.data_dir, &[]), 7);
    assert!(
        stderr.contains("is in use by process") && stderr.contains("(gatekey serve) on "),
        "{stderr}"
    );
    assert!(stderr.contains(&server.pid().to_string()), "{stderr}");
    server.token(&server.init()).await;
}

#[tokio::test]
async fn a_directory_is_usable_after_kill_9() {
    let mut server = ServerProcess::start();
    let admin = server.init();
    server.kill();
    let server = ServerProcess::start_on(&server.data_dir, &[]);
    server.token(&admin).await;
}

#[test]
fn a_missing_root_key_is_not_replaced() {
    let (_directory, data_dir, root_key) = used();
    fs::remove_file(&root_key).unwrap();
    let stderr = fails(&serve(&data_dir, &[]), 1);
    assert!(stderr.contains("is missing") && stderr.contains("--root-key-file"), "{stderr}");
    assert!(!root_key.exists());
}

#[test]
fn a_root_key_others_can_read_is_refused() {
    let (_directory, data_dir, root_key) = used();
    for exposed in [0o604, 0o606, 0o644, 0o666] {
        fs::set_permissions(&root_key, fs::Permissions::from_mode(exposed)).unwrap();
        let stderr = fails(&serve(&data_dir, &[]), 1);
        let root_key = root_key.canonicalize().unwrap();
        assert!(
            stderr.contains(&format!("chmod 600 {}", root_key.display())),
            "{exposed:o}: {stderr}"
        );
    }
}

#[test]
fn an_invalid_root_key_file_is_not_printed() {
    let (_directory, data_dir, root_key) = used();
    let good = fs::read_to_string(&root_key).unwrap();
    for junk in
        ["", "junk", &good[..good.len() - 9], good.trim_start_matches("gatekey-root-key-1:")]
    {
        fs::write(&root_key, junk).unwrap();
        let stderr = fails(&serve(&data_dir, &[]), 1);
        assert!(stderr.contains("is not a root key") && !stderr.contains("junk"), "{stderr}");
    }
}

#[test]
fn the_root_key_of_another_directory_is_refused() {
    let (_directory, data_dir, root_key) = used();
    let (_other, _, other_key) = used();
    fs::copy(other_key, root_key).unwrap();
    let stderr = fails(&serve(&data_dir, &[]), 1);
    assert!(stderr.contains("root key that belongs to the data directory"), "{stderr}");
}

#[tokio::test]
async fn the_root_key_may_be_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, root_key) =
        (directory.path().join("data"), directory.path().join("elsewhere.key"));
    let flags = ["--root-key-file", root_key.to_str().unwrap()];
    let mut server = ServerProcess::start_on(&data_dir, &flags);
    assert_eq!(mode(&root_key), 0o600);
    assert!(!data_dir.join("root.key").exists());
    let made = json(&run(&["init", "--data-dir", data_dir.to_str().unwrap(), "--output", "json"]));
    assert_eq!(made["client_id"], "admin");
    assert!(server.stop().await.success());
    let stderr = fails(&serve(&data_dir, &[]), 1);
    assert!(stderr.contains("is missing"), "{stderr}");
    ServerProcess::start_on(&data_dir, &flags);
}

#[test]
fn an_unknown_file_as_database_is_kept() {
    let (_directory, data_dir, _) = used();
    let database = data_dir.join("gatekey.db");
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(data_dir.join(format!("gatekey.db{suffix}")));
    }
    fs::write(&database, "a letter to my mother").unwrap();
    let stderr = fails(&serve(&data_dir, &[]), 1);
    assert!(stderr.contains("gatekey.db"), "{stderr}");
    assert_eq!(fs::read_to_string(&database).unwrap(), "a letter to my mother");
}

#[test]
fn a_data_directory_must_be_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let stderr = fails(&serve(&file, &[]), 1);
    assert!(stderr.contains("data directory") && stderr.contains("file"), "{stderr}");
}

#[test]
fn the_environment_may_name_the_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let output =
        crate::support::gatekey().env("GATEKEY_DATA_DIR", &data_dir).arg("init").output().unwrap();
    stdout(&output);
    assert!(data_dir.join("gatekey.db").exists());
}
