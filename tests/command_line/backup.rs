//! `gatekey backup` and `gatekey restore`.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{fails, json, json_lines, stdout, tamper};
use crate::support::{Credentials, Http, PUBLIC_URL, Server, ServerProcess, eventually, run};

/// A place for backups and new data directories.
struct Shelf(TempDir);

impl Shelf {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn names(&self) -> BTreeSet<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn back_up(data_dir: &Path, file: &Path, flags: &[&str]) -> Output {
    let words = ["backup", file.to_str().unwrap(), "--data-dir", data_dir.to_str().unwrap()];
    run(&[&words[..], flags].concat())
}

/// Restores with the root key of the old data directory.
fn restore(file: &Path, new: &Path, old: &Path, flags: &[&str]) -> Output {
    let root_key = old.join("root.key");
    let words = ["restore", file.to_str().unwrap(), "--data-dir", new.to_str().unwrap()];
    run(&[&words[..], &["--root-key-file", root_key.to_str().unwrap()], flags].concat())
}

/// A server on what was restored, with the old root key.
fn serve(new: &Path, old: &Path) -> ServerProcess {
    let root_key = old.join("root.key");
    ServerProcess::start_on(new, &["--public-url", PUBLIC_URL, "--root-key-file", root_key.to_str().unwrap()])
}

async fn is_alive(http: &Http, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    http.get("/me", &[("authorization", &bearer)]).await.status == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_every_key_acknowledged_before_it_began_and_kills_every_token() {
    let server = Server::with_public_url().await;
    let shelf = Shelf::new();
    let (file, new) = (shelf.path("a.backup"), shelf.path("new"));
    let stop = Arc::new(AtomicBool::new(false));
    // What was acknowledged as created and will not be deleted, and what was acknowledged as deleted.
    let kept = Arc::new(Mutex::new(Vec::<Credentials>::new()));
    let gone = Arc::new(Mutex::new(Vec::<String>::new()));
    let load: Vec<_> = (0..4)
        .map(|worker| {
            let (http, token) = (server.process.http(), server.admin_token.clone());
            let (stop, kept, gone) = (stop.clone(), kept.clone(), gone.clone());
            tokio::spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let key = http.create(&token, &format!("kept-{worker}-{number}")).await;
                    kept.lock().unwrap().push(key);
                    let name = format!("gone-{worker}-{number}");
                    http.create(&token, &name).await;
                    let delete = "/gatekey.v1.ApiKeyService/Delete";
                    let response = http.connect_json(delete, &token, &json!({ "clientId": name })).await;
                    assert_eq!(response.status, 200, "{}", response.text());
                    gone.lock().unwrap().push(name);
                }
            })
        })
        .collect();
    eventually("a load", async || kept.lock().unwrap().len() >= 40).await;
    let before = kept.lock().unwrap().clone();
    let deleted_before = gone.lock().unwrap().clone();
    let old_token = server.token(&before[0]).await;
    let data_dir = server.process.data_dir.clone();
    let backed_up = {
        let (data_dir, file) = (data_dir.clone(), file.clone());
        tokio::task::spawn_blocking(move || back_up(&data_dir, &file, &[])).await.unwrap()
    };
    let written = kept.lock().unwrap().len();
    stdout(&backed_up);
    eventually("the load goes on", async || kept.lock().unwrap().len() > written).await;
    stop.store(true, Ordering::SeqCst);
    for worker in load {
        worker.await.unwrap();
    }
    // From after the backup, by a key and a secret that are in it.
    server.admin_call("Disable", json!({ "clientId": before[1].client_id })).await;
    server.admin_call("Enable", json!({ "clientId": before[1].client_id })).await;
    let later_token = server.token(&before[1]).await;

    stdout(&restore(&file, &new, &data_dir, &[]));
    let process = serve(&new, &data_dir);
    let http = process.http();
    for key in &before {
        assert_eq!(http.token(key, &[]).await.status, 200, "{} works", key.client_id);
    }
    let admin = process.token(&server.admin).await;
    for name in deleted_before {
        let get = "/gatekey.v1.ApiKeyService/Get";
        let response = http.connect_json(get, &admin, &json!({ "clientId": name })).await;
        assert_eq!(response.status, 404, "{name} was deleted before");
    }
    for token in [&old_token, &later_token, &server.admin_token] {
        assert!(is_alive(&server.http, token).await, "it lives where it was fetched");
        assert!(!is_alive(&http, token).await, "it is dead where the backup was restored");
    }
    assert!(is_alive(&http, &process.token(&before[0]).await).await, "a new token lives");
    let verified = json(&run(&["ledger", "verify", "--data-dir", new.to_str().unwrap(), "--output", "json"]));
    assert!(verified["entries"].as_u64().unwrap() > 80);
}

