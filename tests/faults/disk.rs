//! Disks that become full, faulty or read-only while the server runs.
//!
//! `faults/injector.c` makes file operations of the real binary fail, for any user; where mounting
//! is possible, a small file system becomes full for real.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Credentials, Http, PUBLIC_URL, Response, Server, ServerProcess, binary, eventually, not_proven,
    run,
};

// Error numbers, from errno(3); the same on every Linux.
pub(crate) const EIO: i32 = 5;
const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// Builds the injector once, and returns its path.
fn injector() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("injector.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/faults/injector.c");
        // Linking Rust needs a C compiler anyway.
        let built = Command::new("cc")
            .args([
                "-shared",
                "-fPIC",
                "-O1",
                "-Wall",
                "-o",
                library.to_str().unwrap(),
                source,
                "-ldl",
            ])
            .status();
        assert!(built.unwrap().success(), "cc could not build the injector");
        (directory, library)
    });
    library
}

/// A server whose disk can be made to fail.
pub(crate) struct Faulty {
    pub(crate) server: Server,
    faults: TempDir,
}

impl Faulty {
    async fn start() -> Self {
        Self::with("data/", &[]).await
    }

    /// Starts a server for which files can fail whose path in the directory starts with
    /// `beginning`.
    pub(crate) async fn with(beginning: &str, flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), beginning, flags).await
    }

    /// Starts a server like `start`, in a given directory, whose `data` is the data directory.
    pub(crate) async fn start_in(directory: TempDir, beginning: &str, flags: &[&str]) -> Self {
        let faults = tempfile::tempdir().unwrap();
        let below = directory.path().canonicalize().unwrap().join(beginning);
        let environment = [
            ("LD_PRELOAD", injector().to_str().unwrap()),
            ("FAULTS_IN", below.to_str().unwrap()),
            ("FAULTS_BY", faults.path().to_str().unwrap()),
        ];
        let flags = [&["--public-url", PUBLIC_URL], flags].concat();
        Self { server: Server::start_in(directory, &flags, &environment).await, faults }
    }

    /// Makes operations fail with an error from now on.
    pub(crate) fn fail(&self, operations: &[&str], error: i32) {
        for operation in operations {
            symlink(error.to_string(), self.faults.path().join(operation)).unwrap();
        }
    }

    /// Makes everything work again.
    pub(crate) fn repair(&self) {
        for fault in fs::read_dir(self.faults.path()).unwrap() {
            fs::remove_file(fault.unwrap().path()).unwrap();
        }
    }

    pub(crate) async fn call(&self, method: &str, body: &Value) -> Response {
        let procedure = format!("/gatekey.v1.ApiKeyService/{method}");
        self.server.http.connect_json(&procedure, &self.server.admin_token, body).await
    }

    async fn revoke(&self, key: &Credentials, token: &str) -> Response {
        let headers = [("authorization", &*key.basic())];
        self.server.http.form("/oauth2/revoke", &headers, &format!("token={token}")).await
    }
}

/// Every change of the API key service.
fn changes() -> BTreeMap<&'static str, Value> {
    let key = json!({ "clientId": "ci", "clientName": "changed" });
    [
        ("Create", json!({ "clientId": "another" })),
        ("Update", json!({ "apiKey": key, "updateMask": "clientName" })),
        ("RotateSecret", json!({ "clientId": "ci" })),
        ("Disable", json!({ "clientId": "ci" })),
        ("Enable", json!({ "clientId": "off" })),
        ("Delete", json!({ "clientId": "ci" })),
    ]
    .into()
}

/// Asserts that a call was refused as unavailable, without details of the disk.
fn assert_unavailable(what: &str, response: &Response) {
    assert_eq!(response.status, 503, "{what}: {}", response.text());
    assert_eq!(response.json()["code"], "unavailable", "{what}");
    assert_eq!(response.json()["message"], "the store is unavailable, try again", "{what}");
}

