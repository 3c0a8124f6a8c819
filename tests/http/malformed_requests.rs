//! Malformed requests. Each gets its own code and a message that names the fault, and the server
//! keeps serving.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Http, Response, Server, connection};

const GRANT: &str = "grant_type=client_credentials";

impl Server {
    /// Asserts that a valid request succeeds.
    pub(crate) async fn assert_serving(&self) {
        assert_eq!(self.http.token(&self.admin, &[]).await.status, 200);
    }

    async fn with_authorization(&self, value: &str) -> Response {
        self.http.form("/oauth2/token", &[("authorization", value)], GRANT).await
    }
}

/// Asserts the OAuth error `invalid_request`, and returns its description.
fn invalid_request(response: &Response) -> String {
    assert_eq!(response.status, 400, "{}", response.text());
    let body = response.json();
    assert_eq!(body["error"], "invalid_request", "{body}");
    body["error_description"].as_str().unwrap().to_owned()
}

/// The status of the only response on a connection, which the server then closes.
async fn status_of(server: &Server, bytes: &[u8]) -> u16 {
    let response = connection::exchange(&server.process, bytes).await;
    assert_eq!(response.matches("HTTP/1.1 ").count(), 1, "not exactly one response: {response}");
    let status = response.strip_prefix("HTTP/1.1 ").unwrap();
    status[..3].parse().unwrap()
}

#[tokio::test]
async fn malformed_basic_credentials_are_reported() {
    let server = Server::start().await;
    let secret = &server.admin.client_secret;
    let encoded = |text: &[u8]| format!("Basic {}", BASE64_STANDARD.encode(text));
    for (case, value) in [
        ("no scheme", secret.clone()),
        ("no base64", "Basic !!!".to_owned()),
        ("not encoded", format!("Basic admin:{secret}")),
        ("url-safe base64", "Basic Pz8_Pz8_Og==".to_owned()),
        ("no padding", encoded(b"a:bc").trim_end_matches('=').to_owned()),
        ("too much padding", format!("{}=", encoded(b"a:b"))),
        ("unused bits", "Basic YTpiYh==".to_owned()),
        ("blanks within", "Basic YT pi".to_owned()),
        ("no colon", encoded(b"admin")),
        ("not UTF-8", encoded(b"admin:\xff\xfe")),
        ("not UTF-8 once form-decoded", encoded(b"admin:%ff%fe")),
        ("a parameter", format!("Basic realm=\"x\", {secret}")),
    ] {
        let description = invalid_request(&server.with_authorization(&value).await);
        assert!(description.contains("authorization header"), "{case}: {description}");
        assert!(!description.contains(secret.as_str()), "{case}: {description}");
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn non_ascii_credentials_are_reported() {
    let server = Server::start().await;
    let value = http::HeaderValue::from_bytes(b"Basic \xff\xfe\xfd").unwrap();
    let head = [
        &b"POST /oauth2/token HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 29\r\n\
           content-type: application/x-www-form-urlencoded\r\nauthorization: "[..],
        value.as_bytes(),
        b"\r\n\r\n",
        GRANT.as_bytes(),
    ];
    let response = connection::exchange(&server.process, &head.concat()).await;
    assert!(
        response.starts_with("HTTP/1.1 400 ") && response.contains("authorization header"),
        "{response}"
    );
    server.assert_serving().await;
}

#[tokio::test]
async fn a_60_kb_authorization_header_is_unauthenticated() {
    let server = Server::start().await;
    let http1 = Http::over_http1(&server.process.reached_at, Some(&server.process.ca_file()));
    let long = "x".repeat(60_000);
    let bearer = format!("Bearer {long}");
    assert_eq!(http1.get("/me", &[("authorization", &bearer)]).await.status, 401);
    let basic = crate::support::basic("admin", &long[..40_000]);
    let response = http1.form("/oauth2/token", &[("authorization", &basic)], GRANT).await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["error"]),
        (401, &json!("invalid_client"))
    );
    server.assert_serving().await;
}

#[tokio::test]
async fn headers_over_the_limit_return_431() {
    let server = Server::start().await;
    let long = "x".repeat(300_000);
    let http1 = Http::over_http1(&server.process.reached_at, Some(&server.process.ca_file()));
    // Beyond the limit, the server stops reading, so its response may get lost in the connection
    // reset.
    let response = http1.try_send(Method::GET, "/me", &[("x-long", &long)], "").await;
    assert!(response.is_err() || response.unwrap().status == 431);
    assert_eq!(server.http.get("/me", &[("x-long", &long[..40_000])]).await.status, 431, "HTTP/2");
    let many = "x-many: 1\r\n".repeat(101);
    let request = format!("GET /me HTTP/1.1\r\nhost: h\r\n{many}\r\n");
    assert_eq!(status_of(&server, request.as_bytes()).await, 431);
    server.assert_serving().await;
}

