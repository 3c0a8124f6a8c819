//! What HTTP itself can be abused for: frames, lengths, slowness, and connections that do nothing.

use std::{fs, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::support::{Server, ServerProcess, connection};

const FORM: &str = "content-type: application/x-www-form-urlencoded";

/// HTTP/2, frame by frame (RFC 9113 section 6).
struct Frames {
    stream: TlsStream<TcpStream>,
}

/// Types of frames.
mod frame {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const CONTINUATION: u8 = 9;

    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}

/// Error codes (RFC 9113 section 7).
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
fn framed(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Headers as literals that are not indexed (RFC 7541 section 6.2.2).
fn literals(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

fn get(path: &str) -> Vec<u8> {
    literals(&[(":method", "GET"), (":scheme", "https"), (":authority", "h"), (":path", path)])
}

fn post(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let head = [(":method", "POST"), (":scheme", "https"), (":authority", "h"), (":path", path), form];
    literals(&[&head, more].concat())
}

impl Frames {
    async fn connect(server: &ServerProcess) -> Self {
        let stream = connection::connect_with(server, &server.ca_file(), rustls::ALL_VERSIONS, &["h2"]).await;
        let mut frames = Self { stream: stream.unwrap() };
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(frame::SETTINGS, 0, 0, b"").await;
        frames
    }

    /// The server may have closed already; who reads learns why.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&framed(kind, flags, stream, payload)).await
    }

    /// The next frame: its type, flags, stream and payload.
    async fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes(stream), payload))
    }

    /// The error of the GOAWAY with which the server ends the connection.
    async fn farewell(&mut self) -> Option<u32> {
        let mut said = None;
        while let Some((kind, _, _, payload)) = self.next().await {
            if kind == frame::GOAWAY {
                said = Some(u32::from_be_bytes(*payload[4..].first_chunk().unwrap()));
            }
        }
        said
    }

    /// The error with which the server refuses a stream, or the whole connection for its sake.
    async fn refusal_of(&mut self, asked: u32) -> u32 {
        while let Some((kind, _, stream, payload)) = self.next().await {
            match kind {
                frame::RST_STREAM if stream == asked => {
                    return u32::from_be_bytes(*payload.first_chunk().unwrap());
                }
                frame::GOAWAY => return u32::from_be_bytes(*payload[4..].first_chunk().unwrap()),
                _ => {}
            }
        }
        panic!("the connection was closed without a word")
    }
}

/// Bytes of memory that a server uses (`proc_pid_status(5)`).
fn resident(server: &ServerProcess) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// Streams opened and cancelled at once cost the client nothing and the server a request each: CVE-2023-44487, and
/// in the library used here CVE-2023-26964.
#[tokio::test]
async fn a_rapid_reset_of_streams_ends_the_connection() {
    let server = Server::start().await;
    let mut frames = Frames::connect(&server.process).await;
    let headers = get("/me");
    let mut sent = 0;
    for stream in (1..20_000).step_by(2) {
        let open = framed(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, &headers);
        let cancel = framed(frame::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        if !frames.write(&[open, cancel].concat()).await {
            break;
        }
        sent += 1;
    }
    let said = frames.farewell().await;
    assert!(said.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{said:?}");
    assert!(said.is_some() || sent < 9_000, "{sent} streams were taken");
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
}

/// Headers that never end cost memory or time without a request that a log could show: CVE-2024-27316, and in the
/// library used here RUSTSEC-2024-0332.
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let server = Server::start().await;
    let before = resident(&server.process);
    let mut frames = Frames::connect(&server.process).await;
    let mut alive = frames.send(frame::HEADERS, frame::END_STREAM, 1, &get("/me")).await;
    let part = literals(&[("x-part", &"x".repeat(120))]).repeat(100);
    let mut sent = 0;
    while alive && sent < 10_000 {
        alive = frames.send(frame::CONTINUATION, 0, 1, &part).await;
        sent += 1;
    }
    assert!(sent < 10_000, "100 MB of headers were taken");
    let grown = resident(&server.process).saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
}

/// CVE-2019-9512 (pings), CVE-2019-9515 (settings), CVE-2019-9518 (empty frames): each wants an answer or some work, and
/// who sends them reads nothing.
#[tokio::test]
async fn floods_of_pings_settings_and_empty_frames_take_no_memory() {
    let server = Server::start().await;
    let before = resident(&server.process);
    for (kind, flags, stream, payload) in [
        (frame::PING, 0, 0, &[0; 8][..]),
        (frame::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]),
        (frame::DATA, 0, 1, &[]),
    ] {
        let mut frames = Frames::connect(&server.process).await;
        let open = post("/oauth2/token", &[]);
        frames.send(frame::HEADERS, frame::END_HEADERS, 1, &open).await;
        let many = framed(kind, flags, stream, payload).repeat(500);
        for _ in 0..200 {
            // Once nothing is taken any more, the answers that nobody reads are what the server waits with.
            let taken = tokio::time::timeout(Duration::from_millis(100), frames.write(&many)).await;
            if taken != Ok(true) {
                break;
            }
        }
        let grown = resident(&server.process).saturating_sub(before);
        assert!(grown < 8 << 20, "frames of type {kind}: {grown} bytes more");
        assert_eq!(server.http.token(&server.admin, &[]).await.status, 200, "frames of type {kind}");
    }
}

