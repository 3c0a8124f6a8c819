//! Disks that fill up, fail or become read-only under a running server.
//!
//! `faults/injector.c` makes the file operations of the real binary fail, for whatever user runs the tests; a
//! small file system of its own, where one can be mounted, is really full.

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
    Credentials, Http, PUBLIC_URL, Response, Server, ServerProcess, binary, eventually, not_proven, run,
};

// Error numbers, from errno(3); the same on every Linux.
pub(crate) const EIO: i32 = 5;
const ENOSPC: i32 = 28;
pub(crate) const EROFS: i32 = 30;

/// The injector, built once.
fn injector() -> &'static Path {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("injector.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/faults/injector.c");
        // What links Rust programs compiles C as well.
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-o", library.to_str().unwrap(), source, "-ldl"])
            .status();
        assert!(built.unwrap().success(), "the injector cannot be built");
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

    /// Where files fail whose path in the directory begins so; with more flags.
    pub(crate) async fn with(beginning: &str, flags: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), beginning, flags).await
    }

    /// In a directory whose `data` is the data directory.
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

    /// From now on these operations fail with that error.
    pub(crate) fn fail(&self, operations: &[&str], error: i32) {
        for operation in operations {
            symlink(error.to_string(), self.faults.path().join(operation)).unwrap();
        }
    }

    /// From now on everything works again.
    pub(crate) fn mend(&self) {
        for fault in fs::read_dir(self.faults.path()).unwrap() {
            fs::remove_file(fault.unwrap().path()).unwrap();
        }
    }

    pub(crate) async fn own(&self, method: &str, body: &Value) -> Response {
        let procedure = format!("/gatekey.v1.ApiKeyService/{method}");
        self.server.http.connect_json(&procedure, &self.server.admin_token, body).await
    }

    async fn revoke(&self, key: &Credentials, token: &str) -> Response {
        let headers = [("authorization", &*key.basic())];
        self.server.http.form("/oauth2/revoke", &headers, &format!("token={token}")).await
    }
}

/// Every change that the API has, but for revoking a token.
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

/// Asserts that a call was refused for now, and that the caller learns nothing of the disk.
fn refused_for_now(what: &str, response: &Response) {
    assert_eq!(response.status, 503, "{what}: {}", response.text());
    assert_eq!(response.json()["code"], "unavailable", "{what}");
    assert_eq!(response.json()["message"], "the store is unavailable, try again", "{what}");
}

/// What a failing disk means, whatever its failure: `cause` is what the log must say.
async fn changes_are_refused_and_tokens_served(operations: &[&str], error: i32, cause: &str) {
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
        refused_for_now(method, &faulty.own(method, &body).await);
    }
    let create = json!({ "clientId": "another", "clientName": "another" });
    let public = "/cloudidl.identity.AppsService/Create";
    refused_for_now(public, &server.http.connect_json(public, &server.admin_token, &create).await);
    let response = faulty.revoke(&key, &token).await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["error"]),
        (503, &json!("temporarily_unavailable"))
    );
    assert!(!response.text().contains("disk"), "{}", response.text());
    let init = run(&["init", "--data-dir", server.process.data_dir.to_str().unwrap(), "--name", "more"]);
    let said = String::from_utf8(init.stderr).unwrap();
    assert_eq!(init.status.code(), Some(6), "{said}");
    assert!(said.contains("the store is unavailable"), "{said}");

    // All that was refused has no effect, and what needs no disk goes on.
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

    faulty.mend();
    assert_eq!(faulty.revoke(&key, &token).await.status, 200);
    assert!(!server.accepts(&token).await);
    for (method, body) in changes() {
        let response = faulty.own(method, &body).await;
        // Delete stands before Disable in the alphabet, and takes the key away.
        let gone = matches!(method, "Disable" | "RotateSecret" | "Update");
        assert_eq!(response.status, if gone { 404 } else { 200 }, "{method}: {}", response.text());
    }
    let ledger = server.ledger().await;
    assert!(ledger.starts_with(&before), "what was entered before is still there");
    faulty.server.kill_and_restart();
    let listed = faulty.server.admin_call("List", json!({})).await;
    let client_ids: Vec<_> =
        listed["apiKeys"].as_array().unwrap().iter().map(|key| key["clientId"].as_str().unwrap()).collect();
    assert_eq!(client_ids, ["admin", "another", "off"]);
    assert!(!faulty.server.accepts(&revoked).await);
    assert!(faulty.server.ledger().await.starts_with(&ledger));
}

#[tokio::test]
async fn while_the_disk_is_full_changes_are_refused_and_tokens_served() {
    changes_are_refused_and_tokens_served(&["write", "truncate"], ENOSPC, "database or disk is full").await;
}

#[tokio::test]
async fn while_writes_fail_changes_are_refused_and_tokens_served() {
    // SQLITE_IOERR_WRITE
    changes_are_refused_and_tokens_served(&["write"], EIO, "disk I/O error (SQLite's code 778)").await;
}

#[tokio::test]
async fn while_syncs_fail_changes_are_refused_and_tokens_served() {
    // SQLITE_IOERR_FSYNC
    changes_are_refused_and_tokens_served(&["sync"], EIO, "disk I/O error (SQLite's code 1034)").await;
}

