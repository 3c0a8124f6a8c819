//! HTTP/1.1: requests whose length is ambiguous, forged hosts, and slow clients.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Server, connection};

const FORM: &str = "content-type: application/x-www-form-urlencoded";

/// A request that a body may hide.
const HIDDEN: &str = "GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n\r\n";

/// If a proxy and the server disagree on where a request ends, an attacker can inject a second one
/// (RFC 9112 section 11.2); hyper accepted `+5` as a length (CVE-2021-32715) and let chunk sizes
/// overflow (CVE-2021-32714).
#[tokio::test]
async fn no_length_header_hides_a_second_request() {
    let server = Server::with_config("[server]\nidle_timeout_seconds = 1\n").await;
    let hidden = "GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n\r\n";
    let chunked = format!("0\r\n\r\n{hidden}");
    let length = chunked.len();
    for lengths in [
        format!("content-length: {length}\r\ntransfer-encoding: chunked"),
        format!("transfer-encoding: chunked\r\ncontent-length: {length}"),
        format!("transfer-encoding: chunked\r\ncontent-length: 0\r\ncontent-length: {length}"),
        format!("content-length: {length}\r\ncontent-length: 0"),
        format!("content-length: {length}, 0"),
        format!("content-length: {length}\r\ntransfer-encoding : chunked"),
        format!("content-length: {length}\r\ntransfer-encoding: chunked, identity"),
        format!("content-length: {length}\r\ntransfer-encoding: identity, chunked"),
        format!("content-length: {length}\r\ntransfer-encoding:\x0bchunked"),
        format!("content-length: {length}\r\ntransfer-encoding: \"chunked\""),
        format!("content-length: {length}\r\nx: y\ntransfer-encoding: chunked"),
        format!("content-length: {length}\r\n transfer-encoding: chunked"),
        format!("content-length: +{length}"),
        format!("content-length: {length} "),
    ] {
        let head = format!("POST /oauth2/token HTTP/1.1\r\nhost: h\r\n{FORM}\r\n{lengths}");
        let response =
            connection::exchange(&server.process, format!("{head}\r\n\r\n{chunked}").as_bytes())
                .await;
        assert!(!response.contains("\"keys\""), "{lengths:?}: {response}");
        assert!(response.matches("HTTP/1.1 ").count() <= 1, "{lengths:?}: {response}");
    }
    for chunk in
        ["10000000000000005\r\nhello\r\n0\r\n\r\n", "-5\r\nhello", "0x5\r\nhello", "5 5\r\nhello"]
    {
        let head = "POST /oauth2/token HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked";
        let request = format!("{head}\r\n{FORM}\r\n\r\n{chunk}{hidden}");
        let response = connection::exchange(&server.process, request.as_bytes()).await;
        assert!(
            response.starts_with("HTTP/1.1 400 ") && !response.contains("\"keys\""),
            "{chunk:?}: {response}"
        );
    }
}

/// hyper reads any list of codings that ends in `chunked` (RFC 9112 section 6.1).
#[tokio::test]
async fn a_transfer_coding_is_chunked_once() {
    let server = Server::start().await;
    for coding in [
        "transfer-encoding: chunked, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: identity, chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: ,chunked",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked",
    ] {
        let head = format!("POST /oauth2/token HTTP/1.1\r\nhost: h\r\n{FORM}\r\n{coding}");
        let request = format!("{head}\r\n\r\n0\r\n\r\n{HIDDEN}");
        let response = connection::exchange(&server.process, request.as_bytes()).await;
        assert!(response.starts_with("HTTP/1.1 400 "), "{coding:?}: {response}");
        assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{coding:?}: {response}");
    }
}

/// RFC 9112 section 6.3: `chunked` overrides the length, and the connection ends, because a proxy
/// may have used the length.
#[tokio::test]
async fn nothing_is_read_after_two_lengths() {
    let server = Server::start().await;
    for lengths in [
        "content-length: 5\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 5",
        "transfer-encoding: Chunked\r\ncontent-length: 0\r\ncontent-length: 9",
    ] {
        for path in ["/oauth2/token", "/nothing", "/me"] {
            let head = format!("POST {path} HTTP/1.1\r\nhost: h\r\n{FORM}\r\n{lengths}");
            let request = format!("{head}\r\n\r\n0\r\n\r\n{HIDDEN}{HIDDEN}");
            let response = connection::exchange(&server.process, request.as_bytes()).await;
            assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "{lengths:?}: {response}");
            assert!(!response.contains("\"keys\""), "{lengths:?}: {response}");
        }
    }
}