/// Lengths that differ from what is sent are how a request hides behind another where HTTP/2 is turned into HTTP/1.1:
/// <https://portswigger.net/research/http2>.
#[tokio::test]
async fn a_content_length_that_lies_is_refused_in_http2() {
    let server = Server::start().await;
    for length in ["5", "500"] {
        let mut frames = Frames::connect(&server.process).await;
        let head = post("/oauth2/token", &[("content-length", length)]);
        frames.send(frame::HEADERS, frame::END_HEADERS, 1, &head).await;
        frames.send(frame::DATA, frame::END_STREAM, 1, b"grant_type=client_credentials").await;
        assert_eq!(frames.refusal_of(1).await, PROTOCOL_ERROR, "{length}");
    }
}

/// As above: what has a meaning in HTTP/1.1 alone must not be carried over (RFC 9113 section 8.2.2).
#[tokio::test]
async fn headers_of_http1_are_refused_in_http2() {
    let server = Server::start().await;
    for (name, value) in [
        ("transfer-encoding", "chunked"),
        ("connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("X-Upper", "case"),
        ("x-split", "a\r\nb: c"),
        ("x-nul", "a\0b"),
        (":path", "/again"),
    ] {
        let mut frames = Frames::connect(&server.process).await;
        let head = [get("/oauth2/jwks"), literals(&[(name, value)])].concat();
        frames.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 1, &head).await;
        assert_eq!(frames.refusal_of(1).await, PROTOCOL_ERROR, "{name}: {value:?}");
    }
}

/// Where two readers of the same bytes disagree on where a request ends, the second request is a stranger's
/// (RFC 9112 section 11.2); hyper read `+5` as a length (CVE-2021-32715) and let chunk sizes overflow (CVE-2021-32714).
#[tokio::test]
async fn no_spelling_of_a_length_hides_a_second_request() {
    let server = Server::start().await;
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
            connection::exchange(&server.process, format!("{head}\r\n\r\n{chunked}").as_bytes()).await;
        assert!(!response.contains("\"keys\""), "{lengths:?}: {response}");
        assert!(response.matches("HTTP/1.1 ").count() <= 1, "{lengths:?}: {response}");
    }
    for chunk in ["10000000000000005\r\nhello\r\n0\r\n\r\n", "-5\r\nhello", "0x5\r\nhello", "5 5\r\nhello"] {
        let head = "POST /oauth2/token HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked";
        let request = format!("{head}\r\n{FORM}\r\n\r\n{chunk}{hidden}");
        let response = connection::exchange(&server.process, request.as_bytes()).await;
        assert!(
            response.starts_with("HTTP/1.1 400 ") && !response.contains("\"keys\""),
            "{chunk:?}: {response}"
        );
    }
}