/// Asserts the same behavior for any disk failure; the log must contain `cause`.
async fn assert_degraded(operations: &[&str], error: i32, cause: &str) {
    let mut faulty = Faulty::start().await;
    let server = &faulty.server;
    let key = server.create_key("ci").await;
    server.create_key("off").await;
    server.admin_call("Disable", json!({ "clientId": "off" })).await;
    let (token, revoked) = (server.token(&key).await, server.token(&key).await);
    assert_eq!(faulty.revoke(&key, &revoked).await.status, 200);
    let before = server.ledger().await;

    faulty.fail(operations, error);
    for (method, body) in changes() {
        assert_unavailable(method, &faulty.call(method, &body).await);
    }
    let create = json!({ "clientId": "another", "clientName": "another" });
    let public = "/cloudidl.identity.AppsService/Create";
    assert_unavailable(
        public,
        &server.http.connect_json(public, &server.admin_token, &create).await,
    );
    let response = faulty.revoke(&key, &token).await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["error"]),
        (503, &json!("temporarily_unavailable"))
    );
    assert!(!response.text().contains("disk"), "{}", response.text());
    let init =
        run(&["init", "--data-dir", server.process.data_dir.to_str().unwrap(), "--name", "more"]);
    let stderr = String::from_utf8(init.stderr).unwrap();
    assert_eq!(init.status.code(), Some(6), "{stderr}");
    assert!(stderr.contains("the store is unavailable"), "{stderr}");

    // Refused changes have no effect, and everything that needs no disk works.
    assert!(server.accepts(&token).await);
    assert!(!server.accepts(&revoked).await);
    assert!(server.accepts(&server.token(&key).await).await);
    let shown = server.admin_call("Get", json!({ "clientId": "ci" })).await;
    assert_eq!(shown["apiKey"]["clientName"], "ci");
    assert_eq!(server.http.token(&key, &[]).await.status, 200);
    let process = &server.process;
    eventually("the log names the cause", async || {
        process.log().iter().any(|line| line.to_string().contains(cause))
    })
    .await;

    faulty.repair();
    assert_eq!(faulty.revoke(&key, &token).await.status, 200);
    assert!(!server.accepts(&token).await);
    for (method, body) in changes() {
        let response = faulty.call(method, &body).await;
        // Delete precedes Disable in the alphabet, and removes the key.
        let gone = matches!(method, "Disable" | "RotateSecret" | "Update");
        assert_eq!(response.status, if gone { 404 } else { 200 }, "{method}: {}", response.text());
    }
    let ledger = server.ledger().await;
    assert!(ledger.starts_with(&before), "earlier entries still exist");
    faulty.server.kill_and_restart();
    let listed = faulty.server.admin_call("List", json!({})).await;
    let client_ids: Vec<_> = listed["apiKeys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["clientId"].as_str().unwrap())
        .collect();
    assert_eq!(client_ids, ["admin", "another", "off"]);
    assert!(!faulty.server.accepts(&revoked).await);
    assert!(faulty.server.ledger().await.starts_with(&ledger));
}

/// Changes are refused.
#[tokio::test]
async fn tokens_are_served_while_the_disk_is_full() {
    assert_degraded(&["write", "truncate"], ENOSPC, "database or disk is full").await;
}

#[tokio::test]
async fn tokens_are_served_while_writes_fail() {
    // SQLITE_IOERR_WRITE
    assert_degraded(&["write"], EIO, "disk I/O error (SQLite's code 778)").await;
}

#[tokio::test]
async fn tokens_are_served_while_syncs_fail() {
    // SQLITE_IOERR_FSYNC
    assert_degraded(&["sync"], EIO, "disk I/O error (SQLite's code 1034)").await;
}

#[tokio::test]
async fn tokens_are_served_from_a_read_only_disk() {
    let operations = ["write", "truncate", "sync", "open"];
    assert_degraded(&operations, EROFS, "disk I/O error").await;
}