/// RFC 9112 section 3.2. A proxy that reads another `Host` may send the request to the wrong place.
#[tokio::test]
async fn a_host_is_given_once_and_valid() {
    let server = Server::with_admin_listener().await;
    let admin = server.process.admin_url.as_ref().unwrap().strip_prefix("http://").unwrap();
    for (version, hosts, served) in [
        ("1.1", "host: h\r\n", true),
        ("1.1", "host: h:443\r\n", true),
        ("1.1", "host: [::1]:443\r\n", true),
        ("1.0", "", true),
        ("1.0", "host: h\r\n", true),
        ("1.1", "", false),
        ("1.1", "host:\r\n", false),
        ("1.1", "host: a\r\nhost: b\r\n", false),
        ("1.1", "host: h\r\nhost: h\r\n", false),
        ("1.1", "host: a, b\r\n", false),
        ("1.1", "host: a b/c@d\r\n", false),
        ("1.1", "host: user@h\r\n", false),
        ("1.1", "host: h:port\r\n", false),
        ("1.1", "host: [::1\r\n", false),
        ("1.0", "host: a\r\nhost: b\r\n", false),
        ("1.0", "host: a b\r\n", false),
    ] {
        let request =
            |path: &str, more: &str| format!("GET {path} HTTP/{version}\r\n{hosts}{more}\r\n");
        // A refusal ends the connection, so that nothing after it is read.
        let more = if served { "connection: close\r\n" } else { "" };
        let after = request("/oauth2/jwks", "");
        let public = connection::exchange(
            &server.process,
            format!("{}{after}", request("/oauth2/jwks", more)).as_bytes(),
        )
        .await;
        let mut stream = TcpStream::connect(admin).await.unwrap();
        let bytes = format!("{}{after}", request("/healthz", more));
        stream.write_all(bytes.as_bytes()).await.unwrap();
        let mut probe = Vec::new();
        let _ = stream.read_to_end(&mut probe).await;
        let status = format!("HTTP/{version} {}", if served { 200 } else { 400 });
        for response in [public, String::from_utf8(probe).unwrap()] {
            assert!(response.starts_with(&status), "{hosts:?}: {response}");
            assert_eq!(response.matches("HTTP/1.").count(), 1, "{hosts:?}: {response}");
        }
    }
}

/// Access was decided on the headers, before the trailers arrived (RFC 9110 section 6.5.1).
#[tokio::test]
async fn trailers_are_not_headers() {
    let server = Server::start().await;
    let grant = "grant_type=client_credentials";
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{FORM}\r\ntransfer-encoding: chunked\r\n\
         trailer: authorization\r\n\r\n{:x}\r\n{grant}\r\n0\r\nauthorization: {}\r\n\r\n",
        grant.len(),
        server.admin.basic()
    );
    let response = connection::exchange(&server.process, request.as_bytes()).await;
    assert!(response.starts_with("HTTP/1.1 401 "), "{response}");
}

/// Slow clients occupy connections: CVE-2007-6750 (headers), and the same with handshakes and
/// bodies. The server must close each connection by itself.
#[tokio::test]
async fn a_slow_sender_is_disconnected() {
    let server = Server::with_config("[server]\nidle_timeout_seconds = 1\n").await;
    let process = &server.process;
    let handshake = async {
        let mut stream = TcpStream::connect(connection::address(process)).await.unwrap();
        stream.write_all(b"\x16\x03\x01").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let silent = async {
        let _ = connection::connect(process).await.read_to_end(&mut Vec::new()).await;
    };
    let idle = async {
        let mut stream = connection::connect(process).await;
        stream.write_all(b"GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    // An occasional byte extends nothing: the limits apply to all headers, and to the whole body.
    let dripping = async |begin: String| {
        let mut stream = connection::connect(process).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        loop {
            let read =
                tokio::time::timeout(Duration::from_millis(500), stream.read_buf(&mut response))
                    .await;
            match read {
                Ok(Ok(0) | Err(_)) => return String::from_utf8(response).unwrap(),
                Ok(Ok(_)) => {}
                Err(_) => {
                    let _ = stream.write_all(b"x").await;
                    let _ = stream.flush().await;
                }
            }
        }
    };
    let bearer = &server.admin_token;
    let body = "connection: close\r\ncontent-length: 5000\r\n\r\n";
    let all = Box::pin(async {
        tokio::join!(
            handshake,
            silent,
            idle,
            dripping("GET /me HTTP/1.1\r\nx: ".to_owned()),
            dripping(format!("POST /oauth2/token HTTP/1.1\r\nhost: h\r\n{FORM}\r\n{body}")),
            dripping(format!(
                "POST /gatekey.v1.ApiKeyService/Create HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {bearer}\r\n\
                 content-type: application/json\r\n{body}"
            )),
        )
    });
    let (.., headers, form, rpc) = tokio::time::timeout(Duration::from_secs(45), all)
        .await
        .expect("the server closes every slow connection");
    assert!(headers.is_empty() || headers.starts_with("HTTP/1.1 408 "), "{headers}");
    assert!(form.starts_with("HTTP/1.1 400 ") && form.contains("ten seconds"), "{form}");
    assert!(rpc.starts_with("HTTP/1.1 504 ") && rpc.contains("deadline_exceeded"), "{rpc}");
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
}

/// URLs that the server returns must not depend on the `Host` header:
/// <https://portswigger.net/web-security/host-header>.
#[tokio::test]
async fn a_forged_host_changes_no_url() {
    let server = Server::start().await;
    for (host, forwarded) in
        [("evil.example", "evil.example"), ("evil.example:443@h", "h, evil.example")]
    {
        let request = format!(
            "GET /.well-known/oauth-authorization-server HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             x-forwarded-host: {forwarded}\r\nforwarded: host=evil.example\r\nx-forwarded-proto: http\r\n\r\n"
        );
        let response = connection::exchange(&server.process, request.as_bytes()).await;
        assert!(!response.contains("evil"), "{response}");
        assert!(
            response.starts_with("HTTP/1.1 400 ") || response.contains(&server.process.url),
            "{response}"
        );
    }
}

#[tokio::test]
async fn a_refusal_keeps_the_connection_open() {
    let server = Server::start().await;
    let mut stream = connection::connect(&server.process).await;
    // Some clients send the body in a separate write, possibly after the response was sent.
    for _ in 0..3 {
        let head = "POST /cloudidl.identity.AppsService/List HTTP/1.1\r\nhost: h\r\n\
                    content-type: application/json\r\ncontent-length: 2\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream.write_all(b"{}").await.unwrap();
        stream.flush().await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"}") && !response.ends_with(b"0\r\n\r\n") {
            assert!(stream.read_buf(&mut response).await.unwrap() > 0, "the connection was closed");
        }
        assert!(response.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&response));
    }
}
