//! HTTP/2: floods, malformed frames and limits.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::support::{Server, ServerProcess, connection};

/// An HTTP/2 connection, frame by frame (RFC 9113 section 6).
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

    pub(super) const ACK: u8 = 1;
    pub(super) const END_STREAM: u8 = 1;
    pub(super) const END_HEADERS: u8 = 4;
}

/// Error codes (RFC 9113 section 7).
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// Encodes a frame.
fn encode(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes headers as literals without indexing (RFC 7541 section 6.2.2).
fn literals(headers: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    headers.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The status at the beginning of a header block: an entry of the static table, or a literal with
/// the name of one (RFC 7541 appendix A).
fn indexed(block: &[u8]) -> Option<u16> {
    match block {
        [first @ 0x88..=0x8e, ..] => {
            Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)])
        }
        [0x08 | 0x48, length, rest @ ..] => {
            let digits = rest.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 {
                return str::from_utf8(digits).ok()?.parse().ok();
            }
            // Digits in Huffman's code: 0, 1 and 2 have five bits, 3 to 9 have six.
            let bits: Vec<bool> = digits
                .iter()
                .flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1 == 1))
                .collect();
            let mut number = 0;
            let mut at = 0;
            for _ in 0..3 {
                let take = |count: usize| {
                    bits.get(at..at + count)
                        .map(|bits| bits.iter().fold(0, |sum, bit| sum * 2 + u16::from(*bit)))
                };
                let short = take(5)?;
                let (digit, length) =
                    if short <= 2 { (short, 5) } else { (take(6)? - 0x19 + 3, 6) };
                number = number * 10 + digit;
                at += length;
            }
            Some(number)
        }
        _ => None,
    }
}

fn get(path: &str) -> Vec<u8> {
    literals(&[(":method", "GET"), (":scheme", "https"), (":authority", "h"), (":path", path)])
}

fn post(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let head =
        [(":method", "POST"), (":scheme", "https"), (":authority", "h"), (":path", path), form];
    literals(&[&head, more].concat())
}

impl Frames {
    async fn connect(server: &ServerProcess) -> Self {
        let stream =
            connection::connect_with(server, &server.ca_file(), rustls::ALL_VERSIONS, &["h2"])
                .await;
        let mut frames = Self { stream: stream.unwrap() };
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        frames.send(frame::SETTINGS, 0, 0, b"").await;
        frames
    }

    /// Returns false if the server has closed the connection; reading from it shows why.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&encode(kind, flags, stream, payload)).await
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

    /// The status of the response on a stream, and whether the stream was reset, up to the answer
    /// to a ping.
    async fn response(&mut self, of: u32) -> (Option<u16>, bool) {
        let (mut status, mut reset) = (None, false);
        while let Some((kind, flags, stream, payload)) = self.next().await {
            match kind {
                frame::HEADERS if stream == of && status.is_none() => status = indexed(&payload),
                frame::RST_STREAM if stream == of => reset = true,
                frame::PING if flags == frame::ACK => break,
                _ => {}
            }
        }
        (status, reset)
    }

    async fn ping(&mut self) {
        self.send(frame::PING, 0, 0, &[0; 8]).await;
    }

    /// The error code of the GOAWAY with which the server ends the connection.
    async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some((kind, _, _, payload)) = self.next().await {
            if kind == frame::GOAWAY {
                code = Some(u32::from_be_bytes(*payload[4..].first_chunk().unwrap()));
            }
        }
        code
    }

    /// The error code with which the server refuses a stream, or the connection because of it.
    async fn refusal(&mut self, refused: u32) -> u32 {
        while let Some((kind, _, stream, payload)) = self.next().await {
            match kind {
                frame::RST_STREAM if stream == refused => {
                    return u32::from_be_bytes(*payload.first_chunk().unwrap());
                }
                frame::GOAWAY => return u32::from_be_bytes(*payload[4..].first_chunk().unwrap()),
                _ => {}
            }
        }
        panic!("the connection was closed without an error code")
    }
}