#[tokio::test]
async fn a_refused_change_takes_effect_once_visible() {
    // A commit whose sync fails is complete in the write-ahead log, although it was refused. Once
    // every connection has seen the disk failure, the next one reads the log again, and applies it.
    let faulty = Faulty::start().await;
    let server = &faulty.server;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    // The readers' cache of the key is outdated now, so the next one must read from disk.
    let patch =
        json!({ "apiKey": { "clientId": "ci", "clientName": "new" }, "updateMask": "clientName" });
    server.admin_call("Update", patch).await;
    faulty.fail(&["sync"], EIO);
    let disable = json!({ "clientId": "ci" });
    assert_unavailable("Disable", &faulty.call("Disable", &disable).await);
    faulty.fail(&["read"], EIO);
    assert_unavailable("Get", &faulty.call("Get", &disable).await);
    faulty.repair();
    assert_eq!(faulty.call("Disable", &disable).await.status, 200);
    assert!(!server.accepts(&token).await, "the token of a disabled key");
    assert_eq!(server.http.token(&key, &[]).await.status, 401);
}

/// Everything that must be read is refused.
#[tokio::test]
async fn tokens_are_served_while_reads_fail() {
    let faulty = Faulty::start().await;
    let server = &faulty.server;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let of_the_key = json!({ "clientId": "ci" });
    // A change invalidates the readers' caches; a cached page would hide the failure.
    let change = async || {
        let patch = json!({ "apiKey": { "clientId": "ci", "clientName": "new" }, "updateMask": "clientName" });
        server.admin_call("Update", patch).await;
    };
    change().await;
    faulty.fail(&["read"], EIO);
    assert_unavailable("Get", &faulty.call("Get", &of_the_key).await);
    assert_unavailable("List", &faulty.call("List", &json!({})).await);
    let public = "/cloudidl.identity.AppsService/List";
    assert_unavailable(
        public,
        &server.http.connect_json(public, &server.admin_token, &json!({})).await,
    );
    let bearer = format!("Bearer {token}");
    let response = server.http.get("/me", &[("authorization", &bearer)]).await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["error"]),
        (503, &json!("temporarily_unavailable"))
    );
    assert!(!response.text().contains("disk"), "{}", response.text());
    let ledger = run(&["ledger", "list", "--data-dir", server.process.data_dir.to_str().unwrap()]);
    let stderr = String::from_utf8(ledger.stderr).unwrap();
    assert!(!ledger.status.success() && stderr.contains("the store"), "{stderr}");

    // Everything that needs no disk works.
    let fetched = server.token(&key).await;
    assert_eq!(server.introspect(&server.admin, &fetched).await["active"], true);
    eventually("the log names the cause", async || {
        let cause =
            "damaged, or the disk cannot read it: database disk image is malformed (SQLite's code 11)";
        server.process.log().iter().any(|line| line.to_string().contains(cause))
    })
    .await;

    faulty.repair();
    assert_eq!(server.admin_call("Get", of_the_key).await["apiKey"]["clientName"], "new");
    assert!(server.accepts(&token).await);
    change().await;
    assert!(server.ledger().await.iter().any(|entry| entry.action == "api_key.update"));
}

#[tokio::test]
async fn unwritten_uses_are_written_later() {
    let faulty = Faulty::start().await;
    let server = &faulty.server;
    let key = server.create_key("ci").await;
    faulty.fail(&["write"], EIO);
    server.token(&key).await;
    server
        .process
        .wait_for_log("failed to write the last use of secrets; retrying with the next flush");
    faulty.repair();
    eventually("the use is written", async || {
        let details = server.admin_call("Get", json!({ "clientId": "ci" })).await;
        details["apiKey"]["secrets"][0]["lastUsedAt"].is_string()
    })
    .await;
}