#[tokio::test]
async fn while_the_disk_is_read_only_changes_are_refused_and_tokens_served() {
    let operations = ["write", "truncate", "sync", "open"];
    changes_are_refused_and_tokens_served(&operations, EROFS, "disk I/O error").await;
}

#[tokio::test]
async fn a_change_that_was_refused_is_in_force_as_soon_as_anybody_is_told_that_it_was_made() {
    // A commit whose sync fails is whole in the log, though nobody was told so. When every connection has met the
    // disk's failure, the next one reads the log anew, and finds it.
    let faulty = Faulty::start().await;
    let server = &faulty.server;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    // What readers know of the key is old now, so the next one must ask the disk.
    let patch = json!({ "apiKey": { "clientId": "ci", "clientName": "new" }, "updateMask": "clientName" });
    server.admin_call("Update", patch).await;
    faulty.fail(&["sync"], EIO);
    let disable = json!({ "clientId": "ci" });
    refused_for_now("Disable", &faulty.own("Disable", &disable).await);
    faulty.fail(&["read"], EIO);
    refused_for_now("Get", &faulty.own("Get", &disable).await);
    faulty.mend();
    assert_eq!(faulty.own("Disable", &disable).await.status, 200);
    assert!(!server.accepts(&token).await, "the token of a key that was disabled");
    assert_eq!(server.http.token(&key, &[]).await.status, 401);
}

#[tokio::test]
async fn while_reads_fail_what_must_be_read_is_refused_and_tokens_served() {
    let faulty = Faulty::start().await;
    let server = &faulty.server;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let of_the_key = json!({ "clientId": "ci" });
    // A change makes everybody who reads ask the disk anew; what memory still holds is no failure.
    let change = async || {
        let patch =
            json!({ "apiKey": { "clientId": "ci", "clientName": "new" }, "updateMask": "clientName" });
        server.admin_call("Update", patch).await;
    };
    change().await;
    faulty.fail(&["read"], EIO);
    refused_for_now("Get", &faulty.own("Get", &of_the_key).await);
    refused_for_now("List", &faulty.own("List", &json!({})).await);
    let public = "/cloudidl.identity.AppsService/List";
    refused_for_now(public, &server.http.connect_json(public, &server.admin_token, &json!({})).await);
    let bearer = format!("Bearer {token}");
    let response = server.http.get("/me", &[("authorization", &bearer)]).await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["error"]),
        (503, &json!("temporarily_unavailable"))
    );
    assert!(!response.text().contains("disk"), "{}", response.text());
    let ledger = run(&["ledger", "list", "--data-dir", server.process.data_dir.to_str().unwrap()]);
    let said = String::from_utf8(ledger.stderr).unwrap();
    assert!(!ledger.status.success() && said.contains("the store"), "{said}");

    // What needs no disk goes on.
    let fetched = server.token(&key).await;
    assert_eq!(server.introspect(&server.admin, &fetched).await["active"], true);
    eventually("the log names the cause", async || {
        let cause =
            "damaged, or the disk cannot read it: database disk image is malformed (SQLite's code 11)";
        server.process.log().iter().any(|line| line.to_string().contains(cause))
    })
    .await;

    faulty.mend();
    assert_eq!(server.admin_call("Get", of_the_key).await["apiKey"]["clientName"], "new");
    assert!(server.accepts(&token).await);
    change().await;
    assert!(server.ledger().await.iter().any(|entry| entry.action == "api_key.update"));
}

#[tokio::test]
async fn uses_that_could_not_be_written_are_written_later() {
    let faulty = Faulty::start().await;
    let server = &faulty.server;
    let key = server.create_key("ci").await;
    faulty.fail(&["write"], EIO);
    server.token(&key).await;
    server.process.wait_for_log("failed to write the last use of secrets; retrying with the next flush");
    faulty.mend();
    eventually("the use is written", async || {
        let told = server.admin_call("Get", json!({ "clientId": "ci" })).await;
        told["apiKey"]["secrets"][0]["lastUsedAt"].is_string()
    })
    .await;
}

/// How a mount namespace can be had here, as root or as a user.
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
async fn a_file_system_that_is_really_full_is_survived_as_well() {
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
    // What is left of the last page may still be enough for some.
    let mut made = Vec::new();
    let mut refused = 0;
    for number in 0..200 {
        let response = create(number).await;
        if response.status == 200 {
            made.push(format!("key-{number}"));
        } else {
            refused_for_now("Create", &response);
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
fn a_read_only_directory_is_told_at_the_start() {
    let Some(by) = own_mounts() else {
        not_proven("a directory on a read-only file system: no mount namespace can be made here");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().canonicalize().unwrap().join("data");
    let shown = data_dir.to_str().unwrap();
    assert!(run(&["init", "--data-dir", shown]).status.success());
    let script =
        format!("mount --bind {shown} {shown} && mount -o remount,ro,bind {shown} && exec \"$0\" \"$@\"");
    let words = ["sh", "-c", &script, binary(), "serve", "--listen", "127.0.0.1:0", "--data-dir", shown];
    let output = Command::new(by[0]).args(&by[1..]).args(words).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(shown) && said.contains("cannot write"), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
}
