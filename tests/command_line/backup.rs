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

/// A directory for backups and new data directories.
struct Scratch(TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
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

/// Starts a server on a restored directory, with the old root key.
fn serve(new: &Path, old: &Path) -> ServerProcess {
    let root_key = old.join("root.key");
    ServerProcess::start_on(
        new,
        &["--public-url", PUBLIC_URL, "--root-key-file", root_key.to_str().unwrap()],
    )
}

async fn is_valid(http: &Http, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    http.get("/me", &[("authorization", &bearer)]).await.status == 200
}

/// The backup is taken under load; restoring it revokes every token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_contains_every_acknowledged_key() {
    let server = Server::with_public_url().await;
    let scratch = Scratch::new();
    let (file, new) = (scratch.path("a.backup"), scratch.path("new"));
    let stop = Arc::new(AtomicBool::new(false));
    // Keys whose creation was acknowledged and that are kept, and keys whose deletion was
    // acknowledged.
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
                    let response =
                        http.connect_json(delete, &token, &json!({ "clientId": name })).await;
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
    eventually("the load continues", async || kept.lock().unwrap().len() > written).await;
    stop.store(true, Ordering::SeqCst);
    for worker in load {
        worker.await.unwrap();
    }
    // Tokens fetched after the backup, with keys and secrets that it contains.
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
        assert!(is_valid(&server.http, token).await, "it is valid where it was fetched");
        assert!(!is_valid(&http, token).await, "it is revoked where the backup was restored");
    }
    assert!(is_valid(&http, &process.token(&before[0]).await).await, "a new token is valid");
    let verified =
        json(&run(&["ledger", "verify", "--data-dir", new.to_str().unwrap(), "--output", "json"]));
    assert!(verified["entries"].as_u64().unwrap() > 80);
}

/// The backup is one file, readable only by its owner.
#[tokio::test]
async fn a_backup_contains_no_root_key_or_secret() {
    let server = Server::with_public_url().await;
    let scratch = Scratch::new();
    let file = scratch.path("a.backup");
    let report = json(&back_up(&server.process.data_dir, &file, &["--output", "json"]));
    let bytes = fs::read(&file).unwrap();
    assert_eq!(report["bytes"], bytes.len());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(scratch.names(), ["a.backup".to_owned()].into());
    let root_key = fs::read_to_string(server.process.data_dir.join("root.key")).unwrap();
    let encoded = root_key.trim().rsplit_once(':').unwrap().1;
    let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("gatekey-backup-1"));
    for text in [encoded, &server.admin.client_secret, "SQLite format 3", "admin"] {
        assert!(!holds(text), "{text}");
    }
    let leftovers = fs::read_dir(&server.process.data_dir).unwrap();
    let names: Vec<_> =
        leftovers.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("snapshot")), "{names:?}");
}

#[tokio::test]
async fn a_stopped_servers_backup_can_be_restored() {
    let mut server = Server::with_public_url().await;
    let key = server.create_key("ci").await;
    assert!(server.process.stop().await.success());
    let scratch = Scratch::new();
    let (file, new) = (scratch.path("a.backup"), scratch.path("new"));
    stdout(&back_up(&server.process.data_dir, &file, &[]));
    let report = json(&restore(&file, &new, &server.process.data_dir, &["--output", "json"]));
    assert_eq!(report["keys"], 2);
    assert_eq!(serve(&new, &server.process.data_dir).http().token(&key, &[]).await.status, 200);
}