#[tokio::test]
async fn a_url_over_the_limit_is_refused() {
    let server = Server::start().await;
    let request = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "x".repeat(65_535));
    let response = connection::exchange(&server.process, request.as_bytes()).await;
    // As with headers, the response may get lost.
    let refused =
        ["HTTP/1.1 414 ", "HTTP/1.1 431 "].iter().any(|start| response.starts_with(start));
    assert!(refused || response.is_empty(), "{response}");
    let request =
        format!("GET /{} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", "x".repeat(30_000));
    assert_eq!(status_of(&server, request.as_bytes()).await, 404);
    server.assert_serving().await;
}

#[tokio::test]
async fn control_characters_name_their_parameter() {
    let server = Server::start().await;
    for (parameter, name) in [
        ("scope=a%00b", "scope"),
        ("scope=all%0a", "scope"),
        ("audience=%1b%5b31m", "audience"),
        ("resource=%7f", "resource"),
        ("client_id=admin%0d%0aset-cookie:x", "client_id"),
        ("client_secret=%C2%85", "client_secret"),
    ] {
        let body = format!("{GRANT}&{parameter}");
        let description = invalid_request(&server.http.form("/oauth2/token", &[], &body).await);
        assert!(
            description.contains(name) && description.contains("control characters"),
            "{parameter}: {description}"
        );
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn a_parameter_name_is_sanitized_in_errors() {
    let server = Server::start().await;
    let name = format!("%1b%5b31m{}%e2%80%ae", "n".repeat(5000));
    let body = format!("{name}=1&{name}=2");
    let description = invalid_request(&server.http.form("/oauth2/token", &[], &body).await);
    assert!(description.len() < 100 && description.contains("nnnn"), "{description}");
    assert!(
        description.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()),
        "{description}"
    );
    server.assert_serving().await;
}

#[tokio::test]
async fn a_body_that_is_not_utf8_is_refused() {
    let server = Server::start().await;
    for body in [&b"grant_type=\xff"[..], b"\x00\x01\x02\xff", "grant_type=ключ".as_bytes()] {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let response =
            server.http.send(Method::POST, "/oauth2/token", &headers, body.to_vec()).await;
        let description = invalid_request(&response);
        assert!(description.contains("body") || description.contains("parameter"), "{description}");
    }
    let description =
        invalid_request(&server.http.form("/oauth2/token", &[], "scope=%ff%fe").await);
    assert!(description.contains("UTF-8"), "{description}");
    server.assert_serving().await;
}

#[tokio::test]
async fn ten_thousand_parameters_are_refused() {
    let server = Server::start().await;
    let response = server.http.form("/oauth2/token", &[], &"a&".repeat(10_000)).await;
    assert_eq!(
        (response.status.as_u16(), &response.json()["error"]),
        (413, &json!("invalid_request"))
    );
    let description =
        invalid_request(&server.http.form("/oauth2/token", &[], &"a&".repeat(8_000)).await);
    assert!(
        description.contains("given twice") || description.contains("32 parameters"),
        "{description}"
    );
    let distinct: Vec<_> = (0..33).map(|number| format!("p{number}")).collect();
    let description =
        invalid_request(&server.http.form("/oauth2/token", &[], &distinct.join("&")).await);
    assert!(description.contains("more than 32 parameters"), "{description}");
    let resources = format!("{GRANT}&{}", "resource=&".repeat(40));
    let description = invalid_request(&server.http.form("/oauth2/token", &[], &resources).await);
    assert!(description.contains("more than 32 parameters"), "{description}");
    server.assert_serving().await;
}

#[tokio::test]
async fn malformed_http_closes_the_connection() {
    let server = Server::start().await;
    for junk in [
        &b"\r\n\r\nnonsense\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n x: folded\r\n\r\n",
        b"G\x7fT / HTTP/1.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: h\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 TLS within TLS",
    ] {
        let response = connection::exchange(&server.process, junk).await;
        let junk = String::from_utf8_lossy(junk);
        assert!(response.starts_with("HTTP/1.1 400 "), "{junk:?}: {response}");
        assert!(!response.contains("panicked"), "{junk:?}: {response}");
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn an_ambiguous_body_length_is_refused() {
    let server = Server::start().await;
    let head = "POST /oauth2/token HTTP/1.1\r\nhost: h\r\n\
                content-type: application/x-www-form-urlencoded\r\n";
    for lengths in [
        "content-length: 1\r\ncontent-length: 2\r\n\r\nab",
        "content-length: -1\r\n\r\n",
        "content-length: +5\r\n\r\nhello",
        "content-length: 0x5\r\n\r\nhello",
        "content-length: 99999999999999999999999\r\n\r\n",
        "transfer-encoding: chunked\r\n\r\nnonsense\r\n",
        "transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        "transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    ] {
        let request = format!("{head}{lengths}");
        assert_eq!(status_of(&server, request.as_bytes()).await, 400, "{lengths:?}");
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn no_request_hides_in_another_body() {
    let server = Server::start().await;
    let hidden = "GET /oauth2/jwks HTTP/1.1\r\nhost: h\r\n\r\n";
    let request = format!(
        "POST /oauth2/token HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n\
         transfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        hidden.len() + 5
    );
    let response = connection::exchange(&server.process, request.as_bytes()).await;
    assert!(!response.contains("\"keys\""), "{response}");
    server.assert_serving().await;
}

/// The refusal does not wait for the whole body.
#[tokio::test]
async fn an_oversized_body_is_refused_early() {
    let server = Server::start().await;
    let mut stream = connection::connect(&server.process).await;
    let head = "POST /oauth2/token HTTP/1.1\r\nhost: h\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 99999999\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&b"a".repeat(17 * 1024)).await.unwrap();
    let mut response = String::new();
    let _ = stream.read_to_string(&mut response).await;
    assert!(response.is_empty() || response.starts_with("HTTP/1.1 413 "), "{response}");
    server.assert_serving().await;
}

#[tokio::test]
async fn a_client_may_disconnect_at_any_time() {
    let server = Server::start().await;
    for part in [
        "",
        "POST /oauth2/to",
        "POST /oauth2/token HTTP/1.1\r\nhost: h\r\ncontent-length: 50\r\n\r\ngrant_type=cl",
        "POST /cloudidl.identity.AppsService/List HTTP/1.1\r\nhost: h\r\n\
         content-type: application/proto\r\ncontent-length: 5000\r\n\r\n",
    ] {
        let mut stream = connection::connect(&server.process).await;
        stream.write_all(part.as_bytes()).await.unwrap();
        drop(stream);
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn the_tls_port_survives_plain_http_and_noise() {
    let server = Server::start().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"[..],
        &[0; 100],
        &b"\xff".repeat(20_000),
        b"\x16\x03\x01",
    ] {
        let mut stream =
            tokio::net::TcpStream::connect(connection::address(&server.process)).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
        assert!(!response.starts_with(b"HTTP"), "nothing is served without TLS");
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn the_server_survives_noise_in_http2() {
    let server = Server::start().await;
    for noise in [
        &b"nonsense that is no frame at all, and goes on for a while"[..],
        // SETTINGS of an invalid length; HEADERS on stream 0; a frame of 16 MB.
        b"\x00\x00\x05\x04\x00\x00\x00\x00\x00hello",
        b"\x00\x00\x04\x04\x00\x00\x00\x00\x00nope\x00\x00\x04\x01\x05\x00\x00\x00\x00abcd",
        b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    ] {
        let ca_file = server.process.ca_file();
        let mut stream =
            connection::connect_with(&server.process, &ca_file, rustls::ALL_VERSIONS, &["h2"])
                .await
                .unwrap();
        let _ = stream.write_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", noise].concat()).await;
        let mut response = Vec::new();
        let _ = stream.read_to_end(&mut response).await;
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn a_token_of_any_bytes_is_inactive() {
    let server = Server::start().await;
    let hostile =
        ["'; DROP TABLE ledger; --", "../../etc/passwd", "{}", "a.b.c", "....", "%", "\"", "ключ"];
    for token in hostile {
        let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
        assert_eq!(
            server.introspect(&server.admin, &token).await,
            json!({ "active": false }),
            "{token}"
        );
    }
    server.assert_serving().await;
}

#[tokio::test]
async fn malformed_requests_cause_no_panic() {
    let mut server = Server::start().await;
    let key = server.create_key("ci").await;
    // A sample of the tests above, then the log.
    server.with_authorization("Basic \t").await;
    server.http.form("/oauth2/token", &[("authorization", &key.basic())], "%00=%00").await;
    connection::exchange(&server.process, b"\x00\x01\x02\r\n\r\n").await;
    for path in ["/%", "/%ff", "/..%2f..%2fetc/passwd", "/\u{2028}", "//", "/?", "/me;x=1"] {
        let path: String = url::Url::parse("http://h")
            .unwrap()
            .join(path)
            .map_or("/".into(), |url| url.path().into());
        server.http.get(&path, &[]).await;
    }
    server.administer(b"\xff\n");
    assert!(server.process.stop().await.success());
    let bad = |line: &&Value| line["level"] == "ERROR" || line.to_string().contains("panick");
    assert_eq!(server.process.log().iter().find(bad), None);
}