#[tokio::test]
async fn a_backup_is_one_file_for_its_owner_alone_without_root_key_or_secret() {
    let server = Server::with_public_url().await;
    let shelf = Shelf::new();
    let file = shelf.path("a.backup");
    let told = json(&back_up(&server.process.data_dir, &file, &["--output", "json"]));
    let bytes = fs::read(&file).unwrap();
    assert_eq!(told["bytes"], bytes.len());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(shelf.names(), ["a.backup".to_owned()].into());
    let root_key = fs::read_to_string(server.process.data_dir.join("root.key")).unwrap();
    let encoded = root_key.trim().rsplit_once(':').unwrap().1;
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("gatekey-backup-1"));
    for text in [encoded, &server.admin.client_secret, "SQLite format 3", "admin"] {
        assert!(!holds(text), "{text}");
    }
    let leftovers = fs::read_dir(&server.process.data_dir).unwrap();
    let names: Vec<_> = leftovers.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("snapshot")), "{names:?}");
}

#[tokio::test]
async fn a_backup_of_a_stopped_server_restores_as_well() {
    let mut server = Server::with_public_url().await;
    let key = server.create_key("ci").await;
    assert!(server.process.stop().await.success());
    let shelf = Shelf::new();
    let (file, new) = (shelf.path("a.backup"), shelf.path("new"));
    stdout(&back_up(&server.process.data_dir, &file, &[]));
    let told = json(&restore(&file, &new, &server.process.data_dir, &["--output", "json"]));
    assert_eq!(told["keys"], 2);
    assert_eq!(serve(&new, &server.process.data_dir).http().token(&key, &[]).await.status, 200);
}

