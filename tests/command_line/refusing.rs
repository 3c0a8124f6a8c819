//! Damaged, foreign or shared data directories are refused with a fix, and not changed.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::json;
use tempfile::TempDir;

use super::fails;
use crate::support::{PUBLIC_URL, ServerProcess, binary, not_proven, run};

/// A directory that a server has used.
struct UsedDirectory {
    _directory: TempDir,
    data_dir: PathBuf,
}

impl UsedDirectory {
    /// Used by a server that was killed: the last changes are in the write-ahead log.
    async fn killed() -> Self {
        let used = Self::with_a_server().await;
        assert!(used.file("gatekey.db-wal").metadata().unwrap().len() > 0);
        used
    }

    /// Used by a server that stopped gracefully: all changes are in the database.
    async fn stopped() -> Self {
        let used = Self::with_a_server().await;
        let mut server = used.start();
        assert!(server.stop().await.success());
        assert!(!used.file("gatekey.db-wal").exists());
        used
    }

    /// Starts a server and creates some keys.
    async fn with_a_server() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let used = Self { data_dir: directory.path().join("data"), _directory: directory };
        let server = used.start();
        let token = server.token(&server.init()).await;
        for number in 0..20 {
            let body = json!({ "clientId": format!("key-{number}") });
            let create = "/gatekey.v1.ApiKeyService/Create";
            assert_eq!(server.http().connect_json(create, &token, &body).await.status, 200);
        }
        drop(server);
        used
    }

    fn start(&self) -> ServerProcess {
        ServerProcess::start_on(&self.data_dir, &["--public-url", PUBLIC_URL])
    }

    fn file(&self, name: &str) -> PathBuf {
        self.data_dir.join(name)
    }

    /// Changes bytes of a file.
    fn damage(&self, name: &str, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = fs::read(self.file(name)).unwrap();
        damage(&mut bytes);
        fs::write(self.file(name), bytes).unwrap();
    }

    /// Every file with its mode and contents, except the lock, which names the last process, and
    /// SQLite's index of the log, which is recreated whenever the database is opened.
    fn contents(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        contents(&self.data_dir)
    }

    /// Asserts that `serve` and `init` only report these words, and change nothing.
    fn refused(&self, words: &[&str]) {
        let before = self.contents();
        let data_dir = self.data_dir.to_str().unwrap();
        for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["init", "--name", "another"]] {
            let stderr = fails(&run(&[command, &["--data-dir", data_dir]].concat()), 1);
            for word in words {
                assert!(stderr.contains(word), "{word:?} is not in: {stderr}");
            }
            let after = self.contents();
            for (name, file) in &before {
                assert!(after.get(name) == Some(file), "{command:?} touched {name}: {stderr}");
            }
            assert_eq!(
                after.keys().collect::<Vec<_>>(),
                before.keys().collect::<Vec<_>>(),
                "{command:?}"
            );
        }
    }
}

fn contents(data_dir: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut contents = BTreeMap::new();
    for file in fs::read_dir(data_dir).unwrap().map(Result::unwrap) {
        let name = file.file_name().into_string().unwrap();
        let metadata = file.metadata().unwrap();
        if metadata.is_file() && !["lock", "gatekey.db-shm"].contains(&&*name) {
            contents.insert(name, (metadata.mode(), fs::read(file.path()).unwrap()));
        }
    }
    contents
}

#[tokio::test]
async fn an_intact_directory_is_accepted() {
    for used in [UsedDirectory::killed().await, UsedDirectory::stopped().await] {
        let server = used.start();
        server.wait_for_log("serving");
        assert_eq!(
            server.log().iter().find(|line| line["message"] == "serving").unwrap()["keys"],
            21
        );
    }
}

#[tokio::test]
async fn another_programs_database_is_refused_untouched() {
    for used in [UsedDirectory::killed().await, UsedDirectory::stopped().await] {
        // The application id in the header (https://www.sqlite.org/fileformat.html, section 1.3).
        used.damage("gatekey.db", |bytes| bytes[68..72].fill(7));
        used.refused(&[
            "gatekey.db is a database of another program",
            "choose another data directory",
        ]);
    }
}

#[tokio::test]
async fn a_newer_versions_database_is_refused_untouched() {
    for used in [UsedDirectory::killed().await, UsedDirectory::stopped().await] {
        used.damage("gatekey.db", |bytes| bytes[60..64].copy_from_slice(&99_u32.to_be_bytes()));
        used.refused(&["was written by a newer Gatekey", "run that version"]);
    }
}

#[tokio::test]
async fn a_truncated_database_is_refused_untouched() {
    let used = UsedDirectory::stopped().await;
    let whole = fs::read(used.file("gatekey.db")).unwrap();
    for length in [0, 50, 4096, whole.len() / 2, whole.len() - 1] {
        used.damage("gatekey.db", |bytes| bytes.truncate(length));
        used.refused(&["gatekey.db", "restore a backup"]);
        fs::write(used.file("gatekey.db"), &whole).unwrap();
    }
}

