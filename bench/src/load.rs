//! A closed loop of HTTP/1.1 connections. Each sends its next request after the answer to the last.
//!
//! The load never sleeps. Waking a CPU takes microseconds in a virtual machine, and the kernel
//! charges them to the process that causes the wake-up: the server, and only one that is slow
//! enough to let the load fall asleep.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs::{self, kx_group},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::LocalSet,
};
use tokio_rustls::TlsConnector;

use crate::grpc_connection::GrpcConnection;

/// The results of a run.
pub(crate) struct Measured {
    /// Latency of each request in microseconds, sorted.
    latencies: Vec<u32>,
    pub(crate) elapsed: Duration,
}

impl Measured {
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The latency in milliseconds that this share of the requests stayed within.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the list"
    )]
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies
            .get(at)
            .or(self.latencies.last())
            .map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Over keep-alive connections without TLS.
    Kept,
    /// Each over a new connection with a full TLS 1.3 handshake.
    FullHandshake,
    /// Each over a new connection that resumes the session of the one before.
    Resumed,
    /// gRPC over keep-alive connections with HTTP/2 and without TLS.
    Grpc,
}

/// Requests to send in order.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    pub(crate) all: Rc<Vec<Vec<u8>>>,
    /// Whether to start over after the last one.
    pub(crate) again: bool,
}

impl Requests {
    pub(crate) fn again(all: Vec<Vec<u8>>) -> Self {
        Self { all: Rc::new(all), again: true }
    }

    /// Each request once.
    pub(crate) fn once(all: Vec<Vec<u8>>) -> Self {
        Self { all: Rc::new(all), again: false }
    }

    fn at(&self, number: usize) -> Option<&[u8]> {
        let number = if self.again { number % self.all.len() } else { number };
        self.all.get(number).map(Vec::as_slice)
    }
}

/// Sends requests until the time is up or none is left.
///
/// # Errors
/// When a connection fails, an answer is not 200, or a handshake is not of the expected kind.
pub(crate) async fn run(
    address: &str,
    transport: Transport,
    requests: &Requests,
    connections: usize,
    duration: Duration,
) -> anyhow::Result<Measured> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let first = requests.at(0).context("there is a request")?;
        clients.push(Client::open(address, transport, first).await?);
    }
    let tasks = LocalSet::new();
    let next = Rc::new(RefCell::new(0..));
    let started = Instant::now();
    let mut running = Vec::new();
    for mut client in clients {
        let (requests, next) = (requests.clone(), next.clone());
        running.push(tasks.spawn_local(async move {
            let mut latencies = Vec::with_capacity(1 << 16);
            while started.elapsed() < duration {
                let number = next.borrow_mut().next().unwrap_or_default();
                let Some(request) = requests.at(number) else { break };
                let sent = Instant::now();
                client.call(request).await?;
                latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
            }
            anyhow::Ok(latencies)
        }));
    }
    let awake = tokio::spawn(stay_awake());
    tasks.await;
    let elapsed = started.elapsed();
    awake.abort();
    let mut latencies = Vec::new();
    for task in running {
        latencies.extend(task.await??);
    }
    latencies.sort_unstable();
    Ok(Measured { latencies, elapsed })
}

/// Keeps the runtime polling the kernel for events instead of waiting for them.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

/// Sends each request once over keep-alive connections and parses each answer, in any order.
///
/// # Errors
/// When a connection fails or an answer does not parse.
pub(crate) async fn collect<T: 'static>(
    address: &str,
    connections: usize,
    requests: impl Iterator<Item = Vec<u8>> + 'static,
    read: impl Fn(&[u8]) -> anyhow::Result<T> + 'static,
) -> anyhow::Result<Vec<T>> {
    let tasks = LocalSet::new();
    let (requests, read) = (Rc::new(RefCell::new(requests)), Rc::new(read));
    let mut running = Vec::new();
    for _ in 0..connections {
        let (address, requests, read) = (address.to_owned(), requests.clone(), read.clone());
        running.push(tasks.spawn_local(async move {
            let mut connection = Connection::open(&address).await?;
            let mut found = Vec::new();
            loop {
                let Some(request) = requests.borrow_mut().next() else { return anyhow::Ok(found) };
                found.push(read(connection.call(&request).await?)?);
            }
        }));
    }
    tasks.await;
    let mut found = Vec::new();
    for task in running {
        found.extend(task.await??);
    }
    Ok(found)
}

