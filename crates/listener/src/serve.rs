//! The accept loop.

use std::{
    io, mem,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use hyper_util::server::graceful::GracefulShutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    connection::{Connection, Protocols, RequestService},
    connection_limit::ConnectionLimit,
};

/// A wait after a failed accept. It fails most likely because no descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// A bound socket, and how its connections are served.
pub struct Listener {
    pub socket: TcpListener,
    /// `None` for plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// The only addresses that may connect; empty for all.
    pub only_from: Vec<IpAddr>,
    /// How long pending requests may take once the listener shuts down.
    pub drain: Duration,
}

/// Serves connections until `shutdown` completes, then lets pending requests finish.
pub async fn serve(
    listener: Listener,
    service: impl RequestService,
    shutdown: impl Future<Output = ()>,
) {
    let Listener { socket, tls, only_from, drain: drain_timeout } = listener;
    let mut incoming =
        Incoming { socket, only_from, limit: ConnectionLimit::of_process(), failing: false };
    let protocols = Arc::new(Protocols::new());
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let Accepted { stream, peer, permit } = tokio::select! {
            () = &mut shutdown => break,
            accepted = incoming.accept() => accepted,
        };
        let (protocols, service) = (protocols.clone(), service.clone());
        let connection = Connection { peer, protocols, watcher: graceful.watcher(), service };
        let tls = tls.clone();
        tokio::spawn(async move {
            connection.run(stream, tls).await;
            drop(permit);
        });
    }
    drop(incoming);
    drain(graceful, drain_timeout).await;
}

async fn drain(graceful: GracefulShutdown, limit: Duration) {
    tracing::info!(connections = graceful.count(), "draining connections");
    if timeout(limit, graceful.shutdown()).await.is_err() {
        tracing::warn!("stopped draining: some requests did not finish in time");
    }
}

struct Incoming {
    socket: TcpListener,
    only_from: Vec<IpAddr>,
    limit: ConnectionLimit,
    /// Whether the last accept failed.
    failing: bool,
}

struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    /// Held as long as the connection lasts.
    permit: OwnedSemaphorePermit,
}

impl Incoming {
    /// Waits for a connection from an address that may connect.
    async fn accept(&mut self) -> Accepted {
        loop {
            match self.try_accept().await {
                Ok(accepted) => {
                    self.failing = false;
                    if self.only_from.is_empty()
                        || self.only_from.contains(&accepted.peer.ip().to_canonical())
                    {
                        return accepted;
                    }
                    tracing::warn!(peer = %accepted.peer, "refused a connection that is not from a trusted proxy");
                }
                Err(error) => {
                    if !mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, "cannot accept connections; retrying, without logging each failure");
                    }
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    async fn try_accept(&mut self) -> io::Result<Accepted> {
        let permit = self.limit.acquire().await?;
        let (stream, peer) = self.socket.accept().await?;
        // Nagle's algorithm delays small responses, and this server sends few others.
        let _ = stream.set_nodelay(true);
        Ok(Accepted { stream, peer, permit })
    }
}