#[tokio::test]
async fn a_database_with_damaged_pages_is_refused_untouched() {
    let used = UsedDirectory::stopped().await;
    let whole = fs::read(used.file("gatekey.db")).unwrap();
    // Every page except the first; then only the pages of tables that are read at startup.
    for from in [4096, whole.len() / 4] {
        used.damage("gatekey.db", |bytes| bytes[from..].fill(0xa5));
        used.refused(&["gatekey.db", "damaged", "restore a backup"]);
        fs::write(used.file("gatekey.db"), &whole).unwrap();
    }
}

/// The log may contain intact pages.
#[tokio::test]
async fn a_damaged_database_keeps_its_write_ahead_log() {
    let used = UsedDirectory::stopped().await;
    let mut server = used.start();
    server.init_named("late");
    server.kill();
    used.damage("gatekey.db", |bytes| bytes[4096..].fill(0xa5));
    used.refused(&["gatekey.db", "damaged", "restore a backup"]);
    assert!(used.file("gatekey.db-wal").metadata().unwrap().len() > 0);
}

#[tokio::test]
async fn an_invalid_database_is_refused_untouched() {
    let used = UsedDirectory::stopped().await;
    for text in ["a letter", "SQLite format 3"] {
        fs::write(used.file("gatekey.db"), text).unwrap();
        used.refused(&["gatekey.db is not a Gatekey database", "move it away"]);
    }
}

#[tokio::test]
async fn a_log_without_database_is_refused_untouched() {
    let used = UsedDirectory::killed().await;
    fs::remove_file(used.file("gatekey.db")).unwrap();
    used.refused(&["gatekey.db-wal", "put the database back"]);
    // A new root key would not match the database once it is restored.
    fs::remove_file(used.file("root.key")).unwrap();
    used.refused(&["root.key", "is missing"]);
}

#[tokio::test]
async fn another_directorys_root_key_is_refused_untouched() {
    let other = UsedDirectory::stopped().await;
    for used in [UsedDirectory::killed().await, UsedDirectory::stopped().await] {
        fs::copy(other.file("root.key"), used.file("root.key")).unwrap();
        used.refused(&["root key that belongs to the data directory"]);
    }
}

#[tokio::test]
async fn an_invalid_root_key_is_refused_untouched() {
    let used = UsedDirectory::killed().await;
    let whole = fs::read(used.file("root.key")).unwrap();
    let mut no_text = whole.clone();
    no_text[25] ^= 0x80;
    for junk in [&b""[..], &whole[..20], &whole[1..], &no_text] {
        fs::write(used.file("root.key"), junk).unwrap();
        used.refused(&["root key", "root.key"]);
    }
}

#[tokio::test]
async fn a_missing_root_key_is_not_created() {
    let used = UsedDirectory::killed().await;
    fs::remove_file(used.file("root.key")).unwrap();
    used.refused(&["root.key is missing", "restore the file"]);
}

#[tokio::test]
async fn a_directory_in_use_is_refused_untouched() {
    let used = UsedDirectory::killed().await;
    let server = used.start();
    let before = used.contents();
    let data_dir = used.data_dir.to_str().unwrap();
    let stderr = fails(&run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]), 7);
    assert!(
        stderr.contains("is in use by process") && stderr.contains(&server.pid().to_string()),
        "{stderr}"
    );
    assert_eq!(used.contents(), before);
}

/// Starts a server as a user to whom file modes apply, such as root without capabilities. Returns
/// `None` if that is not possible here.
fn serve_by_modes(used: &UsedDirectory) -> Option<Output> {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", used.data_dir.to_str().unwrap()];
    if used.data_dir.metadata().unwrap().uid() != 0 {
        return Some(run(&serve));
    }
    let without = ["--bounding-set", "-dac_override,-dac_read_search"];
    let tried = Command::new("setpriv").args(without).arg("true").status();
    if !tried.is_ok_and(|status| status.success()) {
        not_proven("unreadable files: root can read everything, and setpriv cannot prevent it");
        return None;
    }
    Some(Command::new("setpriv").args(without).arg(binary()).args(serve).output().unwrap())
}

#[tokio::test]
async fn unreadable_files_are_reported_and_kept() {
    let used = UsedDirectory::killed().await;
    for (name, words) in [("root.key", "cannot read the root key"), ("gatekey.db", "cannot open")] {
        let before = used.contents();
        let mode = used.file(name).metadata().unwrap().permissions();
        fs::set_permissions(used.file(name), fs::Permissions::from_mode(0o000)).unwrap();
        let output = serve_by_modes(&used);
        fs::set_permissions(used.file(name), mode).unwrap();
        let Some(output) = output else { return };
        let stderr = fails(&output, 1);
        assert!(stderr.contains(name) && stderr.contains(words), "{stderr}");
        assert!(stderr.contains("Permission denied"), "{stderr}");
        assert_eq!(used.contents(), before);
    }
}

#[test]
fn a_directory_of_other_files_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("gatekey.db"), "somebody's notes").unwrap();
    fs::write(directory.path().join("root.key"), "somebody's key").unwrap();
    fs::set_permissions(directory.path().join("root.key"), fs::Permissions::from_mode(0o600))
        .unwrap();
    let before = contents(directory.path());
    let data_dir = directory.path().to_str().unwrap();
    let stderr = fails(&run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]), 1);
    assert!(stderr.contains("is not a root key"), "{stderr}");
    assert_eq!(contents(directory.path()), before);
}
