//! Long bodies and open streams through the gate, beside nginx and beside the gate without them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use axum::body::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    load::{self, Requests, Transport},
    options::Options,
    process::Server,
    report::{Bar, Line},
    unit::Unit,
    upstream::{DO, STREAM, SWALLOW, WATCH},
};

/// The rate of a long body, relative to nginx's.
const RATE_BAR: Bar = Bar::AtLeast(0.9);
/// What a long body may add to the resident memory, in MiB.
const GROWTH_BAR: Bar = Bar::AtMost(4.0);
/// The 99th percentile of other calls' latency, relative to the same without streams.
const P99_BAR: Bar = Bar::AtMost(1.2);

/// The length of a long body: 1 GiB.
const LENGTH: u64 = 1 << 30;
/// Read and written at once.
const PIECE: usize = 1 << 18;
const WATCHES: usize = 1000;
const STALLED: usize = 100;
/// Streams of one connection; below what the gate allows.
const STREAMS: usize = 50;

/// How a body goes.
#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

/// One body of 1 GiB each way, through the gate and through nginx, if it is installed.
pub(crate) async fn long_bodies(
    options: &Options,
    procedure: &str,
    bearer: &str,
    gate: &Server,
    nginx: Option<&Server>,
) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::new();
    for (way, what) in [
        (Way::Down, "One response of 1 GiB through the gate"),
        (Way::Up, "One request of 1 GiB through the gate"),
    ] {
        let (mut ours, mut theirs, mut growth) = (Vec::new(), Vec::new(), Vec::new());
        for round in options.rounds() {
            let before = gate.resident()?;
            let rate = body(&gate.address, procedure, bearer, way).await?;
            let grown = gate.resident()?.saturating_sub(before);
            let beside = match nginx {
                Some(nginx) => Some(body(&nginx.address, procedure, bearer, way).await?),
                None => None,
            };
            if round > 0 {
                ours.push(rate);
                theirs.extend(beside);
                growth.push(mebibytes(grown));
            }
        }
        if theirs.is_empty() {
            lines.push(Line::alone(what, &ours, Unit::MebibytesPerSecond, Bar::None));
        } else {
            let unit = Unit::MebibytesPerSecond;
            let beside = (&theirs[..], unit);
            lines.push(Line::beside(what, (&ours, unit), "nginx, no check", beside, RATE_BAR));
        }
        let what = format!("{what}: memory added");
        lines.push(Line::alone(what, &growth, Unit::Mebibytes, GROWTH_BAR));
    }
    Ok(lines)
}

/// Sends or receives a body over HTTP/1.1, and returns its rate in MiB a second.
async fn body(address: &str, procedure: &str, bearer: &str, way: Way) -> anyhow::Result<f64> {
    let (asked, length) = match way {
        Way::Up => (SWALLOW.to_owned(), LENGTH),
        Way::Down => (format!("{STREAM} {LENGTH}"), 0),
    };
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let head = format!(
        "POST {procedure} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {bearer}\r\n{DO}: {asked}\r\n\
         content-type: application/octet-stream\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    let started = Instant::now();
    stream.write_all(head.as_bytes()).await?;
    let mut piece = vec![0; PIECE];
    let mut left = length;
    while left > 0 {
        let now = piece.len().min(usize::try_from(left)?);
        stream.write_all(&piece[..now]).await?;
        left -= u64::try_from(now)?;
    }
    let (mut received, mut first) = (0, Vec::new());
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        if first.is_empty() {
            first.extend_from_slice(&piece[..read.min(64)]);
        }
        received += u64::try_from(read)?;
    }
    let elapsed = started.elapsed();
    let status = String::from_utf8_lossy(&first).into_owned();
    ensure!(first.starts_with(b"HTTP/1.1 200"), "not 200: {status}");
    ensure!(matches!(way, Way::Up) || received >= LENGTH, "the body ended after {received} bytes");
    Ok(mebibytes(LENGTH / 1024) / elapsed.as_secs_f64())
}

/// Other calls while watches are open and readers do not read, and the same without both.
pub(crate) async fn open_streams(
    options: &Options,
    procedure: &str,
    bearer: &str,
    gate: &Server,
    calls: &Requests,
) -> anyhow::Result<Line> {
    let (mut busy, mut quiet) = (Vec::new(), Vec::new());
    let connections = options.connections.get();
    let measured = async || {
        let transport = Transport::Kept;
        load::run(&gate.address, transport, calls, connections, options.duration()).await
    };
    for round in options.rounds() {
        let without = measured().await?;
        let watches = Streams::open(&gate.address, procedure, bearer, WATCH, WATCHES).await?;
        let endless = format!("{STREAM} {LENGTH}");
        let stalled = Streams::open(&gate.address, procedure, bearer, &endless, STALLED).await?;
        let with = measured().await?;
        drop((watches, stalled));
        if round > 0 {
            quiet.push(without.percentile(0.99));
            busy.push(with.percentile(0.99));
        }
    }
    let what = format!("p99 of calls beside {WATCHES} watches and {STALLED} stalled readers");
    let (ours, theirs) = ((&busy[..], Unit::Milliseconds), (&quiet[..], Unit::Milliseconds));
    Ok(Line::beside(what, ours, "without them", theirs, P99_BAR))
}

/// Responses that have begun, and that nobody reads, until they are dropped.
struct Streams {
    _responses: Vec<hyper::Response<Incoming>>,
    _connections: Vec<SendRequest<Empty<Bytes>>>,
}

impl Streams {
    async fn open(
        address: &str,
        procedure: &str,
        bearer: &str,
        what: &str,
        count: usize,
    ) -> anyhow::Result<Self> {
        let (mut responses, mut connections) = (Vec::new(), Vec::<SendRequest<_>>::new());
        let to: SocketAddr = address.parse()?;
        while responses.len() < count {
            if responses.len() % STREAMS == 0 {
                let stream = TcpStream::connect(to).await?;
                let (sender, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
                tokio::spawn(connection);
                connections.push(sender);
            }
            let sender = connections.last_mut().context("there is a connection")?;
            let request = Request::post(format!("http://{address}{procedure}"))
                .header("authorization", bearer)
                .header("content-type", "application/octet-stream")
                .header(DO, what)
                .body(Empty::new())?;
            let mut response = sender.send_request(request).await?;
            ensure!(response.status() == 200, "a stream was answered with {}", response.status());
            if what == WATCH {
                let first = tokio::time::timeout(Duration::from_secs(10), response.frame()).await;
                ensure!(matches!(first, Ok(Some(Ok(_)))), "a watch has a first message");
            }
            responses.push(response);
        }
        Ok(Self { _responses: responses, _connections: connections })
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn mebibytes(kibibytes: u64) -> f64 {
    kibibytes as f64 / 1024.0
}
