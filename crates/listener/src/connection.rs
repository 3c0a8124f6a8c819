//! A connection, from its accepted socket to its last response.

use std::{
    convert::Infallible, future::poll_fn, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderValue, StatusCode, Version, header},
    response::{IntoResponse as _, Response},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulConnection},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep_until, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tower::{Service, ServiceExt as _};

use crate::{
    activity::{Activity, Due},
    ambiguity::ambiguity,
    frame_deadline::FrameDeadline,
    limits::HEADER_TIMEOUT,
    observed::Observed,
    request::{InProgress, sends_whole_body},
};

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
            // hyper's limit would also end connections that wait for their next request.
            .header_read_timeout(None)
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
    pub(crate) activity: Arc<Activity>,
    pub(crate) protocols: Arc<Protocols>,
    /// How long the connection may be open without a request.
    pub(crate) idle: Duration,
    /// How long the connection accepts requests.
    pub(crate) age: Duration,
    /// Becomes true when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
    pub(crate) service: S,
}

impl<S: RequestService> Connection<S> {
    /// Secures the connection and serves its requests.
    pub(crate) async fn run(mut self, stream: TcpStream, tls: Option<TlsAcceptor>) {
        let (activity, peer) = (self.activity.clone(), self.peer);
        if let Some(tls) = tls {
            let secured = self.unless_ended(secure(Observed::new(stream, activity), &tls)).await;
            if let Some((stream, http2)) = report(peer, secured) {
                self.serve(stream, http2).await;
            }
        } else {
            let begun = self.unless_ended(begins_http2(&stream)).await;
            if let Some(http2) = report(peer, begun) {
                self.serve(Observed::new(stream, activity), http2).await;
            }
        }
    }

    /// Waits for the first bytes, unless the connection makes room for another or the server stops.
    async fn unless_ended<T>(
        &mut self,
        begun: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        tokio::select! {
            begun = begun => begun,
            () = self.activity.evicted() => Err(io::Error::other("made room for another connection")),
            _ = self.stopping.wait_for(|stopping| *stopping) => Err(io::Error::other("the server stops")),
        }
    }

    async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        http2: bool,
    ) {
        let protocols = self.protocols.clone();
        self.activity.begin(http2);
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
        let Self { peer, activity, idle, age, stopping, service, .. } = self;
        let noted = activity.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            let (activity, mut service) = (noted.clone(), service.clone());
            let progress = InProgress::begin(&activity);
            request.extensions_mut().insert(progress.lasting());
            async move {
                let (head, body) = request.into_parts();
                let (is_sent_whole, refusal) = (sends_whole_body(&head), ambiguity(&head));
                let ends = refusal.is_some() && head.version < Version::HTTP_2;
                let body = Body::new(progress.request_body(body));
                let mut response = if let Some(reason) = refusal {
                    tracing::debug!(%peer, reason, "refused an ambiguous request");
                    drop(body);
                    (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response()
                } else {
                    service.ready().await?.call(Request::from_parts(head, body)).await?
                };
                progress.drop_rest(is_sent_whole).await;
                // A connection that becomes a tunnel is not closed.
                let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                if ends || !is_tunnel && activity.is_last_request() {
                    response
                        .headers_mut()
                        .insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response.map(|body| progress.response_body(body)))
            }
        });
        let connection = protocol.serve_connection_with_upgrades(TokioIo::new(stream), service);
        let connection = connection.into_owned();
        let driver = Driver { activity: &activity, idle, retire_at: Some(Instant::now() + age) };
        match driver.run(connection, stopping).await {
            Ok(None) => {}
            Ok(Some(reason)) => tracing::debug!(%peer, reason, "ended a connection"),
            Err(error) => tracing::debug!(%peer, %error, "connection ended with an error"),
        }
    }
}

/// Drives a connection, and ends it when its time is up.
struct Driver<'a> {
    activity: &'a Activity,
    idle: Duration,
    /// When the connection accepts no more requests, unless that has happened.
    retire_at: Option<Instant>,
}

impl Driver<'_> {
    /// Returns why the connection was ended, if it was.
    async fn run<C: GracefulConnection>(
        mut self,
        connection: C,
        mut stopping: watch::Receiver<bool>,
    ) -> Result<Option<&'static str>, C::Error> {
        enum Event<E> {
            Ended(Result<(), E>),
            TimeIsUp,
            Evicted,
            Stopping,
        }
        let mut connection = pin!(connection);
        let mut timer = pin!(sleep_until(self.next()));
        let mut draining = false;
        loop {
            let polled = poll_fn(|context| {
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(Event::Ended(ended));
                }
                let next = self.next();
                // A timer that fires too early is set again, which is cheaper than each time.
                if next < timer.deadline() {
                    timer.as_mut().reset(next);
                }
                timer.as_mut().poll(context).map(|()| Event::TimeIsUp)
            });
            let event = tokio::select! {
                biased;
                event = polled => event,
                () = self.activity.evicted() => Event::Evicted,
                _ = stopping.wait_for(|stopping| *stopping), if !draining => Event::Stopping,
            };
            match event {
                Event::Ended(ended) => return ended.map(|()| None),
                Event::Evicted => {
                    connection.as_mut().graceful_shutdown();
                    // Sends GOAWAY, if the client reads it.
                    poll_fn(|context| Poll::Ready(connection.as_mut().poll(context).is_ready()))
                        .await;
                    return Ok(Some("made room for another connection of its address"));
                }
                Event::Stopping => {
                    draining = true;
                    self.activity.drain();
                    self.activity.close();
                    connection.as_mut().graceful_shutdown();
                }
                Event::TimeIsUp => match self.due() {
                    Some(Due::Abort(reason)) => return Ok(Some(reason)),
                    Some(Due::Close) => {
                        self.activity.close();
                        connection.as_mut().graceful_shutdown();
                    }
                    None => {}
                },
            }
            timer.as_mut().reset(self.next());
        }
    }

    /// Returns when to look again.
    fn next(&self) -> Instant {
        let (next, _) = self.activity.due(self.idle);
        self.retire_at.map_or(next, |at| next.min(at))
    }

    /// Returns what is due now.
    fn due(&mut self) -> Option<Due> {
        let now = Instant::now();
        if self.retire_at.is_some_and(|at| at <= now) {
            self.retire_at = None;
            if self.activity.retire() {
                return Some(Due::Close);
            }
        }
        let (at, due) = self.activity.due(self.idle);
        due.filter(|_| at <= now)
    }
}

fn report<T>(peer: SocketAddr, begun: io::Result<T>) -> Option<T> {
    begun
        .inspect_err(
            |error| tracing::debug!(%peer, %error, "connection failed before its first request"),
        )
        .ok()
}

/// Completes the TLS handshake, and returns whether the client chose HTTP/2.
async fn secure(
    stream: Observed<TcpStream>,
    tls: &TlsAcceptor,
) -> io::Result<(TlsStream<Observed<TcpStream>>, bool)> {
    let stream = timeout(HEADER_TIMEOUT, tls.accept(stream)).await;
    let stream = stream.map_err(|_| timed_out("timed out in the TLS handshake"))??;
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((stream, http2))
}

/// Returns whether a connection without TLS begins with the preface of HTTP/2 (RFC 9113 section
/// 3.4).
async fn begins_http2(stream: &TcpStream) -> io::Result<bool> {
    let peeked = timeout(HEADER_TIMEOUT, peek_preface(stream)).await;
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

#[cfg(test)]
mod tests;
