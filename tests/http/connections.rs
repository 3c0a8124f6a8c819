//! Many connections: more than there are descriptors, many idle ones, and a shutdown under load.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::process::ExitStatusExt as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{
    Http, PUBLIC_URL, Server, ServerProcess, connection, eventually, is_long_run, not_proven,
};

/// One address may have every connection.
const UNSHARED: &str = "[server]\nconnection_share_per_address = 1\nidle_timeout_seconds = 3600\n";

/// A server that may open `count` descriptors.
fn with_descriptors(count: u32, toml: &str) -> (tempfile::TempDir, ServerProcess) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatekey.toml");
    fs::write(&file, toml).unwrap();
    let script = format!("ulimit -n {count}; exec \"$0\" \"$@\"");
    let flags = ["--config", file.to_str().unwrap()];
    let server = ServerProcess::start_by(
        &["sh", "-c", &script],
        &directory.path().join("data"),
        &flags,
        &[],
    );
    (directory, server)
}

fn times_logged(server: &ServerProcess, words: &str) -> usize {
    let says = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains(words));
    server.log().iter().filter(says).count()
}

/// A stranger with many connections, whatever they do, does not keep other clients out.
#[tokio::test]
async fn one_address_cannot_take_every_connection() {
    let toml = "[tls]\nplaintext = true\n";
    let (_directory, server) = with_descriptors(144, toml);
    let admin = server.init();
    let watch = "POST /grpc.health.v1.Health/Watch HTTP/1.1\r\nhost: h\r\ncontent-length: 7\r\n\
                 content-type: application/connect+json\r\nconnect-protocol-version: 1\r\n\r\n\0\0\0\0\x02{}";
    // Eighty are all that the server accepts.
    let mut held = Vec::new();
    for request in ["", "GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n\r\n", watch] {
        for _ in 0..80 {
            let mut stream =
                connection::connect_from("127.0.0.2", connection::address(&server)).await;
            let _ = stream.write_all(request.as_bytes()).await;
            held.push(stream);
        }
        assert_eq!(server.http().token(&admin, &[]).await.status, 200, "{request}");
    }
    assert_eq!(times_logged(&server, "connection limit reached"), 0);
}

/// The connection that is idle for longest makes room.
#[tokio::test]
async fn the_longest_idle_connection_makes_room() {
    // Eighty connections, so ten for each address.
    let (_directory, server) = with_descriptors(144, "[tls]\nplaintext = true\n");
    let get = b"GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n\r\n";
    let mut first = connection::connect_from("127.0.0.2", connection::address(&server)).await;
    first.write_all(get).await.unwrap();
    first.read_exact(&mut [0; 15]).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..10 {
        let mut stream = connection::connect_from("127.0.0.2", connection::address(&server)).await;
        stream.write_all(get).await.unwrap();
        let mut status = [0; 15];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200 OK");
        others.push(stream);
    }
    // It ends, the others do not.
    let _ = first.read_to_end(&mut Vec::new()).await;
    for stream in &mut others {
        stream.write_all(get).await.unwrap();
    }
}

/// Otherwise, a client that does not read occupies a connection for as long as it likes.
#[tokio::test]
async fn unread_responses_end_their_connection() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start_in(directory, &["--plaintext"], &[("GATEKEY_LOG", "debug")]).await;
    let mut stream = TcpStream::connect(connection::address(&server.process)).await.unwrap();
    // More responses than the sockets can buffer.
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: h\r\n\r\n".repeat(500);
    stream.write_all(requests.as_bytes()).await.unwrap();
    let waited = tokio::task::spawn_blocking(move || {
        server.process.wait_for_log("ended a connection");
        server
    });
    let server = waited.await.unwrap();
    let ended: Vec<_> = server.process.log();
    let reason = ended.iter().find(|line| line["message"] == "ended a connection").unwrap();
    assert_eq!(reason["reason"], "timed out sending a response");
    drop(stream);
}

