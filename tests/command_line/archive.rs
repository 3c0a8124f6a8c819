//! `gatekey ledger archive`, and the verification of archives.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{fails, json, json_lines, stdout, tamper};
use crate::support::{
    PUBLIC_URL, Server, ServerProcess, gatekey,
    random::{Random, seed},
    run,
};

fn run_on(data_dir: &Path, words: &[&str]) -> Output {
    run(&[words, &["--data-dir", data_dir.to_str().unwrap()]].concat())
}

/// A directory for archives and copies of data directories.
struct Shelf(TempDir);

impl Shelf {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path of a file as a word of a command.
    fn word(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn archive(&self, data_dir: &Path, name: &str, through: i64) -> Output {
        let through = through.to_string();
        let words = ["ledger", "archive", &self.word(name), "--through", &through];
        run_on(data_dir, &[&words[..], &["--output", "json"]].concat())
    }

    fn verify(&self, data_dir: &Path, names: &[&str]) -> Output {
        self.verify_with(data_dir, names, &[])
    }

    fn verify_with(&self, data_dir: &Path, names: &[&str], flags: &[&str]) -> Output {
        let files: Vec<_> = names.iter().map(|name| self.word(name)).collect();
        let files: Vec<_> = files.iter().map(String::as_str).collect();
        run_on(data_dir, &[&["ledger", "verify"], &*files, flags].concat())
    }

    /// Writes an archive with other content.
    fn changed(&self, name: &str, from: &str, to: &str) -> &'static str {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(self.path("changed"), text.replacen(from, to, 1)).unwrap();
        "changed"
    }
}

fn exported(data_dir: &Path) -> Vec<Value> {
    json_lines(&run_on(data_dir, &["ledger", "export"]))
}

/// The entries of an archive.
fn archived(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().skip(2).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn copy_data_dir(data_dir: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for name in ["gatekey.db", "gatekey.db-wal", "root.key", "server.json"] {
        if data_dir.join(name).exists() {
            fs::copy(data_dir.join(name), to.join(name)).unwrap();
        }
    }
}

/// A server whose ledger has seven entries.
async fn server() -> Server {
    let server = Server::with_public_url().await;
    for number in 3..=7 {
        server.create_key(&format!("key-{number}")).await;
    }
    server
}

async fn stopped() -> (Server, PathBuf) {
    let mut server = server().await;
    assert!(server.process.stop().await.success());
    let data_dir = server.process.data_dir.clone();
    (server, data_dir)
}

fn assert_archived(data_dir: &Path, shelf: &Shelf, before: &[Value], printed: &Value) {
    let file = shelf.path("a");
    assert_eq!((&printed["first"], &printed["last"]), (&json!(1), &json!(4)));
    assert_eq!(printed["head"], format!("4:{}", before[3]["link"].as_str().unwrap()));
    assert_eq!(archived(&file), before[..4]);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(shelf.0.path()).unwrap().count(), 1, "nothing is left behind");
    let after = exported(data_dir);
    assert_eq!(after[..3], before[4..]);
    let entry = &after[3];
    assert_eq!((&entry["sequence"], &entry["action"]), (&json!(8), &json!("ledger.archive")));
    let detail = format!("first=1 last=4 link={}", before[3]["link"].as_str().unwrap());
    assert_eq!(entry["detail"], detail);
    assert!(entry["actor"].as_str().unwrap().starts_with("local:uid="), "{entry}");
    let verified = json(&shelf.verify_with(data_dir, &["a"], &["--output", "json"]));
    assert_eq!((&verified["entries"], &verified["archived"]), (&json!(4), &json!(4)));
    assert_eq!(verified["archives"], json!([{ "file": file, "first": 1, "last": 4 }]));
    let verified = json(&run_on(data_dir, &["ledger", "verify", "--output", "json"]));
    assert_eq!((&verified["entries"], &verified["archives"]), (&json!(4), &json!([])));
    let database = rusqlite::Connection::open(data_dir.join("gatekey.db")).unwrap();
    let stored: i64 =
        database.query_row("SELECT count(*) FROM ledger", [], |row| row.get(0)).unwrap();
    assert_eq!(stored, 4, "the archived entries are deleted");
}

#[tokio::test]
async fn a_running_server_archives_its_ledger() {
    let mut server = server().await;
    let (data_dir, shelf) = (server.process.data_dir.clone(), Shelf::new());
    let before = exported(&data_dir);
    let printed = json(&shelf.archive(&data_dir, "a", 4));
    assert_archived(&data_dir, &shelf, &before, &printed);
    server.create_key("later").await;
    server.restart().await;
    server.admin_token = server.token(&server.admin).await;
    server.create_key("after-a-restart").await;
    stdout(&shelf.verify(&data_dir, &["a"]));
}