enum Client {
    Kept(Connection<TcpStream>),
    Grpc(GrpcConnection),
    New { address: String, connector: TlsConnector, expected: HandshakeKind },
}

impl Client {
    /// Connects. A client that resumes also makes the session's first connection.
    async fn open(address: &str, transport: Transport, first: &[u8]) -> anyhow::Result<Self> {
        let address = address.to_owned();
        match transport {
            Transport::Kept => Ok(Self::Kept(Connection::open(&address).await?)),
            Transport::Grpc => Ok(Self::Grpc(GrpcConnection::open(&address).await?)),
            Transport::FullHandshake => {
                let connector = connector(Resumption::disabled())?;
                Ok(Self::New { address, connector, expected: HandshakeKind::Full })
            }
            Transport::Resumed => {
                let connector = connector(Resumption::in_memory_sessions(16))?;
                call_once(&address, &connector, HandshakeKind::Full, first).await?;
                Ok(Self::New { address, connector, expected: HandshakeKind::Resumed })
            }
        }
    }

    async fn call(&mut self, request: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Kept(connection) => connection.call(request).await.map(|_| ()),
            Self::Grpc(connection) => connection.call(request).await,
            Self::New { address, connector, expected } => {
                call_once(address, connector, *expected, request).await
            }
        }
    }
}

/// Sends one request over a new connection and closes it, as a client that fetches one token does.
async fn call_once(
    address: &str,
    connector: &TlsConnector,
    expected: HandshakeKind,
    request: &[u8],
) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let stream = connector.connect(ServerName::try_from("127.0.0.1")?, stream).await?;
    let mut connection = Connection::over(stream);
    connection.call(request).await?;
    let kind = connection.stream.get_ref().1.handshake_kind();
    ensure!(kind == Some(expected), "the handshake was {kind:?}, not {expected:?}");
    connection.stream.shutdown().await?;
    Ok(())
}

/// TLS 1.3 with X25519, as most clients use it today.
fn connector(resumption: Resumption) -> anyhow::Result<TlsConnector> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate))
        .with_no_client_auth();
    config.resumption = resumption;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Accepts every certificate: verification would make the load cost more than the server.
#[derive(Debug)]
struct AcceptAnyCertificate;

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

pub(crate) struct Connection<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl Connection<TcpStream> {
    /// Connects without TLS.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    fn over(stream: S) -> Self {
        Self { stream, buffer: Vec::with_capacity(8192) }
    }

    /// Sends a request and returns the body of the answer.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        loop {
            ensure!(
                self.stream.read_buf(&mut self.buffer).await? > 0,
                "the server closed the connection"
            );
            let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
                continue;
            };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            let body = head + 4;
            let end = match content_length(text)? {
                Some(length) => body + length,
                // RPC answers are chunked; the last chunk is empty.
                None if self.buffer.ends_with(b"0\r\n\r\n") => dechunk(&mut self.buffer, body)?,
                None => continue,
            };
            if self.buffer.len() < end {
                continue;
            }
            if !self.buffer.starts_with(b"HTTP/1.1 200") {
                bail!("not 200: {}", String::from_utf8_lossy(&self.buffer));
            }
            return Ok(&self.buffer[body..end]);
        }
    }
}

/// Joins the chunks that begin at `body` in place, and returns their end.
fn dechunk(buffer: &mut Vec<u8>, body: usize) -> anyhow::Result<usize> {
    let mut rest = buffer.split_off(body);
    loop {
        let line =
            rest.windows(2).position(|bytes| bytes == b"\r\n").context("a chunk has a length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line])?, 16)?;
        if length == 0 {
            return Ok(buffer.len());
        }
        ensure!(rest.len() >= line + 4 + length, "a chunk is whole");
        buffer.extend_from_slice(&rest[line + 2..line + 2 + length]);
        rest.drain(..line + 4 + length);
    }
}

/// `None` for a chunked answer.
fn content_length(head: &str) -> anyhow::Result<Option<usize>> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok(found.map(|(_, length)| length.trim().parse()).transpose()?)
}
