//! A connection, from its accepted socket to its last response.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{Service, ServiceExt as _};

use crate::frame_deadline::FrameDeadline;

/// How long a client may take for its first bytes or its TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the headers of a request may take, or any HTTP/2 frame other than data.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum bytes of a request's headers in HTTP/1.1.
const MAX_HTTP1_HEADERS: usize = 64 * 1024;
/// Maximum bytes of a request's headers in HTTP/2.
const MAX_HTTP2_HEADERS: u32 = 32 * 1024;
/// Maximum concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// An HTTP/2 client that is silent for this long is pinged.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_mins(1);
/// How long a client may take to answer a keep-alive ping.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A service that answers requests. Each connection and each request gets a clone.
pub trait RequestService:
    Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> RequestService for S where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// The two protocols, with their limits.
///
/// The protocol of a connection is known before it is served, by ALPN or by its first bytes. A
/// builder for both would wait for those bytes without a limit.
pub(crate) struct Protocols {
    http1: auto::Builder<TokioExecutor>,
    http2: auto::Builder<TokioExecutor>,
}

impl Protocols {
    pub(crate) fn new() -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // hyper refuses more than a hundred headers by default. Setting that limit makes it
        // allocate a table of that length for each request.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HTTP1_HEADERS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HTTP2_HEADERS)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        Self { http1: builder.clone().http1_only(), http2: builder.http2_only() }
    }
}

pub(crate) struct Connection<S> {
    pub(crate) peer: SocketAddr,
    pub(crate) protocols: Arc<Protocols>,
    /// Ends the connection when the server drains.
    pub(crate) watcher: graceful::Watcher,
    pub(crate) service: S,
}

impl<S: RequestService> Connection<S> {
    /// Secures the connection and serves its requests.
    pub(crate) async fn run(self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let peer = self.peer;
        let error = match tls {
            Some(tls) => match secure(stream, &tls).await {
                Ok((stream, http2)) => return self.serve(stream, http2).await,
                Err(error) => error,
            },
            None => match begins_http2(&stream).await {
                Ok(http2) => return self.serve(stream, http2).await,
                Err(error) => error,
            },
        };
        tracing::debug!(%peer, %error, "connection failed before its first request");
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        http2: bool,
    ) {
        let protocols = self.protocols.clone();
        if http2 {
            self.serve_by(&protocols.http2, FrameDeadline::new(stream, HEADER_TIMEOUT)).await;
        } else {
            self.serve_by(&protocols.http1, stream).await;
        }
    }

    async fn serve_by(
        self,
        protocol: &auto::Builder<TokioExecutor>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) {
        let Self { peer, watcher, service, .. } = self;
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

/// Completes the TLS handshake, and returns whether the client chose HTTP/2.
async fn secure(stream: TcpStream, tls: &TlsAcceptor) -> io::Result<(TlsStream<TcpStream>, bool)> {
    let stream = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
    let stream = stream.map_err(|_| timed_out("timed out in the TLS handshake"))??;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((stream, http2))
}

/// Returns whether a connection without TLS begins with the preface of HTTP/2 (RFC 9113 section
/// 3.4).
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let peeked = timeout(HANDSHAKE_TIMEOUT, peek_preface(stream)).await;
    peeked.map_err(|_| timed_out("timed out waiting for the first bytes"))?
}

async fn peek_preface(stream: &TcpStream) -> io::Result<bool> {
    const PREFACE: &[u8] = b"PRI ";
    let mut first = [0; PREFACE.len()];
    loop {
        let peeked = stream.peek(&mut first).await?;
        if peeked == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if peeked == PREFACE.len() || !PREFACE.starts_with(&first[..peeked]) {
            return Ok(first == PREFACE);
        }
        // peek() returns at once while some bytes are there, so it cannot wait for the rest.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn timed_out(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, message)
}
