//! The accept loop.

use std::{io, mem, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use gatekey_core::network::Networks;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use crate::{
    activity::Activity,
    addresses::{Addresses, Place},
    connection::{Connection, Protocols, RequestService},
    connection_limit::ConnectionLimit,
    limits::Limits,
};

/// A wait after a failed accept. It fails most likely because no descriptor is free.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// An idle client is probed after this time, and then at this interval.
const KEEPALIVE_TIME: Duration = Duration::from_mins(1);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The shortest time between two lines in the log about refused connections.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// A bound socket, and how its connections are served.
pub struct Listener {
    pub socket: TcpListener,
    /// `None` for plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// The only addresses that may connect; empty for all.
    pub only_from: Networks,
    pub limits: Limits,
    /// How long pending requests may take once the listener shuts down.
    pub drain: Duration,
}

/// Serves connections until `shutdown` completes, then lets pending requests finish.
pub async fn serve(
    listener: Listener,
    service: impl RequestService,
    shutdown: impl Future<Output = ()>,
) {
    let Listener { socket, tls, only_from, limits, drain: drain_timeout } = listener;
    set_options(&socket);
    let addresses = Arc::new(Addresses::new(&limits));
    let limit = ConnectionLimit::new(limits.connections);
    let mut incoming = Incoming {
        socket,
        only_from,
        limit,
        addresses,
        failing: false,
        strangers: LogInterval::default(),
        crowded: LogInterval::default(),
    };
    let protocols = Arc::new(Protocols::new());
    let (stop, stopping) = watch::channel(false);
    let mut shutdown = pin!(shutdown);
    let mut accepted = 0_u32;
    loop {
        let Accepted { stream, peer, activity, place, permit } = tokio::select! {
            () = &mut shutdown => break,
            next = incoming.accept() => next,
        };
        accepted = accepted.wrapping_add(1);
        let connection = Connection {
            peer,
            activity,
            protocols: protocols.clone(),
            idle: limits.idle,
            age: shortened(limits.age, accepted),
            stopping: stopping.clone(),
            service: service.clone(),
        };
        let tls = tls.clone();
        tokio::spawn(async move {
            connection.run(stream, tls).await;
            drop((place, permit));
        });
    }
    drop((incoming, stopping));
    drain(stop, drain_timeout).await;
}

/// Sets the options of all connections. Accepted sockets inherit them, which saves four system
/// calls for each.
fn set_options(socket: &TcpListener) {
    let socket = SockRef::from(socket);
    // Nagle's algorithm delays small responses, and this server sends few others.
    let _ = socket.set_tcp_nodelay(true);
    // Finds out when a client has vanished.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_TIME).with_interval(KEEPALIVE_INTERVAL);
    let _ = socket.set_tcp_keepalive(&keepalive);
}

/// Shortens a duration by up to a tenth, differently for each `number`. Multiples of the golden
/// ratio spread evenly (Knuth, The Art of Computer Programming, section 6.4).
fn shortened(duration: Duration, number: u32) -> Duration {
    const GOLDEN_RATIO: u32 = 0x9e37_79b9;
    let [share, ..] = number.wrapping_mul(GOLDEN_RATIO).to_be_bytes();
    duration.mul_f64(1.0 - f64::from(share) / 2560.0)
}

async fn drain(stop: watch::Sender<bool>, limit: Duration) {
    tracing::info!(connections = stop.receiver_count(), "draining connections");
    let _ = stop.send(true);
    if timeout(limit, stop.closed()).await.is_err() {
        tracing::warn!("stopped draining: some requests did not finish in time");
    }
}

struct Incoming {
    socket: TcpListener,
    only_from: Networks,
    limit: ConnectionLimit,
    addresses: Arc<Addresses>,
    /// Whether the last accept failed.
    failing: bool,
    /// Reports of connections that are not from a trusted proxy.
    strangers: LogInterval,
    /// Reports of addresses that have their share of the connections.
    crowded: LogInterval,
}

struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    activity: Arc<Activity>,
    /// Held as long as the connection lasts.
    place: Place,
    /// Held as long as the connection lasts.
    permit: OwnedSemaphorePermit,
}

impl Incoming {
    /// Waits for a connection from an address that may connect.
    async fn accept(&mut self) -> Accepted {
        loop {
            match self.try_accept().await {
                Ok((stream, peer, permit)) => {
                    self.failing = false;
                    let address = peer.ip();
                    if !self.only_from.is_empty() && !self.only_from.contains(address) {
                        if let Some(refused) = self.strangers.due() {
                            tracing::warn!(
                                %peer,
                                refused,
                                "refused connections that are not from a trusted proxy"
                            );
                        }
                        continue;
                    }
                    let activity = Arc::new(Activity::new());
                    if let Some(place) = self.addresses.admit(address, &activity) {
                        return Accepted { stream, peer, activity, place, permit };
                    }
                    if let Some(refused) = self.crowded.due() {
                        tracing::warn!(
                            %peer,
                            refused,
                            "refused connections: their address has its share of them, and none is idle \
                             (raise `server.connection_share_per_address`)"
                        );
                    }
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

    async fn try_accept(&mut self) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
        let permit = self.limit.acquire().await?;
        let (stream, peer) = self.socket.accept().await?;
        Ok((stream, peer, permit))
    }
}

/// Limits a log message that any client can cause to one a minute, which counts the others.
#[derive(Default)]
struct LogInterval {
    last: Option<Instant>,
    /// Occurrences without a message.
    unlogged: u64,
}

impl LogInterval {
    /// Returns the number of occurrences since the last message, if another one is due.
    fn due(&mut self) -> Option<u64> {
        let now = Instant::now();
        self.unlogged += 1;
        if self.last.is_some_and(|last| now.duration_since(last) < REFUSAL_LOG_INTERVAL) {
            return None;
        }
        self.last = Some(now);
        Some(mem::take(&mut self.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_sockets_inherit_the_options() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        set_options(&socket);
        let _client = TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = socket.accept().await.unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap() && accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap(), KEEPALIVE_TIME);
        assert_eq!(accepted.tcp_keepalive_interval().unwrap(), KEEPALIVE_INTERVAL);
    }

    #[test]
    fn ages_are_spread_over_a_tenth() {
        let mut ages: Vec<_> =
            (0..100).map(|number| shortened(Duration::from_hours(1), number).as_secs()).collect();
        ages.sort_unstable();
        assert!(ages[0] >= 3240 && ages[99] <= 3600, "{ages:?}");
        assert!(ages.windows(2).all(|pair| pair[1] - pair[0] <= 20), "{ages:?}");
    }
}