/// A command that enters a mount namespace, as root or as a user, if that is possible here.
fn own_mounts() -> Option<Vec<&'static str>> {
    let ways = [vec!["unshare", "--mount"], vec!["unshare", "--map-root-user", "--mount"]];
    ways.into_iter().find(|way| {
        let directory = tempfile::tempdir().unwrap();
        let mount = ["mount", "-t", "tmpfs", "tmpfs", directory.path().to_str().unwrap()];
        let tried = Command::new(way[0]).args(&way[1..]).args(mount).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    })
}

#[tokio::test]
async fn a_full_file_system_is_survived() {
    let Some(mut by) = own_mounts() else {
        not_proven("a really full file system: no mount namespace can be made here");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let mounted = directory.path().canonicalize().unwrap();
    let data_dir = mounted.join("data");
    let outside = tempfile::tempdir().unwrap();
    let admin_file = outside.path().join("admin.json");
    let script = format!(
        "mount -t tmpfs -o size=2m tmpfs {mounted} && {gatekey} init --public-url {PUBLIC_URL} --output json \
         --data-dir {data_dir} >{admin} && exec \"$0\" \"$@\"",
        mounted = mounted.display(),
        gatekey = binary(),
        data_dir = data_dir.display(),
        admin = admin_file.display(),
    );
    by.extend(["sh", "-c", &script]);
    let mut server = ServerProcess::start_by(&by, &data_dir, &["--public-url", PUBLIC_URL], &[]);
    let inside = PathBuf::from(format!("/proc/{}/root{}", server.pid(), mounted.display()));
    server.data_dir = inside.join("data");
    let admin: Value = serde_json::from_slice(&fs::read(admin_file).unwrap()).unwrap();
    let admin = Credentials {
        client_id: admin["client_id"].as_str().unwrap().to_owned(),
        client_secret: admin["client_secret"].as_str().unwrap().to_owned(),
    };
    let http = Http::new(&server.reached_at, Some(&server.ca_file()));
    let token = server.token(&admin).await;
    let filler = inside.join("filler");
    let full = fs::write(&filler, vec![1; 4 << 20]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(ENOSPC));
    let create = async |number: u32| {
        let body = json!({ "clientId": format!("key-{number}") });
        http.connect_json("/gatekey.v1.ApiKeyService/Create", &token, &body).await
    };
    // Some changes may still fit into the last page.
    let mut made = Vec::new();
    let mut refused = 0;
    for number in 0..200 {
        let response = create(number).await;
        if response.status == 200 {
            made.push(format!("key-{number}"));
        } else {
            assert_unavailable("Create", &response);
            refused += 1;
        }
        assert_eq!(http.token(&admin, &[]).await.status, 200);
    }
    assert!(refused > 100, "{refused}");
    fs::remove_file(&filler).unwrap();
    assert_eq!(create(200).await.status, 200);
    made.extend(["key-200".to_owned(), "admin".to_owned()]);
    made.sort();
    let body = json!({ "pageSize": 1000 });
    let listed = http.connect_json("/gatekey.v1.ApiKeyService/List", &token, &body).await.json();
    let mut listed: Vec<_> = listed["apiKeys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["clientId"].as_str().unwrap().to_owned())
        .collect();
    listed.sort();
    assert_eq!(listed, made);
    eventually("the log names the cause", async || {
        server.log().iter().any(|line| line.to_string().contains("disk is full"))
    })
    .await;
}

#[test]
fn a_read_only_directory_is_reported_at_startup() {
    let Some(by) = own_mounts() else {
        not_proven("a directory on a read-only file system: no mount namespace can be made here");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().canonicalize().unwrap().join("data");
    let shown = data_dir.to_str().unwrap();
    assert!(run(&["init", "--data-dir", shown]).status.success());
    let script = format!(
        "mount --bind {shown} {shown} && mount -o remount,ro,bind {shown} && exec \"$0\" \"$@\""
    );
    let words =
        ["sh", "-c", &script, binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", shown];
    let output = Command::new(by[0]).args(&by[1..]).args(words).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains(shown) && stderr.contains("cannot write"), "{stderr}");
    assert!(stderr.contains("Read-only file system"), "{stderr}");
}