/// curl 7.88 reports a stream that is reset instead of the response on it.
#[tokio::test]
async fn a_refusal_waits_for_a_short_body() {
    let server = Server::start().await;
    let create = "/gatekey.v1.ApiKeyService/Create";
    let expired = ("authorization", "Bearer expired");
    let form = ("content-length", "2");
    for (path, more, expected) in [
        ("/oauth2/token", &[form, ("content-encoding", "gzip")][..], 415),
        ("/oauth2/jwks", &[form], 405),
        ("/me", &[form, expired], 405),
        ("/oauth2/userinfo", &[form, expired], 401),
        ("/nothing", &[form], 404),
        (create, &[form, expired], 401),
        ("/gatekey.v1.ApiKeyService/Nothing", &[form], 501),
        ("/oauth_app/api/v1", &[form], 415),
        ("/oauth_app/api/v1/x", &[form], 405),
    ] {
        let mut frames = Frames::connect(&server.process).await;
        frames.send(frame::HEADERS, frame::END_HEADERS, 1, &post(path, more)).await;
        frames.ping().await;
        let early = frames.response(1).await;
        frames.send(frame::DATA, frame::END_STREAM, 1, b"{}").await;
        let (mut status, mut reset) = early;
        while status.is_none() {
            frames.ping().await;
            let (later, was_reset) = frames.response(1).await;
            (status, reset) = (later, reset || was_reset);
        }
        assert_eq!((status, reset), (Some(expected), false), "{path}");
    }
}

/// RFC 9113 section 10.5: a window of zero keeps responses in the server's memory.
#[tokio::test]
async fn a_window_of_zero_ends_the_connection() {
    let server = Server::start().await;
    let mut frames = Frames::connect(&server.process).await;
    // SETTINGS_INITIAL_WINDOW_SIZE = 0.
    frames.send(frame::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]).await;
    let flags = frame::END_HEADERS | frame::END_STREAM;
    for stream in [1, 3, 5] {
        frames.send(frame::HEADERS, flags, stream, &get("/openapi.json")).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(50), async {
        while let Some((kind, _, _, payload)) = frames.next().await {
            assert!(kind != frame::DATA || payload.is_empty());
            // Pings do not extend it.
            if kind == frame::HEADERS {
                frames.ping().await;
            }
        }
    });
    ended.await.expect("the server ends the connection");
    server.assert_serving().await;
}

/// RFC 9110 section 9.3.2. hyper sends over HTTP/2 what it is given.
#[tokio::test]
async fn a_head_response_has_no_body() {
    let server = Server::start().await;
    for path in [
        "/oauth2/jwks",
        "/oauth2/token",
        "/nothing",
        "/me",
        "/gatekey/v1/keys",
        "/gatekey/v1/keys/admin/rotate",
        "/gatekey.v1.ApiKeyService/List",
        "/gatekey.v1.ApiKeyService/Nothing",
    ] {
        let mut frames = Frames::connect(&server.process).await;
        let head = literals(&[
            (":method", "HEAD"),
            (":scheme", "https"),
            (":authority", "h"),
            (":path", path),
        ]);
        frames.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 1, &head).await;
        let mut bytes = 0;
        while let Some((kind, flags, stream, payload)) = frames.next().await {
            if stream == 1 {
                bytes += if kind == frame::DATA { payload.len() } else { 0 };
                if flags & frame::END_STREAM != 0 {
                    break;
                }
            }
        }
        assert_eq!(bytes, 0, "{path}");
    }
}

#[tokio::test]
async fn http2_names_one_host() {
    let server = Server::start().await;
    let head = |more: &[(&str, &str)]| {
        literals(
            &[&[(":method", "GET"), (":scheme", "https"), (":path", "/oauth2/jwks")], more]
                .concat(),
        )
    };
    for (hosts, status) in [
        (&[(":authority", "h")][..], 200),
        (&[("host", "h")], 200),
        (&[(":authority", "h"), ("host", "h")], 200),
        (&[], 400),
        (&[(":authority", "h"), ("host", "other")], 400),
        (&[("host", "h"), ("host", "h")], 400),
        (&[("host", "a b")], 400),
        (&[(":authority", "user@h")], 400),
    ] {
        let mut frames = Frames::connect(&server.process).await;
        let flags = frame::END_HEADERS | frame::END_STREAM;
        frames.send(frame::HEADERS, flags, 1, &head(hosts)).await;
        let mut found = None;
        while let (None, Some((kind, _, stream, payload))) = (found, frames.next().await) {
            match kind {
                frame::HEADERS => found = indexed(&payload),
                // h2 itself refuses what is not a URL.
                frame::RST_STREAM if stream == 1 => found = Some(400),
                _ => {}
            }
        }
        assert_eq!(found, Some(status), "{hosts:?}");
    }
}

