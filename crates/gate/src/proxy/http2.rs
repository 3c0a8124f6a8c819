//! [`Http2`]: the connections to an upstream over HTTP/2, each for many calls at a time.
//!
//! A server limits the calls on a connection, and streams can last for hours. A call beyond that
//! limit would wait without an error, so the calls are counted here, and another connection is
//! opened before the limit.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use hyper::{
    client::conn::http2::{self, SendRequest},
    rt::{Read, Write},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep},
};

use super::{
    address::Stream,
    failed::{Failed, with_causes},
    request_body::RequestBody,
};

/// Calls on one connection, at most: fewer than the 250 that Go's server allows.
const MAX_STREAMS: usize = 200;
/// Connections at once.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of a response that wait for its client: the upstream may send no more.
const STREAM_WINDOW: u32 = 64 * 1024;
/// Enough for every stream's window, so that clients who do not read delay nobody else.
#[expect(clippy::cast_possible_truncation, reason = "a constant that is small enough")]
const CONNECTION_WINDOW: u32 = MAX_STREAMS as u32 * STREAM_WINDOW;
/// Bytes of a request that wait for the upstream.
const SEND_BUFFER: usize = 64 * 1024;
const MAX_HEADERS: u32 = 64 * 1024;

/// An upstream that is silent for this long is pinged.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the upstream may take to answer a ping.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection is kept without a call.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// The limit on calls before the upstream reports its own: no server has exactly this one.
const UNKNOWN_LIMIT: usize = 0x7fff_fff1;

/// The connections to an upstream over HTTP/2.
#[derive(Default)]
pub(super) struct Http2 {
    open: Mutex<Open>,
    /// Held while a connection is opened. When the last attempt failed is in it.
    opening: AsyncMutex<Option<Instant>>,
}

#[derive(Default)]
struct Open {
    connections: Vec<Connection>,
    /// Whether a task closes those that are not used.
    is_swept: bool,
}

/// A connection.
pub(super) struct Connection {
    sender: SendRequest<RequestBody>,
    shared: Arc<Shared>,
    /// Calls at the last check of the connection.
    calls_before: usize,
}

struct Shared {
    /// Calls on the connection.
    streams: AtomicUsize,
    /// Calls that the upstream allows.
    limit: AtomicUsize,
    /// Calls so far.
    calls: AtomicUsize,
}

/// A call on a connection, until it is dropped.
pub(super) struct Slot(Arc<Shared>);

impl Http2 {
    /// Returns the number of connections.
    pub(super) fn connections(&self) -> usize {
        self.lock().connections.iter().filter(|connection| !connection.sender.is_closed()).count()
    }

    /// Returns the connection with the fewest calls, opened by `connect` if all are full.
    pub(super) async fn connection(
        self: &Arc<Self>,
        connect: impl Future<Output = Result<Connection, Failed>>,
    ) -> Result<(SendRequest<RequestBody>, Slot), Failed> {
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        let waiting_since = Instant::now();
        let mut last_failure = self.opening.lock().await;
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        // Each caller that waited would fail in the same way, one after the other.
        if last_failure.is_some_and(|at| at >= waiting_since) {
            return Err(Failed::Unreachable("another attempt has just failed".to_owned()));
        }
        let connection = connect.await.inspect_err(|_| *last_failure = Some(Instant::now()))?;
        let found = connection.take();
        let mut open = self.lock();
        open.connections.push(connection);
        if !std::mem::replace(&mut open.is_swept, true) {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        Ok(found)
    }

    /// Returns the connection with the fewest calls; `None` to open another.
    fn find(&self) -> Result<Option<(SendRequest<RequestBody>, Slot)>, Failed> {
        let connections = &mut self.lock().connections;
        connections.retain(|connection| !connection.sender.is_closed());
        let free = connections.iter().filter(|connection| connection.has_room());
        match free.min_by_key(|connection| connection.shared.streams.load(Ordering::Relaxed)) {
            Some(connection) => Ok(Some(connection.take())),
            None if connections.len() >= MAX_CONNECTIONS => Err(Failed::Full),
            None => Ok(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins HTTP/2 on a connection, and waits for the upstream's settings.
    pub(super) async fn handshake(stream: Stream) -> Result<Connection, Failed> {
        match stream {
            Stream::Plain(stream) => Box::pin(handshake(TokioIo::new(stream))).await,
            Stream::Tls(stream) => Box::pin(handshake(TokioIo::new(stream))).await,
        }
    }
}

async fn handshake<I: Read + Write + Unpin + Send + 'static>(io: I) -> Result<Connection, Failed> {
    let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(UNKNOWN_LIMIT)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .handshake(io)
        .await
        .map_err(|error| Failed::Unreachable(with_causes(&error)))?;
    // Servers send their settings first (RFC 9113 section 3.4).
    poll_fn(|context| {
        let polled = Pin::new(&mut connection).poll(context);
        if connection.current_max_send_streams() != UNKNOWN_LIMIT {
            return Poll::Ready(Ok(()));
        }
        polled.map(|ended| Err(ended.err().map_or_else(String::new, |error| with_causes(&error))))
    })
    .await
    .map_err(|reason| Failed::Unreachable(format!("it does not speak HTTP/2: {reason}")))?;
    let shared = Arc::new(Shared {
        streams: AtomicUsize::new(0),
        limit: AtomicUsize::new(connection.current_max_send_streams()),
        calls: AtomicUsize::new(0),
    });
    let seen = shared.clone();
    tokio::spawn(async move {
        let ended = poll_fn(|context| {
            let polled = Pin::new(&mut connection).poll(context);
            seen.limit.store(connection.current_max_send_streams(), Ordering::Relaxed);
            polled
        });
        if let Err(error) = ended.await {
            tracing::debug!(
                error = with_causes(&error),
                "a connection to the upstream ended with an error"
            );
        }
    });
    Ok(Connection { sender, shared, calls_before: 0 })
}

/// Closes connections that are not used, as long as there are any.
async fn sweep(pool: Weak<Http2>) {
    loop {
        sleep(IDLE_TIMEOUT).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut open = pool.lock();
        open.connections.retain_mut(|connection| {
            let Shared { streams, calls, .. } = &*connection.shared;
            let calls = calls.load(Ordering::Relaxed);
            let is_used = streams.load(Ordering::Relaxed) > 0
                || std::mem::replace(&mut connection.calls_before, calls) != calls;
            is_used && !connection.sender.is_closed()
        });
        if open.connections.is_empty() {
            open.is_swept = false;
            return;
        }
    }
}

impl Connection {
    fn has_room(&self) -> bool {
        let limit = self.shared.limit.load(Ordering::Relaxed).min(MAX_STREAMS);
        self.shared.streams.load(Ordering::Relaxed) < limit
    }

    fn take(&self) -> (SendRequest<RequestBody>, Slot) {
        self.shared.streams.fetch_add(1, Ordering::Relaxed);
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), Slot(self.shared.clone()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
