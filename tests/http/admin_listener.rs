//! `--admin-listen`: probes of health and readiness.

use std::fs;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::{Http, Response, Server, ServerProcess, connection, eventually};

impl Server {
    pub(crate) async fn with_admin_listener() -> Self {
        Self::with_flags(&["--admin-listen", "127.0.0.1:0"]).await
    }

    pub(crate) async fn probe(&self, path: &str) -> Response {
        Http::new(self.process.admin_url.as_ref().unwrap(), None).get(path, &[]).await
    }
}

#[tokio::test]
async fn probes_are_served_only_by_the_admin_listener() {
    for flags in [&[][..], &["--admin-listen", "127.0.0.1:0"]] {
        let server = ServerProcess::start_with(flags);
        assert_eq!(server.admin_url.is_some(), !flags.is_empty());
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(server.http().get(path, &[]).await.status, 404, "{path}");
        }
    }
}

#[tokio::test]
async fn a_serving_server_is_healthy_and_ready() {
    let server = Server::with_admin_listener().await;
    assert_eq!(server.probe("/healthz").await.text(), "ok\n");
    let ready = server.probe("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    let expected = json!({ "ready": true, "store": true, "signing_key": true, "fresh": true, "stopping": false });
    assert_eq!(ready.json(), expected);
    assert_eq!(server.probe("/").await.status, 404);
}

#[tokio::test]
async fn a_draining_server_is_healthy_but_not_ready() {
    let mut server = Server::with_admin_listener().await;
    let form = "content-type: application/x-www-form-urlencoded";
    let mut stream = connection::begin(&server.process, "/oauth2/token", &[form], 50).await;
    let pid = server.process.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    server.process.wait_for_log("draining connections");
    let ready = server.probe("/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["stopping"]), (503, &json!(true)));
    assert_eq!(server.probe("/healthz").await.status, 200);
    stream.write_all(&[b'x'; 50]).await.unwrap();
    drop(stream);
    assert!(server.process.wait().success());
}

/// Half of the few connections are for others.
#[tokio::test]
async fn one_address_cannot_block_probes() {
    let server = Server::with_admin_listener().await;
    let url = server.process.admin_url.as_ref().unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(connection::connect_from("127.0.0.2", address).await);
    }
    assert_eq!(server.probe("/healthz").await.status, 200);
    drop(held);
}

/// It is still healthy: a restart would not help.
#[tokio::test]
async fn a_server_without_database_is_not_ready() {
    let server = Server::with_admin_listener().await;
    // An open connection would keep a deleted file, so the file is truncated instead.
    let database = server.process.data_dir.join("gatekey.db");
    fs::OpenOptions::new().write(true).truncate(true).open(&database).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(database.with_file_name("gatekey.db-wal"))
        .unwrap();
    eventually("the server is not ready", async || server.probe("/readyz").await.status == 503)
        .await;
    assert_eq!(server.probe("/readyz").await.json()["store"], false);
    assert_eq!(server.probe("/healthz").await.status, 200);
}

#[test]
fn the_ready_file_names_the_admin_listener() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ready.json");
    let server = ServerProcess::start_with(&[
        "--admin-listen",
        "127.0.0.1:0",
        "--ready-file",
        file.to_str().unwrap(),
    ]);
    // Written once the server accepts connections.
    let written =
        || fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let ready = loop {
        if let Some(ready) = written() {
            break ready;
        }
        std::thread::yield_now();
    };
    assert_eq!(ready["admin_url"].as_str(), server.admin_url.as_deref());
}
