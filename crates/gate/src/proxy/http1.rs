//! [`Http1`]: the connections to an upstream over HTTP/1.1, each for one call at a time.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use super::{
    address::Stream,
    failed::{Failed, with_causes},
    request_body::RequestBody,
};

/// Connections at once.
const MAX_CONNECTIONS: usize = 4096;
/// Connections that are kept without a call.
const MAX_IDLE: usize = 256;
/// How long a connection is kept without a call.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The connections to an upstream over HTTP/1.1.
#[derive(Default)]
pub(super) struct Http1 {
    idle: Mutex<Idle>,
    connections: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Idle {
    /// The one that was used last is at the end.
    connections: VecDeque<(Connection, Instant)>,
    /// Whether a task closes those that are not used.
    is_swept: bool,
}

/// A connection.
struct Connection {
    sender: SendRequest<RequestBody>,
    /// Closes the connection when it is dropped. hyper first sends what it has taken of a request,
    /// for which an upstream could let it wait forever.
    _open: oneshot::Sender<()>,
}

/// One of the connections that there may be, until it is dropped.
pub(super) struct Slot(Arc<AtomicUsize>);

/// A connection that a call uses.
pub(super) struct Lease {
    /// `None` once it was released.
    connection: Option<Connection>,
    pool: Arc<Http1>,
}

/// The error of a request, which is there again if nothing of it was sent.
type Unsent = (hyper::Error, Option<Request<RequestBody>>);

impl Http1 {
    /// Returns a connection without a call, if there is one.
    pub(super) fn idle(self: &Arc<Self>) -> Option<Lease> {
        let mut idle = self.lock();
        let mut at = idle.connections.len();
        while at > 0 {
            at -= 1;
            let (Connection { sender, .. }, _) = &idle.connections[at];
            // A connection whose request is still being read by the upstream is not ready yet.
            if sender.is_ready() {
                let (connection, _) = idle.connections.remove(at)?;
                return Some(Lease { connection: Some(connection), pool: self.clone() });
            }
            if sender.is_closed() {
                idle.connections.remove(at);
            }
        }
        None
    }

    /// Returns whether the upstream was reached over HTTP/1.1, and still is.
    pub(super) fn is_connected(&self) -> bool {
        self.connections() > 0
    }

    /// Returns the number of connections.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Returns a place for another connection, if there may be one.
    pub(super) fn slot(&self) -> Option<Slot> {
        let taken = self.connections.fetch_add(1, Ordering::Relaxed);
        let slot = Slot(self.connections.clone());
        (taken < MAX_CONNECTIONS).then_some(slot)
    }

    /// Begins HTTP/1.1 on a connection.
    pub(super) async fn handshake(
        self: &Arc<Self>,
        stream: Stream,
        slot: Slot,
    ) -> Result<Lease, Failed> {
        let connection = match stream {
            Stream::Plain(stream) => Box::pin(handshake(TokioIo::new(stream), slot)).await,
            Stream::Tls(stream) => Box::pin(handshake(TokioIo::new(stream), slot)).await,
        };
        let connection = connection.map_err(|error| Failed::Unreachable(error.to_string()))?;
        Ok(Lease { connection: Some(connection), pool: self.clone() })
    }

    /// Sends a request that begins a tunnel.
    pub(super) async fn upgrade(
        stream: Stream,
        slot: Slot,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failed> {
        let response = match stream {
            Stream::Plain(stream) => Box::pin(upgrade(TokioIo::new(stream), slot, request)).await,
            Stream::Tls(stream) => Box::pin(upgrade(TokioIo::new(stream), slot, request)).await,
        };
        response.map_err(|error| Failed::Lost(with_causes(&error)))
    }

    fn keep(self: &Arc<Self>, connection: Connection) {
        if connection.sender.is_closed() {
            return;
        }
        let mut idle = self.lock();
        if idle.connections.len() >= MAX_IDLE {
            idle.connections.pop_front();
        }
        idle.connections.push_back((connection, Instant::now()));
        if !std::mem::replace(&mut idle.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn handshake<I: Read + Write + Unpin + Send + 'static>(
    io: I,
    slot: Slot,
) -> hyper::Result<Connection> {
    let (sender, connection) = http1::handshake(io).await?;
    let (open, closed) = oneshot::channel();
    tokio::spawn(async move {
        tokio::select! {
            biased;
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "a connection to the upstream ended with an error");
            },
            _ = closed => {}
        }
        drop(slot);
    });
    Ok(Connection { sender, _open: open })
}

async fn upgrade<I: Read + Write + Unpin + Send + 'static>(
    io: I,
    slot: Slot,
    request: Request<RequestBody>,
) -> hyper::Result<Response<Incoming>> {
    let (mut sender, connection) = http1::handshake(io).await?;
    tokio::spawn(async move {
        // Ends when the connection has become a tunnel.
        let _ = connection.with_upgrades().await;
        drop(slot);
    });
    sender.send_request(request).await
}

/// Closes connections that are not used, as long as there are any.
async fn sweep(pool: Weak<Http1>) {
    loop {
        sleep(IDLE_TIMEOUT / 4).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.lock();
        idle.connections.retain(|(connection, since)| {
            !connection.sender.is_closed() && since.elapsed() < IDLE_TIMEOUT
        });
        if idle.connections.is_empty() {
            idle.is_swept = false;
            return;
        }
    }
}

impl Lease {
    /// Sends a request.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Unsent> {
        let connection = self.connection.as_mut().expect("a lease is used before it is given back");
        connection.sender.try_send_request(request).await.map_err(|mut failed| {
            let unsent = failed.take_message();
            (failed.into_error(), unsent)
        })
    }

    pub(super) fn give_back(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.pool.keep(connection);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
