//! Data directories that are not whole, not ours or not ours alone: refused with what to do, and left as they are.

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

/// A directory in which a server has been.
struct Used {
    _directory: TempDir,
    data_dir: PathBuf,
}

impl Used {
    /// By a server that was killed: what was changed last is in the log beside the database.
    async fn killed() -> Self {
        let used = Self::with_a_server().await;
        assert!(used.file("gatekey.db-wal").metadata().unwrap().len() > 0);
        used
    }

    /// By a server that stopped in peace: all is in the database.
    async fn stopped() -> Self {
        let used = Self::with_a_server().await;
        let mut server = used.start();
        assert!(server.stop().await.success());
        assert!(!used.file("gatekey.db-wal").exists());
        used
    }

    /// With some keys. Dropping the server kills it.
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

    /// Every file with its mode and all that is in it; but for the lock, which names who asked last, and SQLite's
    /// index of the log, which it makes anew whenever it opens the database.
    fn contents(&self) -> BTreeMap<String, (u32, Vec<u8>)> {
        contents(&self.data_dir)
    }

    /// Asserts that neither a server nor `init` does anything here but say those words.
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
            assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>(), "{command:?}");
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
async fn a_directory_in_which_nothing_is_wrong_is_not_refused() {
    for used in [Used::killed().await, Used::stopped().await] {
        let server = used.start();
        server.wait_for_log("serving");
        assert_eq!(server.log().iter().find(|line| line["message"] == "serving").unwrap()["keys"], 21);
    }
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_untouched() {
    for used in [Used::killed().await, Used::stopped().await] {
        // The application's id in the header (https://www.sqlite.org/fileformat.html, section 1.3).
        used.damage("gatekey.db", |bytes| bytes[68..72].fill(7));
        used.refused(&["gatekey.db is a database of another program", "choose another data directory"]);
    }
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_refused_untouched() {
    for used in [Used::killed().await, Used::stopped().await] {
        used.damage("gatekey.db", |bytes| bytes[60..64].copy_from_slice(&99_u32.to_be_bytes()));
        used.refused(&["was written by a newer Gatekey", "run that version"]);
    }
}

#[tokio::test]
async fn a_truncated_database_is_refused_untouched() {
    let used = Used::stopped().await;
    let whole = fs::read(used.file("gatekey.db")).unwrap();
    for length in [0, 50, 4096, whole.len() / 2, whole.len() - 1] {
        used.damage("gatekey.db", |bytes| bytes.truncate(length));
        used.refused(&["gatekey.db", "restore a backup"]);
        fs::write(used.file("gatekey.db"), &whole).unwrap();
    }
}

#[tokio::test]
async fn a_database_with_damaged_pages_is_refused_untouched() {
    let used = Used::stopped().await;
    let whole = fs::read(used.file("gatekey.db")).unwrap();
    // Every page but the first; then those of the tables that are read at the start, one by one or not.
    for from in [4096, whole.len() / 4] {
        used.damage("gatekey.db", |bytes| bytes[from..].fill(0xa5));
        used.refused(&["gatekey.db", "damaged", "restore a backup"]);
        fs::write(used.file("gatekey.db"), &whole).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_database_keeps_the_log_that_may_heal_it() {
    let used = Used::stopped().await;
    let mut server = used.start();
    server.init_named("late");
    server.kill();
    used.damage("gatekey.db", |bytes| bytes[4096..].fill(0xa5));
    used.refused(&["gatekey.db", "damaged", "restore a backup"]);
    assert!(used.file("gatekey.db-wal").metadata().unwrap().len() > 0);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_untouched() {
    let used = Used::stopped().await;
    for text in ["a letter", "SQLite format 3"] {
        fs::write(used.file("gatekey.db"), text).unwrap();
        used.refused(&["gatekey.db is not a Gatekey database", "move it away"]);
    }
}

#[tokio::test]
async fn a_log_whose_database_is_gone_is_refused_untouched() {
    let used = Used::killed().await;
    fs::remove_file(used.file("gatekey.db")).unwrap();
    used.refused(&["gatekey.db-wal", "put the database back"]);
    // A new root key would fit nothing once the database is back.
    fs::remove_file(used.file("root.key")).unwrap();
    used.refused(&["root.key", "is missing"]);
}

#[tokio::test]
async fn a_root_key_of_another_directory_is_refused_untouched() {
    let other = Used::stopped().await;
    for used in [Used::killed().await, Used::stopped().await] {
        fs::copy(other.file("root.key"), used.file("root.key")).unwrap();
        used.refused(&["root key that belongs to the data directory"]);
    }
}

#[tokio::test]
async fn a_root_key_that_is_none_is_refused_untouched() {
    let used = Used::killed().await;
    let whole = fs::read(used.file("root.key")).unwrap();
    let mut no_text = whole.clone();
    no_text[25] ^= 0x80;
    for junk in [&b""[..], &whole[..20], &whole[1..], &no_text] {
        fs::write(used.file("root.key"), junk).unwrap();
        used.refused(&["root key", "root.key"]);
    }
}

#[tokio::test]
async fn a_missing_root_key_is_refused_and_none_made() {
    let used = Used::killed().await;
    fs::remove_file(used.file("root.key")).unwrap();
    used.refused(&["root.key is missing", "restore the file"]);
}

#[tokio::test]
async fn a_directory_in_use_is_refused_untouched() {
    let used = Used::killed().await;
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

/// Starts a server as somebody for whom modes of files count; `None` where that cannot be had. Root is such a one
/// without the capabilities to read everything.
fn serve_by_modes(used: &Used) -> Option<Output> {
    let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", used.data_dir.to_str().unwrap()];
    if used.data_dir.metadata().unwrap().uid() != 0 {
        return Some(run(&serve));
    }
    let without = ["--bounding-set", "-dac_override,-dac_read_search"];
    let tried = Command::new("setpriv").args(without).arg("true").status();
    if !tried.is_ok_and(|status| status.success()) {
        not_proven("files that cannot be read: root reads everything, and setpriv cannot take that away");
        return None;
    }
    Some(Command::new("setpriv").args(without).arg(binary()).args(serve).output().unwrap())
}

#[tokio::test]
async fn files_that_cannot_be_read_are_told_and_left_alone() {
    let used = Used::killed().await;
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
fn a_directory_of_something_else_is_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("gatekey.db"), "somebody's notes").unwrap();
    fs::write(directory.path().join("root.key"), "somebody's key").unwrap();
    fs::set_permissions(directory.path().join("root.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let before = contents(directory.path());
    let data_dir = directory.path().to_str().unwrap();
    let stderr = fails(&run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir]), 1);
    assert!(stderr.contains("is no root key"), "{stderr}");
    assert_eq!(contents(directory.path()), before);
}