/// Streams that are opened and cancelled at once are free for the client, but cost the server one
/// request each: CVE-2023-44487, and CVE-2023-26964 in the library used here.
#[tokio::test]
async fn a_rapid_reset_ends_the_connection() {
    let server = Server::start().await;
    let mut frames = Frames::connect(&server.process).await;
    let headers = get("/me");
    let mut sent = 0;
    for stream in (1..20_000).step_by(2) {
        let open = encode(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, stream, &headers);
        let cancel = encode(frame::RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        if !frames.write(&[open, cancel].concat()).await {
            break;
        }
        sent += 1;
    }
    let code = frames.goaway().await;
    assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{code:?}");
    assert!(code.is_some() || sent < 9_000, "{sent} streams were accepted");
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
}

/// Endless headers cost memory or time, but never become a request in the log: CVE-2024-27316, and
/// RUSTSEC-2024-0332 in the library used here.
#[tokio::test]
async fn a_continuation_flood_ends_the_connection() {
    let server = Server::start().await;
    let before = server.process.resident_bytes();
    let mut frames = Frames::connect(&server.process).await;
    let mut open = frames.send(frame::HEADERS, frame::END_STREAM, 1, &get("/me")).await;
    let part = literals(&[("x-part", &"x".repeat(120))]).repeat(100);
    let mut sent = 0;
    while open && sent < 10_000 {
        open = frames.send(frame::CONTINUATION, 0, 1, &part).await;
        sent += 1;
    }
    assert!(sent < 10_000, "100 MB of headers were accepted");
    let grown = server.process.resident_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes more");
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
}

/// CVE-2019-9512 (pings), CVE-2019-9515 (settings), CVE-2019-9518 (empty frames): each frame causes
/// a response or some work, and the client reads nothing.
#[tokio::test]
async fn a_flood_of_frames_takes_no_memory() {
    let server = Server::start().await;
    let before = server.process.resident_bytes();
    for (kind, flags, stream, payload) in [
        (frame::PING, 0, 0, &[0; 8][..]),
        (frame::SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]),
        (frame::DATA, 0, 1, &[]),
    ] {
        let mut frames = Frames::connect(&server.process).await;
        let open = post("/oauth2/token", &[]);
        frames.send(frame::HEADERS, frame::END_HEADERS, 1, &open).await;
        let many = encode(kind, flags, stream, payload).repeat(500);
        for _ in 0..200 {
            // The server stops reading once its unread responses fill the connection.
            let written =
                tokio::time::timeout(Duration::from_millis(100), frames.write(&many)).await;
            if written != Ok(true) {
                break;
            }
        }
        let grown = server.process.resident_bytes().saturating_sub(before);
        assert!(grown < 8 << 20, "frames of type {kind}: {grown} bytes more");
        assert_eq!(
            server.http.token(&server.admin, &[]).await.status,
            200,
            "frames of type {kind}"
        );
    }
}

/// A wrong length hides a request behind another when a proxy converts HTTP/2 to HTTP/1.1:
/// <https://portswigger.net/research/http2>.
#[tokio::test]
async fn http2_refuses_a_wrong_content_length() {
    let server = Server::start().await;
    for length in ["5", "500"] {
        let mut frames = Frames::connect(&server.process).await;
        let head = post("/oauth2/token", &[("content-length", length)]);
        frames.send(frame::HEADERS, frame::END_HEADERS, 1, &head).await;
        frames.send(frame::DATA, frame::END_STREAM, 1, b"grant_type=client_credentials").await;
        assert_eq!(frames.refusal(1).await, PROTOCOL_ERROR, "{length}");
    }
}