/// What comes after a body was not seen by who decided on its headers (RFC 9110 section 6.5.1).
#[tokio::test]
async fn trailers_are_no_headers() {
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

/// Slowness that holds a connection for nothing: CVE-2007-6750 (headers), and the same with handshakes and bodies.
/// Nothing here waits but for the server to close, which it must do by itself.
#[tokio::test]
async fn whoever_sends_slowly_is_cut_off() {
    let server = Server::start().await;
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
    // A byte now and then does not help: the whole of the headers has its time, and so has the body.
    let dripping = async |begin: String| {
        let mut stream = connection::connect(process).await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        loop {
            let read = tokio::time::timeout(Duration::from_millis(500), stream.read_buf(&mut response)).await;
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
    let (.., headers, form, rpc) =
        tokio::time::timeout(Duration::from_secs(45), all).await.expect("every slow connection is closed");
    assert!(headers.is_empty() || headers.starts_with("HTTP/1.1 408 "), "{headers}");
    assert!(form.starts_with("HTTP/1.1 400 ") && form.contains("ten seconds"), "{form}");
    assert!(rpc.starts_with("HTTP/1.1 504 ") && rpc.contains("deadline_exceeded"), "{rpc}");
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
}

/// As above, in HTTP/2: whatever is begun there and is no body has the same ten seconds. Left to itself a header block
/// waits for its end until a ping is not answered, 80 seconds, and a preface for ever.
#[tokio::test]
async fn what_is_begun_in_http2_and_never_ended_is_cut_off() {
    let server = Server::start().await;
    let process = &server.process;
    let begun = async |bytes: Vec<u8>| {
        let mut frames = Frames::connect(process).await;
        frames.write(&bytes).await;
        frames.farewell().await;
    };
    // Bytes now and then do not help.
    let dripping = async |bytes: Vec<u8>, drip: Vec<u8>| {
        let mut frames = Frames::connect(process).await;
        frames.write(&bytes).await;
        let mut read = Vec::new();
        loop {
            let more = tokio::time::timeout(Duration::from_millis(500), frames.stream.read_buf(&mut read));
            match more.await {
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(_)) => {}
                Err(_) => {
                    frames.write(&drip).await;
                }
            }
        }
    };
    let without_preface = async |bytes: &'static [u8]| {
        let stream =
            connection::connect_with(process, &process.ca_file(), rustls::ALL_VERSIONS, &["h2"]).await;
        let mut frames = Frames { stream: stream.unwrap() };
        frames.write(bytes).await;
        frames.farewell().await;
    };
    let mut idle = Frames::connect(process).await;
    let open = framed(frame::HEADERS, frame::END_STREAM, 1, &get("/me"));
    let part = framed(frame::HEADERS, frame::END_STREAM | frame::END_HEADERS, 1, &[0; 200])[..20].to_vec();
    let all = Box::pin(async {
        tokio::join!(
            begun(open.clone()),
            begun(part.clone()),
            begun(framed(frame::PING, 0, 0, &[0; 8])[..5].to_vec()),
            dripping(open, framed(frame::CONTINUATION, 0, 1, &literals(&[("x", "y")]))),
            dripping(part, vec![0]),
            without_preface(b""),
            without_preface(b"PRI * HTTP/2.0\r\n"),
        )
    });
    tokio::time::timeout(Duration::from_secs(45), all).await.expect("every one of them is closed");
    // Whoever has begun nothing stays.
    idle.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 1, &get("/oauth2/jwks")).await;
    while let Some((kind, _, _, _)) = idle.next().await {
        if kind == frame::HEADERS {
            return;
        }
    }
    panic!("a connection on which nothing was begun was closed");
}

/// Ten thousand connections that do nothing are what the server may hold at most (`MAX_CONNECTIONS`); each of them must
/// be small.
#[tokio::test]
async fn idle_connections_take_little_memory() {
    const CONNECTIONS: u64 = 200;
    let server = Server::start().await;
    let before = resident(&server.process);
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut frames = Frames::connect(&server.process).await;
        // Its settings show that the server has begun to serve the connection.
        assert_eq!(frames.next().await.unwrap().0, frame::SETTINGS);
        held.push(frames);
    }
    let each = resident(&server.process).saturating_sub(before) / CONNECTIONS;
    assert!(each < 100 << 10, "{each} bytes a connection");
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
}

/// More requests at once than the server has announced to take are refused, not kept waiting in memory.
#[tokio::test]
async fn more_streams_than_announced_are_refused() {
    const REFUSED_STREAM: u32 = 7;
    let server = Server::start().await;
    let mut frames = Frames::connect(&server.process).await;
    let head = post("/oauth2/token", &[]);
    for number in 0..=256 {
        frames.send(frame::HEADERS, frame::END_HEADERS, 2 * number + 1, &head).await;
    }
    assert_eq!(frames.refusal_of(2 * 256 + 1).await, REFUSED_STREAM);
}

/// A link that the server makes for somebody must not lead where a stranger's `Host` says:
/// <https://portswigger.net/web-security/host-header>.
#[tokio::test]
async fn a_forged_host_changes_no_link_and_no_issuer() {
    let server = Server::start().await;
    for (host, forwarded) in [("evil.example", "evil.example"), ("evil.example:443@h", "h, evil.example")] {
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
