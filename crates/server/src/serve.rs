//! Accepts connections, plain or TLS, HTTP/1.1 or HTTP/2, and drains them at the end.
//!
//! An accept loop of our own, because neither axum's nor connectrpc's bounds headers, streams and idle
//! connections.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::ConnectInfo};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

/// Connections at the same time; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 10_000;
/// How long a client may take over its TLS handshake, and over the headers of a request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests at the same time on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;
/// Bytes of headers, together.
const MAX_HEADER_BYTES: u32 = 32 * 1024;
/// Headers of an HTTP/1.1 request.
const MAX_HEADERS: usize = 100;
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

/// Serves until `shutdown` completes, then lets requests under way finish.
pub async fn serve(acceptor: Acceptor, router: Router, shutdown: impl Future<Output = ()>) {
    let Acceptor { listener, tls, only_from, drain } = acceptor;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(Duration::from_secs(20));
    let builder = Arc::new(builder);
    let graceful = Arc::new(GracefulShutdown::new());
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let (stream, peer, permit) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, most likely: wait for some to be freed rather than spin.
                    tracing::warn!(%error, "a connection could not be accepted");
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
        let router = router.clone();
        let connection = Connection { builder: builder.clone(), watcher: graceful.watcher(), router, peer };
        let tls = tls.clone();
        tokio::spawn(async move {
            let _permit = permit;
            match tls {
                None => connection.serve(stream).await,
                Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => connection.serve(stream).await,
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

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}

struct Connection {
    builder: Arc<auto::Builder<TokioExecutor>>,
    watcher: hyper_util::server::graceful::Watcher,
    router: Router,
    peer: SocketAddr,
}

impl Connection {
    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let Self { builder, watcher, router, peer } = self;
        let service = tower::service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let router = router.clone();
            async move {
                let Ok(response) = router.oneshot(request.map(Body::new)).await;
                Ok::<_, Infallible>(response)
            }
        });
        let connection =
            builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%peer, %error, "connection ended with an error");
        }
    }
}