/// As above: headers that have a meaning only in HTTP/1.1 are malformed (RFC 9113 section 8.2.2).
#[tokio::test]
async fn http2_refuses_headers_of_http1() {
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
        assert_eq!(frames.refusal(1).await, PROTOCOL_ERROR, "{name}: {value:?}");
    }
}

/// As above, in HTTP/2: everything except a body has the same ten seconds. Otherwise, a header
/// block would wait 80 seconds, until a ping goes unanswered, and a preface forever.
#[tokio::test]
async fn an_unfinished_http2_frame_times_out() {
    let server = Server::start().await;
    let process = &server.process;
    let begun = async |bytes: Vec<u8>| {
        let mut frames = Frames::connect(process).await;
        frames.write(&bytes).await;
        frames.goaway().await;
    };
    // An occasional byte extends nothing.
    let dripping = async |bytes: Vec<u8>, drip: Vec<u8>| {
        let mut frames = Frames::connect(process).await;
        frames.write(&bytes).await;
        let mut read = Vec::new();
        loop {
            let more =
                tokio::time::timeout(Duration::from_millis(500), frames.stream.read_buf(&mut read));
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
            connection::connect_with(process, &process.ca_file(), rustls::ALL_VERSIONS, &["h2"])
                .await;
        let mut frames = Frames { stream: stream.unwrap() };
        frames.write(bytes).await;
        frames.goaway().await;
    };
    let mut idle = Frames::connect(process).await;
    let open = encode(frame::HEADERS, frame::END_STREAM, 1, &get("/me"));
    let part =
        encode(frame::HEADERS, frame::END_STREAM | frame::END_HEADERS, 1, &[0; 200])[..20].to_vec();
    let all = Box::pin(async {
        tokio::join!(
            begun(open.clone()),
            begun(part.clone()),
            begun(encode(frame::PING, 0, 0, &[0; 8])[..5].to_vec()),
            dripping(open, encode(frame::CONTINUATION, 0, 1, &literals(&[("x", "y")]))),
            dripping(part, vec![0]),
            without_preface(b""),
            without_preface(b"PRI * HTTP/2.0\r\n"),
        )
    });
    tokio::time::timeout(Duration::from_secs(45), all)
        .await
        .expect("the server closes every connection");
    // An idle connection stays open.
    idle.send(frame::HEADERS, frame::END_HEADERS | frame::END_STREAM, 1, &get("/oauth2/jwks"))
        .await;
    while let Some((kind, _, _, _)) = idle.next().await {
        if kind == frame::HEADERS {
            return;
        }
    }
    panic!("an idle connection was closed");
}

/// The server holds at most ten thousand connections (`MAX_CONNECTIONS`), so each of them must be
/// small.
#[tokio::test]
async fn an_idle_http2_connection_is_small() {
    const CONNECTIONS: u64 = 200;
    let server = Server::start().await;
    let before = server.process.resident_bytes();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut frames = Frames::connect(&server.process).await;
        // The server's settings: it serves the connection.
        assert_eq!(frames.next().await.unwrap().0, frame::SETTINGS);
        held.push(frames);
    }
    let each = server.process.resident_bytes().saturating_sub(before) / CONNECTIONS;
    assert!(each < 100 << 10, "{each} bytes a connection");
    assert_eq!(server.http.token(&server.admin, &[]).await.status, 200);
}

/// Concurrent requests beyond the announced limit are refused, not buffered.
#[tokio::test]
async fn streams_beyond_the_limit_are_refused() {
    const REFUSED_STREAM: u32 = 7;
    let server = Server::start().await;
    let mut frames = Frames::connect(&server.process).await;
    let head = post("/oauth2/token", &[]);
    for number in 0..=256 {
        frames.send(frame::HEADERS, frame::END_HEADERS, 2 * number + 1, &head).await;
    }
    assert_eq!(frames.refusal(2 * 256 + 1).await, REFUSED_STREAM);
}