#[tokio::test]
async fn idle_clients_delay_a_stop_by_five_seconds() {
    let mut server = Server::start().await;
    let (mut silent, mut open) = (Vec::new(), Vec::new());
    silent.push(TcpStream::connect(connection::address(&server.process)).await.unwrap());
    for begin in [
        "",
        "GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n",
        "GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n\r\n",
        "POST /oauth2/token HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\
         content-type: application/x-www-form-urlencoded\r\n\r\n",
    ] {
        let mut stream = connection::connect(&server.process).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        open.push(stream);
    }
    let http2 = Http::new(&server.process.reached_at, Some(&server.process.ca_file()));
    assert_eq!(http2.get("/oauth2/jwks", &[]).await.status, 200);
    let started = Instant::now();
    assert!(server.process.stop().await.success());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop((silent, open));
}

/// Debian 12's curl, over HTTP/2: it reports a stream that is reset before its body is sent, also
/// when the response is complete.
#[tokio::test]
async fn curl_sees_every_refusal() {
    if Command::new("curl").arg("--version").output().is_err() {
        return not_proven("curl sees every refusal: there is no curl");
    }
    let server = Server::start().await;
    let ca_file = server.process.ca_file();
    let url = &server.process.reached_at;
    let wrong = "authorization: Bearer wrong";
    let json = "content-type: application/json";
    let key = server.create_key("ci").await;
    let bearer = format!("authorization: Bearer {}", server.token(&key).await);
    let admin = format!("authorization: Bearer {}", server.admin_token);
    for (path, headers, status) in [
        ("/oauth2/token", &["content-type: text/plain"][..], "400"),
        ("/oauth2/token", &["content-encoding: gzip"], "415"),
        ("/oauth2/jwks", &[json], "405"),
        ("/oauth2/userinfo", &[wrong], "401"),
        ("/nothing", &[json], "404"),
        ("/gatekey.v1.ApiKeyService/Create", &[json, wrong], "401"),
        ("/gatekey.v1.ApiKeyService/Create", &[json, &bearer], "403"),
        ("/gatekey.v1.ApiKeyService/Create", &[&admin], "415"),
        ("/gatekey.v1.ApiKeyService/Nothing", &[json], "501"),
        ("/oauth_app/api/v1", &["content-type: text/plain"], "415"),
        ("/oauth_app/api/v1", &[json, wrong], "401"),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http2", "--no-keepalive", "--cacert", ca_file.to_str().unwrap()]);
        for (number, _) in (0..20).enumerate() {
            if number > 0 {
                curl.arg("--next").args(["-sS", "--http2", "--cacert", ca_file.to_str().unwrap()]);
            }
            curl.args([
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}\n",
                "-d",
                "{\"clientId\":\"refused\"}",
            ]);
            for header in headers {
                curl.args(["-H", header]);
            }
            curl.arg(format!("{url}{path}"));
        }
        let ran = curl.output().unwrap();
        let statuses = String::from_utf8(ran.stdout).unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        assert_eq!(statuses, format!("{status}\n").repeat(20), "{path} {headers:?}: {errors}");
    }
}

