//! `gatekey serve`.

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{fails, run_with, stdout};
use crate::support::{Http, Server, ServerProcess, connection, eventually, gatekey, run};

#[tokio::test]
async fn the_ready_file_is_written_when_serving() {
    let directory = tempfile::tempdir().unwrap();
    let (data_dir, ready_file) =
        (directory.path().join("data"), directory.path().join("ready.json"));
    let mut child = gatekey()
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()])
        .args(["--ready-file", ready_file.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the ready file", async || ready_file.exists()).await;
    // The file is complete as soon as it exists.
    let ready: BTreeMap<String, Value> =
        serde_json::from_slice(&fs::read(&ready_file).unwrap()).unwrap();
    assert_eq!(ready.keys().collect::<Vec<_>>(), ["ca_file", "pid", "url"]);
    assert_eq!(ready["pid"], child.id());
    let ca_file = data_dir.canonicalize().unwrap().join("ca.pem");
    assert_eq!(ready["ca_file"], ca_file.to_str().unwrap());
    let http = Http::new(ready["url"].as_str().unwrap(), Some(&ca_file));
    assert_eq!(http.get("/oauth2/jwks", &[]).await.status, 200);
    // A signal right after the ready file stops the server gracefully.
    stop("TERM", child.id());
    eventually("the server stops", async || child.try_wait().unwrap().is_some()).await;
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

const FORM: &str = "content-type: application/x-www-form-urlencoded";

fn stop(signal: &str, pid: u32) {
    assert!(
        Command::new("kill")
            .args([&format!("-{signal}"), &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn a_stopping_server_finishes_its_requests() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start().await;
        let body = "grant_type=client_credentials";
        let authorization = format!("authorization: {}", server.admin.basic());
        let headers = [FORM, &*authorization];
        let mut stream =
            connection::begin(&server.process, "/oauth2/token", &headers, body.len()).await;
        stream.write_all(&body.as_bytes()[..10]).await.unwrap();
        stop(signal, server.process.pid());
        server.process.wait_for_log("draining connections");
        stream.write_all(&body.as_bytes()[10..]).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(
            response.starts_with("HTTP/1.1 200 OK\r\n") && response.contains("access_token"),
            "{response}"
        );
        let status = server.process.wait();
        assert_eq!(status.code(), Some(0), "{status:?}");
    }
}

#[tokio::test]
async fn a_second_signal_stops_the_server_at_once() {
    let mut server = Server::start().await;
    let _stream = connection::begin(&server.process, "/oauth2/token", &[FORM], 50).await;
    stop("TERM", server.process.pid());
    server.process.wait_for_log("draining connections");
    stop("TERM", server.process.pid());
    assert_eq!(server.process.wait().code(), Some(0));
    let stderr = |line: &Value| {
        line["message"].as_str().is_some_and(|text| text.contains("second stop signal"))
    };
    assert!(server.process.log().iter().any(stderr));
}

#[test]
fn a_failed_start_removes_the_ready_file() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ready_file = directory.path().join("ready.json");
    fs::write(&ready_file, "{}").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (data_dir, ready) = (directory.path().join("data"), ready_file.to_str().unwrap());
    let data_dir = data_dir.to_str().unwrap();
    fails(&run(&["serve", "--data-dir", data_dir, "--listen", &address, "--ready-file", ready]), 1);
    assert!(!ready_file.exists());
}

#[tokio::test]
async fn a_stopping_server_accepts_no_connection() {
    let mut server = Server::start().await;
    let address = connection::address(&server.process).to_owned();
    assert!(server.process.stop().await.success());
    assert!(tokio::net::TcpStream::connect(&address).await.is_err());
    assert!(!server.process.data_dir.join("control.sock").exists());
    let last = server.process.log().pop().unwrap();
    assert_eq!(last["message"], "stopped");
}

#[tokio::test]
async fn last_uses_are_written_at_shutdown() {
    let mut server = Server::with_public_url().await;
    let key = server.create_key("ci").await;
    server.token(&key).await;
    server.restart().await;
    let details = server.admin_call("Get", json!({ "clientId": "ci" })).await;
    assert!(details["apiKey"]["secrets"][0]["lastUsedAt"].is_string(), "{details}");
}

#[tokio::test]
async fn each_request_has_one_log_line() {
    let mut server = Server::start().await;
    let asked = [
        ("/me", "first"),
        ("/nowhere?secret=in-the-query", "second"),
        ("/oauth2/token", "third"),
        ("/oauth2/jwks", &*"x".repeat(64)),
    ];
    for (path, request_id) in asked {
        let response = server.http.get(path, &[("x-request-id", request_id)]).await;
        assert_eq!(response.header("x-request-id"), request_id);
    }
    let unnamed = server.http.get("/me", &[]).await.header("x-request-id").to_owned();
    assert_eq!(unnamed.len(), 22, "128 random bits in base64url");
    let calls = format!("Bearer {}", server.admin_token);
    let known = [("authorization", &*calls), ("x-request-id", "known")];
    server.http.get("/me", &known).await;
    assert!(server.process.stop().await.success());

    let lines = server.process.log();
    let requests: Vec<_> =
        lines.iter().filter(|line| line["target"] == "gatekey::request").collect();
    let of = |request_id: &str| {
        let mut found = requests.iter().filter(|line| line["request_id"] == request_id);
        let line = found.next().unwrap_or_else(|| panic!("{request_id} has no line")).to_owned();
        assert!(found.next().is_none(), "{request_id} has two lines");
        line
    };
    for ((path, request_id), status) in asked.iter().zip([401, 404, 405, 200]) {
        let line = of(request_id);
        assert_eq!(line["path"], path.split('?').next().unwrap());
        assert_eq!(
            (&line["method"], &line["status"], &line["level"]),
            (&json!("GET"), &json!(status), &json!("INFO"))
        );
        assert_eq!((&line["client_id"], &line["peer"]), (&json!(""), &json!("127.0.0.1")));
        assert!(line["duration_us"].is_u64() && line["timestamp"].is_string());
    }
    assert_eq!(of(&unnamed)["status"], 401);
    assert_eq!(of("known")["client_id"], "admin");
    assert!(!format!("{lines:?}").contains("in-the-query"));
    assert_eq!(requests.len(), 7, "including the token request of the admin");
}

#[tokio::test]
async fn an_invalid_request_id_is_replaced() {
    let server = Server::start().await;
    for given in ["", "with blank", &"x".repeat(65), "tab\there", "quo\"ted"] {
        let response = server.http.get("/me", &[("x-request-id", given)]).await;
        assert_eq!(response.header("x-request-id").len(), 22, "{given}");
    }
}

/// The error comes before anything is created.
#[test]
fn plaintext_is_refused_beyond_loopback() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let flags =
            ["serve", "--plaintext", "--listen", listen, "--data-dir", data_dir.to_str().unwrap()];
        let stderr = fails(&run(&flags), 2);
        assert!(stderr.contains("plaintext") && stderr.contains("trusted_proxies"), "{stderr}");
    }
    assert!(!data_dir.exists());
}

#[tokio::test]
async fn plaintext_on_loopback_serves_http() {
    let server = ServerProcess::start_with(&["--plaintext"]);
    assert!(server.url.starts_with("http://127.0.0.1:"));
    assert!(!server.ca_file().exists());
    let admin = server.init();
    let http = Http::new(&server.url, None);
    assert_eq!(http.token(&admin, &[]).await.status, 200);
    let mut client = gatekey();
    client.env("GATEKEY_API_KEY", admin.encoded(server.endpoint()));
    let whoami = stdout(&run_with(&mut client, &format!("whoami --endpoint {}", server.url)));
    assert!(whoami.contains("admin"), "{whoami}");
}

#[tokio::test]
async fn an_address_in_use_is_reported() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let stderr = fails(&run(&["serve", "--data-dir", data_dir, "--listen", &address]), 1);
    assert!(stderr.contains(&address) && stderr.contains("--listen"), "{stderr}");
}

