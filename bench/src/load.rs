//! A closed loop of HTTP/1.1 connections, each of which sends its next request when it has its answer.
//!
//! It never sleeps. In a virtual machine it takes microseconds to wake a processor, and the kernel charges them to who
//! wakes it: to the server that answers, and only to one that is slow enough to let the load fall asleep.

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

/// What a run gave.
pub(crate) struct Measured {
    /// Microseconds of each request, sorted.
    latencies: Vec<u32>,
    /// How long it ran.
    pub(crate) elapsed: Duration,
}

impl Measured {
    /// How many requests were answered.
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// Requests a second.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// Milliseconds that this share of the requests took at most.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the list"
    )]
    pub(crate) fn percentile(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies.get(at).or(self.latencies.last()).map_or(0.0, |micros| f64::from(*micros) / 1000.0)
    }
}

/// How requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Over connections in the clear that are kept.
    Kept,
    /// Each over a new connection with a full TLS 1.3 handshake.
    FullHandshake,
    /// Each over a new connection that resumes the session of the one before.
    Resumed,
}

/// Requests to be sent, in turn.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    /// The requests.
    pub(crate) all: Rc<Vec<Vec<u8>>>,
    /// Begins again after the last one.
    pub(crate) again: bool,
}

impl Requests {
    /// Round and round.
    pub(crate) fn again(all: Vec<Vec<u8>>) -> Self {
        Self { all: Rc::new(all), again: true }
    }

    /// Each of them once.
    pub(crate) fn once(all: Vec<Vec<u8>>) -> Self {
        Self { all: Rc::new(all), again: false }
    }

    fn at(&self, number: usize) -> Option<&[u8]> {
        let number = if self.again { number % self.all.len() } else { number };
        self.all.get(number).map(Vec::as_slice)
    }
}

/// Sends requests until the time is up or there are no more. Every answer must be 200.
///
/// # Errors
/// When a connection fails, an answer is another, or a handshake is not of the kind asked for.
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

/// Has the runtime ask the kernel for what is ready, again and again, rather than wait for it.
async fn stay_awake() {
    loop {
        tokio::task::yield_now().await;
    }
}

/// Sends each request once over kept connections and reads something from each answer, in no order.
///
/// # Errors
/// When a connection fails or an answer is not what is read.
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
    New { address: String, connector: TlsConnector, expected: HandshakeKind },
}

impl Client {
    /// Ready to send; the one that resumes has had the session's first connection.
    async fn open(address: &str, transport: Transport, first: &[u8]) -> anyhow::Result<Self> {
        let address = address.to_owned();
        match transport {
            Transport::Kept => Ok(Self::Kept(Connection::open(&address).await?)),
            Transport::FullHandshake => {
                let connector = connector(Resumption::disabled())?;
                Ok(Self::New { address, connector, expected: HandshakeKind::Full })
            }
            Transport::Resumed => {
                let connector = connector(Resumption::in_memory_sessions(16))?;
                call_anew(&address, &connector, HandshakeKind::Full, first).await?;
                Ok(Self::New { address, connector, expected: HandshakeKind::Resumed })
            }
        }
    }

    async fn call(&mut self, request: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::Kept(connection) => connection.call(request).await.map(|_| ()),
            Self::New { address, connector, expected } => {
                call_anew(address, connector, *expected, request).await
            }
        }
    }
}

/// Connects, shakes hands, sends, reads the answer, and closes, as a client does that fetches one token.
async fn call_anew(
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

/// TLS 1.3 with X25519, as most clients speak it today.
fn connector(resumption: Resumption) -> anyhow::Result<TlsConnector> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believer))
        .with_no_client_auth();
    config.resumption = resumption;
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Believes every certificate: verifying would make the load cost more than what is measured.
#[derive(Debug)]
struct Believer;

impl ServerCertVerifier for Believer {
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

/// One connection.
pub(crate) struct Connection<S> {
    stream: S,
    buffer: Vec<u8>,
}

impl Connection<TcpStream> {
    /// Connects, in the clear.
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

    /// Sends a whole request and reads the whole answer; gives its body.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        loop {
            ensure!(self.stream.read_buf(&mut self.buffer).await? > 0, "the server closed the connection");
            let Some(head) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let text = std::str::from_utf8(&self.buffer[..head])?;
            let body = head + 4;
            let end = match content_length(text)? {
                Some(length) => body + length,
                // The chunks of an answer to an RPC; the last one is empty.
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

/// Joins the chunks that begin at `body`, in place; gives the end of what they hold.
fn dechunk(buffer: &mut Vec<u8>, body: usize) -> anyhow::Result<usize> {
    let mut rest = buffer.split_off(body);
    loop {
        let line = rest.windows(2).position(|bytes| bytes == b"\r\n").context("a chunk has a length")?;
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..line])?, 16)?;
        if length == 0 {
            return Ok(buffer.len());
        }
        ensure!(rest.len() >= line + 4 + length, "a chunk is whole");
        buffer.extend_from_slice(&rest[line + 2..line + 2 + length]);
        rest.drain(..line + 4 + length);
    }
}

/// `None` for an answer in chunks.
fn content_length(head: &str) -> anyhow::Result<Option<usize>> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok(found.map(|(_, length)| length.trim().parse()).transpose()?)
}