#[tokio::test]
async fn no_file_is_overwritten_and_no_backup_entered_for_it() {
    let server = Server::with_public_url().await;
    let shelf = Shelf::new();
    let file = shelf.file("mine", "a letter");
    let stderr = fails(&back_up(&server.process.data_dir, Path::new(&file), &[]), 2);
    assert!(stderr.contains("already exists"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "a letter");
    assert_eq!(shelf.names(), ["mine".to_owned()].into());
    assert!(!server.ledger().await.iter().any(|entry| entry.action == "store.back_up"));
}

#[tokio::test]
async fn backup_and_restore_are_entries_and_the_chain_goes_on() {
    let server = Server::with_public_url().await;
    let shelf = Shelf::new();
    let (file, new) = (shelf.path("a.backup"), shelf.path("new"));
    let told = json(&back_up(&server.process.data_dir, &file, &["--output", "json"]));
    stdout(&restore(&file, &new, &server.process.data_dir, &[]));
    let root_key = server.process.data_dir.join("root.key");
    let words = ["ledger", "export", "--data-dir", new.to_str().unwrap()];
    let entries = json_lines(&run(&[&words[..], &["--root-key-file", root_key.to_str().unwrap()]].concat()));
    let newest: Vec<_> = entries.iter().rev().take(2).map(|entry| &entry["action"]).collect();
    assert_eq!(newest, ["store.restore", "store.back_up"]);
    let restored = entries.last().unwrap();
    assert!(restored["actor"].as_str().unwrap().starts_with("local:uid="), "{restored}");
    assert!(
        restored["detail"].as_str().unwrap().contains(told["created_at"].as_str().unwrap()),
        "{restored}"
    );
}

#[tokio::test]
async fn a_passphrase_is_needed_where_there_is_one() {
    let server = Server::with_public_url().await;
    let shelf = Shelf::new();
    let (file, new, old) = (shelf.path("a.backup"), shelf.path("new"), server.process.data_dir.clone());
    let right = shelf.file("right", "correct horse battery staple\n");
    let wrong = shelf.file("wrong", "incorrect\n");
    let empty = shelf.file("empty", "\n");
    let said_empty = fails(&back_up(&old, &file, &["--passphrase-file", &empty]), 2);
    assert!(said_empty.contains("is empty"), "{said_empty}");
    stdout(&back_up(&old, &file, &["--passphrase-file", &right]));
    let said_missing = fails(&restore(&file, &new, &old, &[]), 2);
    assert!(said_missing.contains("sealed under a passphrase"), "{said_missing}");
    let said_wrong = fails(&restore(&file, &new, &old, &["--passphrase-file", &wrong]), 2);
    assert!(said_wrong.contains("another passphrase"), "{said_wrong}");
    assert!(!new.exists());
    stdout(&restore(&file, &new, &old, &["--passphrase-file", &right]));
    serve(&new, &old).token(&server.admin).await;
}

#[tokio::test]
async fn a_truncated_or_changed_backup_is_refused_and_nothing_is_written() {
    let server = Server::with_public_url().await;
    let shelf = Shelf::new();
    let (file, new, old) = (shelf.path("a.backup"), shelf.path("new"), server.process.data_dir.clone());
    stdout(&back_up(&old, &file, &[]));
    let whole = fs::read(&file).unwrap();
    let body = 17 + whole[17..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let ends = [0, 5, 17, 100, body, body + 1, usize::midpoint(body, whole.len()), whole.len() - 1];
    let mut damaged: Vec<Vec<u8>> = ends.map(|end| whole[..end].to_vec()).into();
    for at in [0, body + 1, usize::midpoint(body, whole.len()), whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        damaged.push(changed);
    }
    for bytes in damaged {
        fs::write(&file, &bytes).unwrap();
        let stderr = fails(&restore(&file, &new, &old, &[]), 8);
        assert!(stderr.contains("was not restored"), "{stderr}");
        assert!(!new.exists(), "{stderr}");
    }
    assert_eq!(shelf.names(), ["a.backup".to_owned()].into());
}

#[tokio::test]
async fn a_database_that_was_damaged_before_is_refused_and_nothing_is_left() {
    let mut server = Server::with_public_url().await;
    server.create_key("ci").await;
    assert!(server.process.stop().await.success());
    tamper(
        &server.process.data_dir,
        "PRAGMA foreign_keys = OFF; UPDATE secret SET client_id = 'nobody' WHERE client_id = 'ci'",
    );
    let shelf = Shelf::new();
    let (file, new) = (shelf.path("a.backup"), shelf.path("new"));
    // The directory does not load any more, so the copy is sealed here.
    let root_key = crate::support::root_key(&server.process.data_dir);
    let env = gatekey_core::Env::system();
    let sealer = gatekey_core::operations::backup::Sealer::new(&root_key, None, &env, env.now(), "a test");
    let mut database = fs::File::open(server.process.data_dir.join("gatekey.db")).unwrap();
    sealer.seal(&mut database, &mut fs::File::create(&file).unwrap()).unwrap();
    fs::create_dir(&new).unwrap();
    let stderr = fails(&restore(&file, &new, &server.process.data_dir, &[]), 8);
    assert!(stderr.contains("was damaged before"), "{stderr}");
    assert_eq!(fs::read_dir(&new).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn only_an_empty_directory_is_restored_into_and_it_may_hold_the_root_key() {
    let server = Server::with_public_url().await;
    let shelf = Shelf::new();
    let (file, new, old) = (shelf.path("a.backup"), shelf.path("new"), server.process.data_dir.clone());
    stdout(&back_up(&old, &file, &[]));
    let said_used = fails(&restore(&file, &old, &old, &[]), 2);
    assert!(said_used.contains("already"), "{said_used}");
    fs::create_dir(&new).unwrap();
    let words = ["restore", file.to_str().unwrap(), "--data-dir", new.to_str().unwrap()];
    let said_missing = fails(&run(&words), 2);
    assert!(said_missing.contains("backups do not include it"), "{said_missing}");
    fs::copy(old.join("root.key"), new.join("root.key")).unwrap();
    stdout(&run(&words));
    ServerProcess::start_on(&new, &["--public-url", PUBLIC_URL]).token(&server.admin).await;
}

#[tokio::test]
async fn another_root_key_is_told_apart_from_damage() {
    let (server, other) = (Server::with_public_url().await, Server::with_public_url().await);
    let shelf = Shelf::new();
    let (file, new) = (shelf.path("a.backup"), shelf.path("new"));
    stdout(&back_up(&server.process.data_dir, &file, &[]));
    let stderr = fails(&restore(&file, &new, &other.process.data_dir, &[]), 2);
    assert!(stderr.contains("another root key"), "{stderr}");
    assert!(!new.exists());
}

#[tokio::test]
async fn compare_names_keys_made_deleted_and_changed_after_the_backup() {
    let server = Server::with_public_url().await;
    for name in ["same", "rotated", "disabled", "deleted", "made-again"] {
        server.create_key(name).await;
    }
    let shelf = Shelf::new();
    let (file, old) = (shelf.path("a.backup"), server.process.data_dir.clone());
    stdout(&back_up(&old, &file, &[]));
    server.create_key("newer").await;
    server.admin_call("RotateSecret", json!({ "clientId": "rotated" })).await;
    server.admin_call("Disable", json!({ "clientId": "disabled" })).await;
    for name in ["deleted", "made-again"] {
        server.admin_call("Delete", json!({ "clientId": name })).await;
    }
    server.create_key("made-again").await;
    // While the old server runs.
    let flags = ["--compare", old.to_str().unwrap(), "--output", "json"];
    let told = json(&restore(&file, &shelf.path("one"), &old, &flags));
    let expected = json!({
        "newer": ["made-again", "newer"],
        "deleted": ["deleted", "made-again"],
        "changed": ["disabled", "rotated"],
    });
    assert_eq!(told["compared"], expected);
    let text = stdout(&restore(&file, &shelf.path("two"), &old, &["--compare", old.to_str().unwrap()]));
    assert!(text.contains("usable again (delete them)  deleted made-again"), "{text}");
    let text = stdout(&restore(&file, &shelf.path("three"), &old, &[]));
    assert!(text.contains("--compare"), "{text}");
    let unreadable = restore(&file, &shelf.path("four"), &old, &["--compare", "/nonexistent"]);
    assert!(fails(&unreadable, 1).contains("to compare"), "{unreadable:?}");
    assert!(!shelf.path("four").exists());
}

#[tokio::test]
async fn a_ledger_broken_before_the_backup_is_told_and_restored_as_it_is() {
    let mut server = Server::with_public_url().await;
    assert!(server.process.stop().await.success());
    tamper(&server.process.data_dir, "UPDATE ledger SET actor = 'nobody' WHERE sequence = 2");
    let shelf = Shelf::new();
    let file = shelf.path("a.backup");
    stdout(&back_up(&server.process.data_dir, &file, &[]));
    let told: Value =
        json(&restore(&file, &shelf.path("new"), &server.process.data_dir, &["--output", "json"]));
    assert!(told["ledger_fault"].as_str().unwrap().contains("entry 2"), "{told}");
}
