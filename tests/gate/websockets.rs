//! WebSocket: what may become a tunnel, and when tunnels end.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Server, connection, eventually, upstream::Upstream};

/// A server whose rules open `/ws` to readers, and the upstream behind it.
async fn start(further: &str) -> (Server, Upstream) {
    let upstream = Upstream::start().await;
    let config = format!(
        "[gate]\nupstream = \"{}\"\n{further}\n[gate.rules]\n\"/ws\" = \"read\"\n",
        upstream.url
    );
    (Server::with_config(&config).await, upstream)
}

fn handshake(path: &str, token: &str, upgrade: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\nx-test-do: upgrade\r\n\
         connection: upgrade\r\nupgrade: {upgrade}\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Reads the head of a response.
async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_websocket_passes_in_both_directions() {
    let (server, upstream) = start("").await;
    let mut stream = connection::connect(&server.process).await;
    // What follows the handshake is for the upstream, but only once it has accepted.
    let request = format!("{}early", handshake("/ws", &server.admin_token, "websocket"));
    stream.write_all(request.as_bytes()).await.unwrap();
    let answered = head(&mut stream).await;
    assert!(answered.starts_with("HTTP/1.1 101 "), "{answered}");
    assert!(answered.contains("upgrade: websocket"), "{answered}");
    stream.write_all(b" late").await.unwrap();
    let mut echoed = [0; "early late".len()];
    stream.read_exact(&mut echoed).await.unwrap();
    assert_eq!(&echoed, b"early late");
    let received = upstream.received();
    assert_eq!(received[0].headers["x-auth-request-user"], "admin");
    assert!(!received[0].headers.contains_key("authorization"));
    drop(stream);
    eventually("the tunnel ends", async || upstream.open() == 0).await;
}

/// h2c smuggling: a tunnel of HTTP/2 would carry requests past the rules. Bytes after a refused
/// upgrade are no request either (CVE-2026-2833).
#[tokio::test]
async fn only_websockets_may_upgrade() {
    let (server, upstream) = start("").await;
    let hidden = format!(
        "GET /ws HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\n\r\n",
        server.admin_token
    );
    for upgrade in ["h2c", "HTTP/2.0", "websocket, h2c", "tls/1.2", "websocket\r\nupgrade: h2c"] {
        let request = handshake("/ws", &server.admin_token, upgrade);
        let request = request.replace("connection: upgrade", "connection: upgrade, close");
        let answered =
            connection::exchange(&server.process, format!("{request}{hidden}").as_bytes()).await;
        assert!(answered.starts_with("HTTP/1.1 400 "), "{upgrade}: {answered}");
        assert_eq!(answered.matches("HTTP/1.1").count(), 1, "{upgrade}: {answered}");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_rule_must_allow_the_handshake() {
    let (server, upstream) = start("").await;
    for (path, token, status) in
        [("/ws", "wrong", 401), ("/other", &*server.admin_token, 403), ("/ws/x", "", 401)]
    {
        let request =
            handshake(path, token, "websocket").replace("upgrade\r\nupg", "upgrade, close\r\nupg");
        let answered = connection::exchange(&server.process, request.as_bytes()).await;
        assert!(answered.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answered}");
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_revoked_key_ends_its_websockets() {
    let (server, upstream) = start("").await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let mut stream = connection::connect(&server.process).await;
    stream.write_all(handshake("/ws", &token, "websocket").as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    server.admin_call("Disable", json!({ "clientId": key.client_id })).await;
    let mut rest = Vec::new();
    let read = stream.read_to_end(&mut rest);
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await.expect("the tunnel ends");
    eventually("the upstream learns it", async || upstream.open() == 0).await;
}

/// A client that sends and does not read blocks the tunnel in both directions.
#[tokio::test]
async fn a_revoked_key_ends_blocked_websockets() {
    let (server, upstream) = start("").await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let mut stream = connection::connect(&server.process).await;
    stream.write_all(handshake("/ws", &token, "websocket").as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    let sending =
        tokio::spawn(async move { while stream.write_all(&[b'x'; 16384]).await.is_ok() {} });
    server.admin_call("Disable", json!({ "clientId": key.client_id })).await;
    eventually("the upstream learns it", async || upstream.open() == 0).await;
    tokio::time::timeout(Duration::from_secs(5), sending).await.expect("the tunnel ends").unwrap();
}

#[tokio::test]
async fn one_key_cannot_take_every_websocket() {
    let (server, upstream) = start("").await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let open = async |token: &str| {
        let mut stream = connection::connect(&server.process).await;
        stream.write_all(handshake("/ws", token, "websocket").as_bytes()).await.unwrap();
        let head = head(&mut stream).await;
        (stream, head)
    };
    let mut held = Vec::new();
    for _ in 0..128 {
        let (stream, head) = open(&token).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        held.push(stream);
    }
    let (_, refused) = open(&token).await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains("x-gate-reason: websockets"), "{refused}");
    assert!(open(&server.admin_token).await.1.starts_with("HTTP/1.1 101 "));
    drop(held);
    eventually("the places are free", async || upstream.open() <= 1).await;
    assert!(open(&token).await.1.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_stopping_server_ends_websockets() {
    let (mut server, _upstream) = start("drain_seconds = 1").await;
    let mut stream = connection::connect(&server.process).await;
    let request = handshake("/ws", &server.admin_token, "websocket");
    stream.write_all(request.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
    let ended = tokio::spawn(async move {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    });
    assert!(server.process.stop().await.success());
    ended.await.unwrap();
}