/// A refused backup has no ledger entry.
#[tokio::test]
async fn a_backup_overwrites_no_file() {
    let server = Server::with_public_url().await;
    let scratch = Scratch::new();
    let file = scratch.file("mine", "a letter");
    let stderr = fails(&back_up(&server.process.data_dir, Path::new(&file), &[]), 2);
    assert!(stderr.contains("already exists"), "{stderr}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "a letter");
    assert_eq!(scratch.names(), ["mine".to_owned()].into());
    assert!(!server.ledger().await.iter().any(|entry| entry.action == "store.back_up"));
}

#[tokio::test]
async fn backup_and_restore_have_ledger_entries() {
    let server = Server::with_public_url().await;
    let scratch = Scratch::new();
    let (file, new) = (scratch.path("a.backup"), scratch.path("new"));
    let report = json(&back_up(&server.process.data_dir, &file, &["--output", "json"]));
    stdout(&restore(&file, &new, &server.process.data_dir, &[]));
    let root_key = server.process.data_dir.join("root.key");
    let words = ["ledger", "export", "--data-dir", new.to_str().unwrap()];
    let entries =
        json_lines(&run(&[&words[..], &["--root-key-file", root_key.to_str().unwrap()]].concat()));
    let newest: Vec<_> = entries.iter().rev().take(2).map(|entry| &entry["action"]).collect();
    assert_eq!(newest, ["store.restore", "store.back_up"]);
    let restored = entries.last().unwrap();
    assert!(restored["actor"].as_str().unwrap().starts_with("local:uid="), "{restored}");
    assert!(
        restored["detail"].as_str().unwrap().contains(report["created_at"].as_str().unwrap()),
        "{restored}"
    );
}

#[tokio::test]
async fn a_sealed_backup_needs_its_passphrase() {
    let server = Server::with_public_url().await;
    let scratch = Scratch::new();
    let (file, new, old) =
        (scratch.path("a.backup"), scratch.path("new"), server.process.data_dir.clone());
    let right = scratch.file("right", "correct horse battery staple\n");
    let wrong = scratch.file("wrong", "incorrect\n");
    let empty = scratch.file("empty", "\n");
    let stderr_empty = fails(&back_up(&old, &file, &["--passphrase-file", &empty]), 2);
    assert!(stderr_empty.contains("is empty"), "{stderr_empty}");
    stdout(&back_up(&old, &file, &["--passphrase-file", &right]));
    let stderr_missing = fails(&restore(&file, &new, &old, &[]), 2);
    assert!(stderr_missing.contains("sealed under a passphrase"), "{stderr_missing}");
    let stderr_wrong = fails(&restore(&file, &new, &old, &["--passphrase-file", &wrong]), 2);
    assert!(stderr_wrong.contains("another passphrase"), "{stderr_wrong}");
    assert!(!new.exists());
    stdout(&restore(&file, &new, &old, &["--passphrase-file", &right]));
    serve(&new, &old).token(&server.admin).await;
}

#[tokio::test]
async fn a_damaged_backup_is_refused_before_writing() {
    let server = Server::with_public_url().await;
    let scratch = Scratch::new();
    let (file, new, old) =
        (scratch.path("a.backup"), scratch.path("new"), server.process.data_dir.clone());
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
    assert_eq!(scratch.names(), ["a.backup".to_owned()].into());
}

/// Nothing is left behind.
#[tokio::test]
async fn a_backup_of_a_damaged_database_is_refused() {
    let mut server = Server::with_public_url().await;
    server.create_key("ci").await;
    assert!(server.process.stop().await.success());
    tamper(
        &server.process.data_dir,
        "PRAGMA foreign_keys = OFF; UPDATE secret SET client_id = 'nobody' WHERE client_id = 'ci'",
    );
    let scratch = Scratch::new();
    let (file, new) = (scratch.path("a.backup"), scratch.path("new"));
    // The server cannot open the directory any more, so the backup is sealed here.
    let root_key = crate::support::root_key(&server.process.data_dir);
    let env = gatekey_core::Env::system();
    let sealer =
        gatekey_core::operations::backup::Sealer::new(&root_key, None, &env, env.now(), "a test");
    let mut database = fs::File::open(server.process.data_dir.join("gatekey.db")).unwrap();
    sealer.seal(&mut database, &mut fs::File::create(&file).unwrap()).unwrap();
    fs::create_dir(&new).unwrap();
    let stderr = fails(&restore(&file, &new, &server.process.data_dir, &[]), 8);
    assert!(stderr.contains("was damaged before"), "{stderr}");
    assert_eq!(fs::read_dir(&new).unwrap().count(), 0, "nothing is left behind");
}

/// The target may contain only the root key.
#[tokio::test]
async fn restore_needs_an_empty_directory() {
    let server = Server::with_public_url().await;
    let scratch = Scratch::new();
    let (file, new, old) =
        (scratch.path("a.backup"), scratch.path("new"), server.process.data_dir.clone());
    stdout(&back_up(&old, &file, &[]));
    let stderr_used = fails(&restore(&file, &old, &old, &[]), 2);
    assert!(stderr_used.contains("already"), "{stderr_used}");
    fs::create_dir(&new).unwrap();
    let words = ["restore", file.to_str().unwrap(), "--data-dir", new.to_str().unwrap()];
    let stderr_missing = fails(&run(&words), 2);
    assert!(stderr_missing.contains("backups do not include it"), "{stderr_missing}");
    fs::copy(old.join("root.key"), new.join("root.key")).unwrap();
    stdout(&run(&words));
    ServerProcess::start_on(&new, &["--public-url", PUBLIC_URL]).token(&server.admin).await;
}

#[tokio::test]
async fn another_root_key_is_distinguished_from_damage() {
    let (server, other) = (Server::with_public_url().await, Server::with_public_url().await);
    let scratch = Scratch::new();
    let (file, new) = (scratch.path("a.backup"), scratch.path("new"));
    stdout(&back_up(&server.process.data_dir, &file, &[]));
    let stderr = fails(&restore(&file, &new, &other.process.data_dir, &[]), 2);
    assert!(stderr.contains("another root key"), "{stderr}");
    assert!(!new.exists());
}

/// The report lists created, deleted and changed keys.
#[tokio::test]
async fn compare_lists_keys_changed_after_the_backup() {
    let server = Server::with_public_url().await;
    for name in ["same", "rotated", "disabled", "deleted", "made-again"] {
        server.create_key(name).await;
    }
    let scratch = Scratch::new();
    let (file, old) = (scratch.path("a.backup"), server.process.data_dir.clone());
    stdout(&back_up(&old, &file, &[]));
    server.create_key("newer").await;
    server.admin_call("RotateSecret", json!({ "clientId": "rotated" })).await;
    server.admin_call("Disable", json!({ "clientId": "disabled" })).await;
    for name in ["deleted", "made-again"] {
        server.admin_call("Delete", json!({ "clientId": name })).await;
    }
    server.create_key("made-again").await;
    // While the old server is running.
    let flags = ["--compare", old.to_str().unwrap(), "--output", "json"];
    let report = json(&restore(&file, &scratch.path("one"), &old, &flags));
    let expected = json!({
        "newer": ["made-again", "newer"],
        "deleted": ["deleted", "made-again"],
        "changed": ["disabled", "rotated"],
    });
    assert_eq!(report["compared"], expected);
    let text =
        stdout(&restore(&file, &scratch.path("two"), &old, &["--compare", old.to_str().unwrap()]));
    assert!(text.contains("usable again (delete them)  deleted made-again"), "{text}");
    let text = stdout(&restore(&file, &scratch.path("three"), &old, &[]));
    assert!(text.contains("--compare"), "{text}");
    let unreadable = restore(&file, &scratch.path("four"), &old, &["--compare", "/nonexistent"]);
    assert!(fails(&unreadable, 1).contains("to compare"), "{unreadable:?}");
    assert!(!scratch.path("four").exists());
}

/// Restoring keeps the ledger as it is.
#[tokio::test]
async fn restore_reports_an_already_broken_ledger() {
    let mut server = Server::with_public_url().await;
    assert!(server.process.stop().await.success());
    tamper(&server.process.data_dir, "UPDATE ledger SET actor = 'nobody' WHERE sequence = 2");
    let scratch = Scratch::new();
    let file = scratch.path("a.backup");
    stdout(&back_up(&server.process.data_dir, &file, &[]));
    let report: Value = json(&restore(
        &file,
        &scratch.path("new"),
        &server.process.data_dir,
        &["--output", "json"],
    ));
    assert!(report["ledger_fault"].as_str().unwrap().contains("entry 2"), "{report}");
}