#[tokio::test]
async fn everyone_can_read_the_ready_file() {
    let directory = tempfile::tempdir().unwrap();
    let ready_file = directory.path().join("ready.json");
    let flags = ["--ready-file", ready_file.to_str().unwrap()];
    let _server = ServerProcess::start_on(&directory.path().join("data"), &flags);
    eventually("the ready file", async || ready_file.exists()).await;
    assert_eq!(fs::metadata(&ready_file).unwrap().permissions().mode() & 0o777, 0o644);
}

/// One unit file or script fits every configuration.
#[tokio::test]
async fn sighup_never_stops_a_server() {
    for flags in [&[][..], &["--plaintext"]] {
        let mut server = ServerProcess::start_with(flags);
        for _ in 0..3 {
            stop("HUP", server.pid());
            server.wait_for_log("nothing to reload at SIGHUP: there are no certificate files");
        }
        assert_eq!(server.http().get("/oauth2/jwks", &[]).await.status, 200);
        assert!(server.stop().await.success());
    }
}

/// Closing the terminal ends a quickstart, like Ctrl-C.
#[tokio::test]
async fn sighup_stops_a_quickstart_gracefully() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let mut child = gatekey()
        .args(["quickstart", "--listen", "127.0.0.1:0", "--data-dir", data_dir.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(lines).map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("Serving until")));
    stop("HUP", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn a_server_without_keys_says_so() {
    let message = "there is no API key yet: create the first one, for an admin";
    let mut server = ServerProcess::start();
    server.wait_for_log(message);
    let log = server.log();
    let hint = log.iter().find(|line| line["message"] == message).unwrap();
    assert!(hint["command"].as_str().unwrap().starts_with("gatekey init --data-dir "), "{hint}");
    server.init();
    assert!(server.terminate().success());
    let server = ServerProcess::start_on(&server.data_dir, &[]);
    assert!(!server.log().iter().any(|line| line["message"] == message));
}

#[test]
fn a_failed_start_creates_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (deep, empty) = (path("a/b/data"), path("empty"));
    fs::create_dir(&empty).unwrap();
    let free = ["--listen", "127.0.0.1:0"];
    let flags = [
        vec!["--listen", &*busy],
        [&free[..], &["--admin-listen", &busy]].concat(),
        [&free[..], &["--tls-cert", "absent.pem", "--tls-key", "absent.pem"]].concat(),
        [&free[..], &["--root-key-file", "/nonexistent/root.key"]].concat(),
        [&free[..], &["--config", "absent.toml"]].concat(),
    ];
    for flags in flags {
        for data_dir in [&deep, &empty] {
            let output = run(&[&["serve", "--data-dir", data_dir], &flags[..]].concat());
            assert!(!output.status.success(), "{flags:?}");
            assert!(!fs::exists(path("a")).unwrap(), "{flags:?}");
            assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "{flags:?}");
        }
    }
    let quickstart = ["quickstart", "--once", "--listen", &busy, "--data-dir", &deep];
    assert!(!run(&quickstart).status.success());
    assert!(!fs::exists(path("a")).unwrap());
}

#[test]
fn a_listen_address_without_ip_is_explained() {
    for command in [&["serve"][..], &["quickstart", "--once"], &["config", "check"], &["init"]] {
        for (address, written) in [
            ("localhost:8443", "127.0.0.1:8443"),
            (":8443", "127.0.0.1:8443, or 0.0.0.0:8443"),
            ("8443", "127.0.0.1:8443, or 0.0.0.0:8443"),
            ("0.0.0.0", "0.0.0.0:8443"),
            ("::", "[::]:8443"),
            ("localhost", "127.0.0.1:8443"),
            ("", "127.0.0.1:8443"),
        ] {
            let stderr = fails(&run(&[command, &["--listen", address]].concat()), 2);
            let expected =
                format!("IP address and a port, such as 127.0.0.1:8443; write {written}");
            let stderr = stderr.replace("with a port", "and a port");
            assert!(stderr.contains(&expected), "{stderr}");
        }
    }
}
