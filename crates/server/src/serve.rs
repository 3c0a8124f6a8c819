//! Accepts connections, plain or TLS, HTTP/1.1 or HTTP/2, and drains them at the end.
//!
//! An accept loop of our own, because neither axum's nor connectrpc's bounds headers, streams and idle
//! connections.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::{Service, ServiceExt as _};

use crate::frame_deadline::FrameDeadline;

/// Connections at the same time, where the process may have as many descriptors; more wait in the kernel's
/// queue.
const MAX_CONNECTIONS: usize = 10_000;
/// Descriptors that connections leave to the database, to logs and to local administration.
const OTHER_DESCRIPTORS: usize = 64;
/// How long a client may take over its TLS handshake, over the headers of a request, and over whatever else it begins in
/// HTTP/2 that is not a body.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Bytes of headers, together.
const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// After so long without a sign of life an HTTP/2 client is asked for one.
const KEEP_ALIVE: Duration = Duration::from_mins(1);

/// What a server needs to accept connections.
pub struct Acceptor {
    /// Where they arrive.
    pub listener: TcpListener,
    /// How they are secured; `None` for not at all.
    pub tls: Option<TlsAcceptor>,
    /// Who alone may connect; empty for everybody.
    pub only_from: Vec<std::net::IpAddr>,
    /// How long requests under way may take once shutting down.
    pub drain: Duration,
}

/// Answers requests; each request gets a clone.
pub trait RequestService:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> RequestService for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// Serves until `shutdown` completes, then lets requests under way finish.
pub async fn serve(acceptor: Acceptor, service: impl RequestService, shutdown: impl Future<Output = ()>) {
    let Acceptor { listener, tls, only_from, drain } = acceptor;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // More than a hundred headers are refused by default. To ask for that limit makes hyper set up a table of that length
    // for each request.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HANDSHAKE_TIMEOUT).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(Duration::from_secs(20));
    // Which protocol a connection speaks is known before it is served: by ALPN, or by its first bytes. A
    // builder for both would wait for those bytes without a limit.
    let protocols = Arc::new(Protocols { http1: builder.clone().http1_only(), http2: builder.http2_only() });
    let graceful = Arc::new(GracefulShutdown::new());
    let mut room = Room::new(most_connections());
    let mut failing = false;
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, peer, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &mut room) => match accepted {
                Ok(accepted) => {
                    failing = false;
                    accepted
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "connections cannot be accepted; more are tried in silence");
                    }
                    // Out of descriptors, most likely: wait for some to be freed rather than spin.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        if !only_from.is_empty() && !only_from.contains(&peer.ip().to_canonical()) {
            tracing::warn!(%peer, "refused a connection that is not from a trusted proxy");
            continue;
        }
        // Nagle's algorithm holds small answers back; a server of small answers gains nothing from it.
        let _ = stream.set_nodelay(true);
        let service = service.clone();
        let connection =
            Connection { protocols: protocols.clone(), watcher: graceful.watcher(), service, peer };
        let tls = tls.clone();
        tokio::spawn(async move {
            let _permit = permit;
            match tls {
                None => match timeout(HANDSHAKE_TIMEOUT, begins_http2(&stream)).await {
                    Ok(Ok(http2)) => connection.serve(stream, http2).await,
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "connection lost"),
                    Err(_) => tracing::debug!(%peer, "connection said nothing"),
                },
                Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => {
                        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                        connection.serve(stream, http2).await;
                    }
                    Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
                    Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
                },
            }
        });
    }
    drop(listener);
    let Ok(graceful) = Arc::try_unwrap(graceful) else { return };
    let under_way = graceful.count();
    tracing::info!(under_way, "draining connections");
    if timeout(drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
}

/// As many as the process has descriptors for.
fn most_connections() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    soft.map_or(MAX_CONNECTIONS, |soft| soft.saturating_sub(OTHER_DESCRIPTORS).clamp(1, MAX_CONNECTIONS))
}

/// Whether a connection in the clear begins with the preface of HTTP/2 (RFC 9113 section 3.4).
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI ";
    let mut first = [0; PREFACE.len()];
    loop {
        let known = stream.peek(&mut first).await?;
        if known == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if known == PREFACE.len() || !PREFACE.starts_with(&first[..known]) {
            return Ok(first == PREFACE);
        }
        // Peeking does not wait for more than there is.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Connections that there is room for.
struct Room {
    free: Arc<Semaphore>,
    most: usize,
    /// Whether it was said that there is none.
    crowded: bool,
}

impl Room {
    fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), most, crowded: false }
    }

    /// Waits for room. That there is none is said once, until a tenth is free again.
    async fn enter(&mut self) -> io::Result<OwnedSemaphorePermit> {
        if self.crowded && self.free.available_permits() > self.most / 10 {
            self.crowded = false;
            tracing::info!("there is room for connections again");
        }
        if self.free.available_permits() == 0 && !self.crowded {
            self.crowded = true;
            tracing::warn!(
                connections = self.most,
                "no room for more connections: others wait until some end; more descriptors (ulimit -n) make more room"
            );
        }
        self.free.clone().acquire_owned().await.map_err(io::Error::other)
    }
}

async fn accept(
    listener: &TcpListener,
    room: &mut Room,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.enter().await?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

struct Protocols {
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

struct Connection<S> {
    protocols: Arc<Protocols>,
    watcher: hyper_util::server::graceful::Watcher,
    service: S,
    peer: SocketAddr,
}

impl<S: RequestService> Connection<S> {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, http2: bool) {
        let protocols = self.protocols.clone();
        if http2 {
            self.serve_by(&protocols.http2, FrameDeadline::new(stream, HANDSHAKE_TIMEOUT)).await;
        } else {
            self.serve_by(&protocols.http1, stream).await;
        }
    }

    async fn serve_by(
        self,
        protocol: &auto::Builder<TokioExecutor>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) {
        let Self { watcher, service, peer, .. } = self;
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            service.clone().oneshot(request.map(Body::new))
        });
        let connection = protocol.serve_connection(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended with an error");
        }
    }
}