/// Load balancers keep idle connections for a minute.
#[tokio::test]
async fn the_idle_timeout_can_be_set() {
    let server = Server::with_config("[server]\nidle_timeout_seconds = 1\n").await;
    let mut stream = connection::connect(&server.process).await;
    stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    assert!(response.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn an_old_connection_is_closed_after_a_response() {
    let server = Server::with_config("[server]\nmax_connection_age_seconds = 1\n").await;
    let mut stream = connection::connect(&server.process).await;
    let mut response = Vec::new();
    loop {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        assert_ne!(stream.read_buf(&mut response).await.unwrap(), 0, "closed without a response");
        if String::from_utf8_lossy(&response).contains("connection: close") {
            break;
        }
    }
    stream.read_to_end(&mut response).await.unwrap();
}

/// Clients with a connection are not affected.
#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let (_directory, server) = with_descriptors(100, UNSHARED);
    let admin = server.init();
    let http = server.http();
    let token = server.token(&admin).await;
    let create = async |name: &str| {
        let body = json!({ "clientId": name });
        let response = http.connect_json("/gatekey.v1.ApiKeyService/Create", &token, &body).await;
        assert_eq!(response.status, 200, "{}", response.text());
    };
    create("before").await;
    // The server accepts 36; the kernel's backlog must have room for the others, or connecting
    // would block.
    let mut waiting = Vec::new();
    for _ in 0..100 {
        waiting.push(TcpStream::connect(connection::address(&server)).await.unwrap());
    }
    eventually("the limit is logged", async || {
        times_logged(&server, "connection limit reached") == 1
    })
    .await;
    for number in 0..10 {
        create(&format!("during-{number}")).await;
        assert_eq!(http.token(&admin, &[]).await.status, 200);
        server.init_named(&format!("local-{number}"));
    }
    let listed =
        http.connect_json("/gatekey.v1.ApiKeyService/List", &token, &json!({})).await.json();
    assert_eq!(listed["apiKeys"].as_array().unwrap().len(), 22);
    assert_eq!(times_logged(&server, "connection limit reached"), 1);
    assert_eq!(times_logged(&server, "cannot accept"), 0);
    drop(waiting);
    eventually("room is logged", async || {
        assert_eq!(server.http().token(&admin, &[]).await.status, 200);
        // Logged more than once if waiting connections are accepted faster than closed ones are
        // noticed.
        times_logged(&server, "accepting new connections again") >= 1
    })
    .await;
}

/// New connections are accepted once descriptors are free again.
#[tokio::test]
async fn without_descriptors_existing_connections_are_served() {
    let (_directory, server) = with_descriptors(100, UNSHARED);
    let admin = server.init();
    let http = server.http();
    let token = server.token(&admin).await;
    let create = async |name: String| {
        let body = json!({ "clientId": name });
        http.connect_json("/gatekey.v1.ApiKeyService/Create", &token, &body).await
    };
    assert_eq!(create("first".to_owned()).await.status, 200, "this client has a connection");
    // A local administrator may use up all descriptors.
    let socket = server.data_dir.join("control.sock");
    let held: Vec<_> =
        (0..100).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    eventually("it is logged", async || {
        times_logged(&server, "the control socket cannot accept") == 1
    })
    .await;
    // Only new connections notice.
    let _newcomer = TcpStream::connect(connection::address(&server)).await.unwrap();
    eventually("it is logged", async || times_logged(&server, "cannot accept connections") == 1)
        .await;
    for number in 0..20 {
        let created = create(format!("key-{number}")).await;
        assert_eq!(created.status, 200, "{}", created.text());
        assert_eq!(http.token(&admin, &[]).await.status, 200);
    }
    let list = "/gatekey.v1.ApiKeyService/List";
    let listed = http.connect_json(list, &token, &json!({})).await.json();
    assert_eq!(listed["apiKeys"].as_array().unwrap().len(), 22);
    assert_eq!(times_logged(&server, "cannot accept"), 2);
    drop(held);
    assert_eq!(server.http().token(&admin, &[]).await.status, 200);
    server.init_named("local");
}

#[tokio::test]
async fn the_descriptor_limit_is_raised_to_its_maximum() {
    let directory = tempfile::tempdir().unwrap();
    let script = "ulimit -S -n 90; exec \"$0\" \"$@\"";
    let server =
        ServerProcess::start_by(&["sh", "-c", script], &directory.path().join("data"), &[], &[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let limits: Vec<_> = line.split_whitespace().collect();
    assert_eq!(limits[0], limits[1]);
    assert_ne!(limits[0], "90");
}

/// How many connections both processes can have on this machine.
fn possible_connections() -> usize {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let soft: usize = line.split_whitespace().next().unwrap().parse().unwrap_or(usize::MAX);
    soft.saturating_sub(500)
}

/// They do not keep other clients out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_idle_connections_are_cheap() {
    /// Above the measured value, but low enough to detect a leak or a large buffer.
    const MOST_BYTES: u64 = 64 * 1024;
    let wanted = if is_long_run() { 9_900 } else { 900 };
    let count = wanted.min(possible_connections());
    if count < wanted {
        not_proven(&format!("{wanted} idle connections: a process may have {count} here"));
    }
    let Server { process: server, http, admin, .. } = &Server::with_config(UNSHARED).await;
    assert_eq!(http.token(admin, &[]).await.status, 200);
    let before = server.resident_bytes();
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        let ca_file = server.ca_file();
        let mut stream = connection::connect_with(server, &ca_file, rustls::ALL_VERSIONS, &["h2"])
            .await
            .unwrap();
        // Preface and empty settings: an unfinished preface would time out.
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
        stream.flush().await.unwrap();
        // The server's settings: it serves the connection.
        stream.read_exact(&mut [0; 9]).await.unwrap();
        idle.push(stream);
    }
    let bytes = server.resident_bytes().saturating_sub(before) / count as u64;
    println!("{count} idle connections of HTTP/2 over TLS: {bytes} bytes each");
    assert!(bytes < MOST_BYTES, "{bytes} bytes a connection");
    assert_eq!(http.token(admin, &[]).await.status, 200);
    assert_eq!(server.http().token(admin, &[]).await.status, 200, "one more");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_server_answers_every_change_it_makes() {
    const WORKERS: u64 = 8;
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let flags = ["--public-url", PUBLIC_URL];
    let mut server = ServerProcess::start_on(&data_dir, &flags);
    let token = server.token(&server.init()).await;
    let mut expected: BTreeSet<_> = ["admin".to_owned()].into();
    let rounds = if is_long_run() { 50 } else { 5 };
    for round in 0..rounds {
        let made = Arc::new(AtomicU64::new(0));
        let over_http2 = server.http();
        let work: Vec<_> = (0..WORKERS)
            .map(|worker| {
                // Half of them share one connection.
                let http = if worker % 2 == 0 {
                    over_http2.clone()
                } else {
                    Http::over_http1(&server.reached_at, Some(&server.ca_file()))
                };
                let (token, made) = (token.clone(), made.clone());
                tokio::spawn(async move {
                    let authorization = format!("Bearer {token}");
                    let mut acknowledged = Vec::new();
                    loop {
                        let name = format!("r{round}-w{worker}-{}", acknowledged.len());
                        let headers = [
                            ("authorization", &*authorization),
                            ("content-type", "application/json"),
                        ];
                        let path = "/gatekey.v1.ApiKeyService/Create";
                        let body = json!({ "clientId": name }).to_string();
                        let Ok(response) = http.try_send(Method::POST, path, &headers, body).await
                        else {
                            return acknowledged;
                        };
                        assert_eq!(response.status, 200, "{}", response.text());
                        acknowledged.push(name);
                        made.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        eventually("the load", async || made.load(Ordering::Relaxed) > 40).await;
        assert_eq!(server.stop().await.code(), Some(0));
        // Another server starts before the results are read.
        server = ServerProcess::start_on(&data_dir, &flags);
        for work in work {
            expected.extend(work.await.unwrap());
        }
        let mut listed = BTreeSet::new();
        let mut page_token = Value::Null;
        while page_token != "" {
            let body = json!({ "pageSize": 1000, "pageToken": page_token });
            let http = server.http();
            let page =
                http.connect_json("/gatekey.v1.ApiKeyService/List", &token, &body).await.json();
            let keys = page["apiKeys"].as_array().unwrap();
            listed.extend(keys.iter().map(|key| key["clientId"].as_str().unwrap().to_owned()));
            page_token = json!(page["nextPageToken"].as_str().unwrap_or_default());
        }
        assert_eq!(listed, expected, "exactly the acknowledged keys exist");
    }
}

#[test]
fn a_crash_leaves_no_core_dump() {
    let directory = tempfile::tempdir().unwrap();
    let script = format!("ulimit -c unlimited && cd {} && ", directory.path().display());
    let other =
        Command::new("sh").args(["-c", &format!("{script} kill -ABRT $$")]).status().unwrap();
    if !other.core_dumped() {
        not_proven("that a server leaves no core dump: no process leaves one here");
        return;
    }
    let script = format!("{script} exec \"$0\" \"$@\"");
    let mut server =
        ServerProcess::start_by(&["sh", "-c", &script], &directory.path().join("data"), &[], &[]);
    server.init();
    assert!(
        Command::new("kill").args(["-ABRT", &server.pid().to_string()]).status().unwrap().success()
    );
    let status = server.wait();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped(), "a core dump holds every secret that was in memory");
}
