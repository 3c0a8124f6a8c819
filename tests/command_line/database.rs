//! `--database`: a server whose data is in PostgreSQL.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, symlink},
    path::{Path, PathBuf},
};

use serde_json::json;
use tempfile::TempDir;

use super::{fails, stdout};
use crate::support::{
    PUBLIC_URL, Server, ServerProcess, eventually, gatekey,
    on_postgres::{self, Database},
    run,
};

/// A database and a directory with a root key, for a server.
struct Place {
    database: Database,
    directory: TempDir,
}

impl Place {
    /// `None` if PostgreSQL is not installed.
    fn new() -> Option<Self> {
        let database = on_postgres::database()?;
        Some(Self { database, directory: tempfile::tempdir().unwrap() })
    }

    fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn new_root_key(&self) {
        fs::DirBuilder::new().mode(0o700).create(self.data_dir()).unwrap();
        let file = self.data_dir().join("root.key");
        stdout(&run(&["root-key", "new", file.to_str().unwrap()]));
    }

    fn serve(&self) -> ServerProcess {
        let url = self.database.url();
        let flags = ["--database", &url, "--public-url", PUBLIC_URL];
        ServerProcess::start_on(&self.data_dir(), &flags)
    }

    /// A server with an admin, on a data directory of its own.
    async fn server(&self) -> Server {
        self.server_at(self.database.url()).await
    }

    /// The same, with another URL of the database.
    async fn server_at(&self, url: String) -> Server {
        self.new_root_key();
        let root_key = self.data_dir().join("root.key");
        let root_key = root_key.to_str().unwrap();
        let flags = ["--database", &url, "--root-key-file", root_key, "--public-url", PUBLIC_URL];
        Server::start_in(tempfile::tempdir().unwrap(), &flags, &[]).await
    }

    /// Ends the connections of servers.
    fn disconnect(&self) {
        self.database.run(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        );
    }

    /// What `gatekey serve` prints when it must fail with that code.
    fn refused(&self, data_dir: &Path, code: i32) -> String {
        let output = gatekey()
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "text"])
            .args(["--database", &self.database.url(), "--data-dir"])
            .arg(data_dir)
            .output()
            .unwrap();
        fails(&output, code)
    }
}

#[tokio::test]
async fn keys_and_tokens_outlive_a_killed_server() {
    let Some(place) = Place::new() else { return };
    let mut server = place.server().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.kill_and_restart();
    assert!(server.accepts(&token).await);
    server.token(&key).await;
    assert!(!server.process.data_dir.join("gatekey.db").exists());
}

#[tokio::test]
async fn a_stopped_servers_database_can_be_administered() {
    let Some(place) = Place::new() else { return };
    place.new_root_key();
    let mut server = place.serve();
    server.init();
    assert!(server.stop().await.success());
    // The data directory remembers the database.
    let data_dir = place.data_dir();
    let data_dir = data_dir.to_str().unwrap();
    stdout(&run(&["init", "--data-dir", data_dir, "--name", "second"]));
    stdout(&run(&["signing-key", "rotate", "--now", "--data-dir", data_dir]));
    stdout(&run(&["root-key", "rotate", "--data-dir", data_dir]));
    assert!(stdout(&run(&["ledger", "verify", "--data-dir", data_dir])).contains("chain intact"));
    assert_eq!(place.database.run("SELECT count(*) FROM api_key"), "2");
    let followed = fails(&run(&["ledger", "follow", "--data-dir", data_dir]), 2);
    assert!(followed.contains("the data is in postgres://"), "{followed}");
    let checked = stdout(&run(&["doctor", "--data-dir", data_dir]));
    assert!(checked.contains("the data is in postgres://"), "{checked}");
    let serve = gatekey()
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "text", "--data-dir", data_dir])
        .output()
        .unwrap();
    assert!(fails(&serve, 2).contains("start it with --database"), "not with another database");
}

#[tokio::test]
async fn a_second_server_is_refused_beside_the_first() {
    let Some(place) = Place::new() else { return };
    place.new_root_key();
    let server = place.serve();
    let other = place.directory.path().join("other");
    fs::DirBuilder::new().mode(0o700).create(&other).unwrap();
    fs::copy(place.data_dir().join("root.key"), other.join("root.key")).unwrap();
    let refused = place.refused(&other, 7);
    assert!(refused.contains("is in use by the server on"), "{refused}");
    server.init();
}

#[tokio::test]
async fn a_server_stops_when_another_takes_over() {
    let Some(place) = Place::new() else { return };
    place.new_root_key();
    let mut server = place.serve();
    place.database.run("UPDATE head SET writer = 'another'; DELETE FROM node");
    assert!(!server.wait().success());
    let log = json!(server.log()).to_string();
    assert!(log.contains("another server took the database over; stopping"), "{log}");
}