#[tokio::test]
async fn a_ledger_is_archived_offline() {
    let (mut server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    let before = exported(&data_dir);
    let printed = json(&shelf.archive(&data_dir, "a", 4));
    assert_archived(&data_dir, &shelf, &before, &printed);
    server.restart_stopped();
    server.token(&server.admin).await;
    stdout(&shelf.verify(&data_dir, &["a"]));
}

#[tokio::test]
async fn an_archive_ends_before_a_time() {
    let server = server().await;
    let (data_dir, shelf) = (&server.process.data_dir, Shelf::new());
    let before =
        |time: &str| run_on(data_dir, &["ledger", "archive", &shelf.word("a"), "--before", time]);
    for time in ["1d", "2026-01-01", "2026-01-01T00:00:00Z"] {
        let stderr = fails(&before(time), 2);
        assert!(stderr.contains("no entry is from before that time"), "{stderr}");
    }
    assert!(!shelf.path("a").exists());
    let text = stdout(&before("2999-01-01"));
    assert!(text.contains("contains entries 1 to 7"), "{text}");
    let left = exported(data_dir);
    assert_eq!((left.len(), &left[0]["action"]), (1, &json!("ledger.archive")));
    stdout(&shelf.verify(data_dir, &["a"]));
}

#[tokio::test]
async fn an_archive_needs_entries_to_archive() {
    let (_server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    stdout(&shelf.archive(&data_dir, "a", 4));
    for (through, expected) in
        [(4, "entries up to 4 are archived already"), (99, "the ledger ends at entry 8")]
    {
        let stderr = fails(&shelf.archive(&data_dir, "b", through), 2);
        assert!(stderr.contains(expected), "{stderr}");
    }
    assert!(!shelf.path("b").exists());
}

#[tokio::test]
async fn an_archive_overwrites_no_file() {
    let (_server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    fs::write(shelf.path("notes"), "mine").unwrap();
    stdout(&shelf.archive(&data_dir, "a", 4));
    let before = fs::read(shelf.path("a")).unwrap();
    for name in ["notes", "a"] {
        let stderr = fails(&shelf.archive(&data_dir, name, 6), 2);
        assert!(stderr.contains("already exists"), "{stderr}");
        // The same limit again, as a script does.
        let stderr = fails(&shelf.archive(&data_dir, name, 4), 2);
        assert!(stderr.contains("already exists"), "{stderr}");
    }
    assert_eq!(fs::read(shelf.path("a")).unwrap(), before);
    assert_eq!(fs::read_to_string(shelf.path("notes")).unwrap(), "mine");
    assert_eq!(exported(&data_dir).len(), 4);
}

#[tokio::test]
async fn a_tampered_archive_fails_verification() {
    let (_server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    stdout(&shelf.archive(&data_dir, "a", 6));
    let text = fs::read_to_string(shelf.path("a")).unwrap();
    let last_line = text.lines().last().unwrap().to_owned() + "\n";
    for (from, to, expected) in [
        ("key-4", "key-9", "broken at entry 4"),
        ("\"outcome\":\"done\"", "\"outcome\":\"refused\"", "an outcome was changed"),
        ("\"sequence\":3", "\"sequence\":4", "broken at entry 3"),
        (&*last_line, "", "ends before entry 6"),
        ("\"head\":\"0:0", "\"head\":\"0:1", "second line was changed"),
        ("\"head\":\"6:", "\"head\":\"5:", "second line was changed"),
        ("\"written_by\":\"", "\"written_by\":\"not ", "second line was changed"),
        ("gatekey-ledger-archive-1", "gatekey-ledger-archive-9", "not an archive"),
    ] {
        let changed = shelf.changed("a", from, to);
        for flags in [&[][..], &["--archives-only"]] {
            let stderr = fails(&shelf.verify_with(&data_dir, &[changed], flags), 8);
            assert!(stderr.contains(expected), "{from}: {stderr}");
        }
    }
    // An archive cannot be made to end earlier, although its links are intact.
    let shorter = shelf.changed("a", &last_line, "");
    fs::rename(shelf.path(shorter), shelf.path("shorter")).unwrap();
    let link =
        |place: usize| archived(&shelf.path("a"))[place]["link"].as_str().unwrap().to_owned();
    let (from, to) = (format!("6:{}", link(5)), format!("5:{}", link(4)));
    let forged = shelf.changed("shorter", &from, &to);
    let stderr = fails(&shelf.verify_with(&data_dir, &[forged], &["--archives-only"]), 8);
    assert!(stderr.contains("second line was changed"), "{stderr}");
}

#[tokio::test]
async fn a_missing_archive_is_named() {
    let server = server().await;
    let (data_dir, shelf) = (&server.process.data_dir, Shelf::new());
    for (name, through) in [("a", 2), ("b", 5), ("c", 8)] {
        stdout(&shelf.archive(data_dir, name, through));
    }
    stdout(&shelf.verify(data_dir, &["c", "a", "b"]));
    let stderr = fails(&shelf.verify(data_dir, &["a", "c"]), 8);
    assert!(stderr.contains("entries 3 to 5 are missing before"), "{stderr}");
    let stderr = fails(&shelf.verify(data_dir, &["a", "b"]), 8);
    let expected = "entries 6 to 8 are missing between the archives and the ledger";
    assert!(stderr.contains(expected), "{stderr}");
    // Old archives may be deleted by policy.
    let later = shelf.verify(data_dir, &["b", "c"]);
    let note = String::from_utf8_lossy(&later.stderr).into_owned();
    assert!(note.contains("entries 1 to 2 are in archives that were not named"), "{note}");
    stdout(&later);
}

#[tokio::test]
async fn an_archive_verifies_without_a_ledger() {
    let (_server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    stdout(&shelf.archive(&data_dir, "a", 3));
    stdout(&shelf.archive(&data_dir, "b", 6));
    fs::copy(data_dir.join("root.key"), shelf.path("copy.key")).unwrap();
    let nowhere = shelf.path("nowhere");
    let key = shelf.word("copy.key");
    let flags = ["--archives-only", "--root-key-file", &key];
    let text = stdout(&shelf.verify_with(&nowhere, &["b", "a"], &flags));
    assert!(text.contains("entries 1 to 3") && text.contains("entries 4 to 6"), "{text}");
    assert!(!nowhere.exists());
    stdout(&run(&[
        "ledger",
        "verify",
        "--root-key-file",
        &key,
        "--archives-only",
        &shelf.word("b"),
    ]));
    // Without the flag, the ledger is verified too.
    let stderr = fails(&shelf.verify_with(&nowhere, &["a"], &["--root-key-file", &key]), 2);
    assert!(stderr.contains("no Gatekey database"), "{stderr}");
    let other = Server::start().await;
    let other = other.process.data_dir.join("root.key");
    let flags = ["--archives-only", "--root-key-file", other.to_str().unwrap()];
    let stderr = fails(&shelf.verify_with(&nowhere, &["a"], &flags), 2);
    assert!(stderr.contains("another root key"), "{stderr}");
}

#[tokio::test]
async fn an_archive_of_another_ledger_is_refused() {
    let (_server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    let fork = shelf.path("fork");
    copy_data_dir(&data_dir, &fork);
    for directory in [&data_dir, &fork] {
        stdout(&run_on(directory, &["init", "--name", "same"]));
    }
    stdout(&shelf.archive(&data_dir, "a", 8));
    stdout(&shelf.archive(&fork, "b", 8));
    let stderr = fails(&shelf.verify(&data_dir, &["b"]), 8);
    assert!(stderr.contains("does not match the known head"), "{stderr}");
    let stderr = fails(&shelf.verify(&data_dir, &["a", "b"]), 8);
    assert!(stderr.contains("they are of different ledgers"), "{stderr}");
}

/// Entries are deleted without the root key, and the base moved so that the rest verifies.
#[tokio::test]
async fn a_moved_base_prevents_the_start() {
    const HIDE: &str = "DELETE FROM ledger_base;
        INSERT INTO ledger_base SELECT 1, sequence, link, root_key_version FROM ledger WHERE sequence = 6;
        DELETE FROM ledger WHERE sequence <= 6";
    for archives in [false, true] {
        let (_server, data_dir) = stopped().await;
        let shelf = Shelf::new();
        if archives {
            stdout(&shelf.archive(&data_dir, "a", 3));
        }
        tamper(&data_dir, &format!("DROP TRIGGER ledger_base_is_not_removed; {HIDE}"));
        let recorded = if archives { 3 } else { 0 };
        let expected = format!("begins after entry 6, but was archived up to entry {recorded}");
        let mut serve = gatekey();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--public-url", PUBLIC_URL, "--data-dir"]);
        let output = serve.arg(&data_dir).output().unwrap();
        let served = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && served.contains(&expected), "{served}");
        let stderr = fails(&run_on(&data_dir, &["ledger", "verify"]), 8);
        assert!(stderr.contains(&expected), "{stderr}");
        let stderr = fails(&shelf.archive(&data_dir, "b", 7), 8);
        assert!(stderr.contains(&expected) && !shelf.path("b").exists(), "{stderr}");
        let checked = run_on(&data_dir, &["doctor", "store"]);
        assert_eq!(checked.status.code(), Some(8), "{checked:?}");
    }
}

#[tokio::test]
async fn a_broken_ledger_is_not_archived() {
    let (_server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    tamper(&data_dir, "UPDATE ledger SET target = 'other' WHERE sequence = 3");
    let stderr = fails(&shelf.archive(&data_dir, "a", 5), 8);
    assert!(stderr.contains("broken at entry 3"), "{stderr}");
    assert!(!shelf.path("a").exists());
    stdout(&shelf.archive(&data_dir, "a", 2));
}

#[tokio::test]
async fn a_restored_ledger_continues_its_archive() {
    let server = server().await;
    let (data_dir, shelf) = (&server.process.data_dir, Shelf::new());
    stdout(&shelf.archive(data_dir, "a", 4));
    stdout(&run_on(data_dir, &["backup", &shelf.word("backup")]));
    let root_key = data_dir.join("root.key");
    let root_key = root_key.to_str().unwrap();
    let restored = shelf.path("restored");
    let words = ["restore", &shelf.word("backup"), "--root-key-file", root_key];
    stdout(&run_on(&restored, &words));
    let flags = ["--public-url", PUBLIC_URL, "--root-key-file", root_key];
    let process = ServerProcess::start_on(&restored, &flags);
    // The server archives, and the command verifies archives itself.
    stdout(&shelf.archive(&restored, "b", 7));
    let stderr = fails(&shelf.verify(&restored, &["a", "b"]), 2);
    assert!(stderr.contains("name it with --root-key-file"), "{stderr}");
    stdout(&shelf.verify_with(&restored, &["a", "b"], &["--root-key-file", root_key]));
    assert_eq!(process.http().token(&server.admin, &[]).await.status, 200);
}

#[tokio::test]
async fn archives_verify_across_root_key_rotations() {
    let server = server().await;
    let (data_dir, shelf) = (&server.process.data_dir, Shelf::new());
    stdout(&shelf.archive(data_dir, "a", 4));
    stdout(&run_on(data_dir, &["root-key", "rotate"]));
    for key in ["key-3", "key-4", "key-5", "key-6", "key-7"] {
        server.admin_call("Delete", json!({ "clientId": key })).await;
    }
    server.token(&server.admin).await;
    stdout(&shelf.archive(data_dir, "b", 10));
    let old_key = shelf.path("old.key");
    fs::copy(data_dir.join("root.key"), &old_key).unwrap();
    stdout(&shelf.verify(data_dir, &["a", "b"]));
    stdout(&run_on(data_dir, &["root-key", "retire", "1"]));
    // The database still has the ledger key of version 1.
    stdout(&shelf.verify(data_dir, &["a", "b"]));
    for name in ["a", "b"] {
        let stderr = fails(&shelf.verify_with(data_dir, &[name], &["--archives-only"]), 2);
        assert!(stderr.contains("needs version 1 of the root key"), "{stderr}");
        let flags = ["--archives-only", "--root-key-file", old_key.to_str().unwrap()];
        stdout(&shelf.verify_with(data_dir, &[name], &flags));
    }
    let versions = json(&run_on(data_dir, &["root-key", "list", "--output", "json"]));
    assert!(versions[1]["since"].is_string(), "{versions}");
}

/// The file is durable, and the entries are still in the ledger, as after a power cut.
#[tokio::test]
async fn an_interrupted_archive_is_finished() {
    let (_server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    let before = exported(&data_dir);
    let crashed = shelf.path("crashed");
    copy_data_dir(&data_dir, &crashed);
    stdout(&shelf.archive(&data_dir, "a", 4));
    // Ledger and archive overlap.
    stdout(&shelf.verify(&crashed, &["a"]));
    // Another limit, which the file does not have.
    let stderr = fails(&shelf.archive(&crashed, "a", 5), 2);
    assert!(stderr.contains("already exists"), "{stderr}");
    let changed = shelf.changed("a", "key-3", "key-9");
    assert!(fails(&shelf.archive(&crashed, changed, 4), 2).contains("already exists"));
    assert_eq!(exported(&crashed), before);

    let again = shelf.path("again");
    copy_data_dir(&crashed, &again);
    let printed = json(&shelf.archive(&crashed, "a", 4));
    assert_eq!((&printed["resumed"], &printed["last"]), (&json!(true), &json!(4)));
    assert_eq!(exported(&crashed)[..3], before[4..]);
    stdout(&shelf.verify(&crashed, &["a"]));
    // With another file, the same entries are in two archives.
    let printed = json(&shelf.archive(&again, "b", 6));
    assert_eq!((&printed["resumed"], &printed["first"]), (&json!(false), &json!(1)));
    stdout(&shelf.verify(&again, &["a", "b"]));
}

/// At a random moment, up to the deletion of the entries.
#[tokio::test]
async fn a_killed_archive_loses_no_entry() {
    let (mut server, data_dir) = stopped().await;
    let (shelf, mut random) = (Shelf::new(), Random(seed()));
    let known = json(&run_on(&data_dir, &["ledger", "verify", "--output", "json"]));
    let mut names: Vec<String> = Vec::new();
    for round in 0..12 {
        if round == 6 {
            server.restart_stopped();
        }
        let last = exported(&data_dir).last().unwrap()["sequence"].to_string();
        let name = format!("archive-{round:02}");
        let mut command = gatekey();
        command.args(["ledger", "archive", &shelf.word(&name), "--through", &last, "--data-dir"]);
        command.arg(&data_dir).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // No event marks the middle of an archive.
        tokio::time::sleep(Duration::from_micros(random.below(60_000))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let through = last.parse().unwrap();
        let again = shelf.archive(&data_dir, &name, through);
        if again.status.code() == Some(2) {
            let stderr = fails(&again, 2);
            assert!(stderr.contains("already"), "{stderr}");
        } else {
            stdout(&again);
        }
        names.push(name);
        let named: Vec<_> = names.iter().map(String::as_str).collect();
        let head = known["head"].as_str().unwrap();
        stdout(&shelf.verify_with(&data_dir, &named, &["--known-head", head]));
    }
}

#[tokio::test]
async fn a_known_head_is_found_in_an_archive() {
    let (_server, data_dir) = stopped().await;
    let shelf = Shelf::new();
    let entries = exported(&data_dir);
    let head = |place: usize| {
        format!("{}:{}", entries[place]["sequence"], entries[place]["link"].as_str().unwrap())
    };
    stdout(&shelf.archive(&data_dir, "a", 3));
    stdout(&shelf.archive(&data_dir, "b", 5));
    let verify =
        |names: &[&str], head: &str| shelf.verify_with(&data_dir, names, &["--known-head", head]);
    for place in [0, 2, 3, 4, 5, 6] {
        stdout(&verify(&["a", "b"], &head(place)));
    }
    for place in [4, 6] {
        stdout(&verify(&[], &head(place)));
    }
    let stderr = fails(&verify(&[], &head(1)), 8);
    assert!(stderr.contains("was archived, with all entries up to 5"), "{stderr}");
    let stderr = fails(&verify(&["b"], &head(1)), 8);
    assert!(stderr.contains("from before the archives"), "{stderr}");
    let other = format!("2:{}", "0".repeat(64));
    let stderr = fails(&verify(&["a", "b"], &other), 8);
    assert!(stderr.contains("does not match the known head"), "{stderr}");
}

#[tokio::test]
async fn archived_entries_are_reported_as_such() {
    let server = server().await;
    let (data_dir, shelf) = (&server.process.data_dir, Shelf::new());
    stdout(&shelf.archive(data_dir, "a", 4));
    let stderr = |words: &[&str]| {
        let output = run_on(data_dir, &[&["ledger"], words].concat());
        stdout(&output);
        String::from_utf8(output.stderr).unwrap()
    };
    for words in [&["list"][..], &["list", "--key", "key-3"], &["export"]] {
        let stderr = stderr(words);
        assert!(stderr.contains("note: entries 1 to 4 were archived"), "{words:?}: {stderr}");
    }
    assert!(stderr(&["export", "--after", "2"]).contains("entries 3 to 4 were archived"));
    for words in [&["list", "--limit", "4"][..], &["export", "--after", "4"]] {
        assert_eq!(stderr(words), "", "{words:?}");
    }
    let mut follow = gatekey();
    follow.args(["ledger", "follow", "--after", "2", "--data-dir"]).arg(data_dir);
    let mut following = follow.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(following.stderr.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "note: entries 3 to 4 were archived");
    following.kill().unwrap();
    following.wait().unwrap();
}