#[test]
fn a_missing_root_key_is_never_created() {
    let Some(place) = Place::new() else { return };
    let refused = place.refused(&place.data_dir(), 1);
    assert!(refused.contains("gatekey root-key new"), "{refused}");
    assert!(!place.data_dir().exists());
    assert_eq!(
        place.database.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"),
        "0"
    );
}

#[tokio::test]
async fn a_root_key_of_another_database_is_refused() {
    let Some(place) = Place::new() else { return };
    place.new_root_key();
    let mut server = place.serve();
    assert!(server.stop().await.success());
    let file = place.data_dir().join("root.key");
    fs::remove_file(&file).unwrap();
    stdout(&run(&["root-key", "new", file.to_str().unwrap()]));
    let refused = place.refused(&place.data_dir(), 1);
    assert!(refused.contains("root key"), "{refused}");
}

#[tokio::test]
async fn an_embedded_database_is_not_left_behind() {
    let Some(place) = Place::new() else { return };
    let mut embedded = ServerProcess::start_on(&place.data_dir(), &[]);
    assert!(embedded.stop().await.success());
    let refused = place.refused(&place.data_dir(), 1);
    assert!(refused.contains("gatekey.db is a database too"), "{refused}");
}

#[test]
fn a_password_in_the_url_is_refused() {
    for arguments in [&["serve", "--listen", "127.0.0.1:0"][..], &["config", "check"]] {
        let output = gatekey()
            .args(arguments)
            .args(["--database", "postgres://gatekey:hunter2@db.example.com/gatekey"])
            .output()
            .unwrap();
        let refused = fails(&output, 2);
        assert!(refused.contains("database.password_file"), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[test]
fn a_database_that_does_not_answer_is_named() {
    let Some(place) = Place::new() else { return };
    place.new_root_key();
    let output = gatekey()
        .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "text", "--data-dir"])
        .arg(place.data_dir())
        .args(["--database", "postgres://gatekey@/gatekey?host=/nonexistent"])
        .output()
        .unwrap();
    let refused = fails(&output, 1);
    assert!(
        refused.contains("cannot open postgres://gatekey@/nonexistent:5432/gatekey"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_backup_of_postgres_restores_to_a_directory() {
    let Some(place) = Place::new() else { return };
    place.new_root_key();
    let server = place.serve();
    let admin = server.init();
    let key = server.http().create(&server.token(&admin).await, "ci").await;
    let (file, new) = (place.directory.path().join("b"), place.directory.path().join("new"));
    let data_dir = place.data_dir();
    let (data_dir, shown) = (data_dir.to_str().unwrap(), file.to_str().unwrap());
    stdout(&run(&["backup", shown, "--data-dir", data_dir]));
    fs::DirBuilder::new().mode(0o700).create(&new).unwrap();
    fs::copy(place.data_dir().join("root.key"), new.join("root.key")).unwrap();
    stdout(&run(&["restore", shown, "--data-dir", new.to_str().unwrap()]));
    let restored = ServerProcess::start_on(&new, &[]);
    restored.token(&key).await;
    restored.token(&admin).await;
}

#[tokio::test]
async fn quickstart_runs_on_postgres() {
    let Some(place) = Place::new() else { return };
    place.new_root_key();
    let output = gatekey()
        .args(["quickstart", "--once", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(place.data_dir())
        .args(["--database", &place.database.url()])
        .output()
        .unwrap();
    stdout(&output);
    assert!(place.database.run("SELECT count(*) FROM ledger").parse::<u32>().unwrap() > 5);
}

#[tokio::test]
async fn a_lost_connection_costs_no_request() {
    let Some(place) = Place::new() else { return };
    let server = place.server().await;
    for name in ["one", "two", "three"] {
        place.disconnect();
        server.create_key(name).await;
    }
}

/// Another server could have taken the database over, and revoked what this one would accept.
#[tokio::test]
async fn a_server_without_its_database_decides_nothing() {
    let Some(place) = Place::new() else { return };
    let sockets = tempfile::tempdir().unwrap();
    let socket = |directory: &Path| directory.join(".s.PGSQL.5432");
    let (real, link) = (socket(place.database.directory()), socket(sockets.path()));
    symlink(&real, &link).unwrap();
    let server = place.server_at(place.database.url_at(sockets.path())).await;
    let key = server.create_key("ci").await;
    let status = async || server.http.token(&key, &[]).await.status;
    fs::remove_file(&link).unwrap();
    place.disconnect();
    assert_eq!(status().await, 200);
    eventually("the server decides nothing", async || status().await == 503).await;
    symlink(&real, &link).unwrap();
    eventually("the server decides again", async || status().await == 200).await;
}
