//! A backend that checks nothing, and shows what reached it.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use http_body_util::{BodyExt as _, combinators::BoxBody};
use hyper::{
    body::{Body, Bytes, Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// The header that says what the upstream does with a request; without it, the response describes
/// the request in JSON.
pub(crate) const DO: &str = "x-test-do";

/// A request that reached the upstream.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) version: Version,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

/// An upstream for HTTP/1.1 and HTTP/2, on one port. It stops when it is dropped.
pub(crate) struct Upstream {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

#[derive(Default)]
struct Shared {
    received: Mutex<Vec<Received>>,
    /// Connections so far.
    connections: AtomicUsize,
    /// Calls and tunnels in progress.
    open: AtomicUsize,
}

/// A call or tunnel in progress, until it is dropped.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: &Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::SeqCst);
        Self(shared.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Upstream {
    /// Starts an upstream without TLS.
    pub(crate) async fn start() -> Self {
        Self::with(None, 250).await
    }

    /// Starts an upstream with TLS, or with a limit of calls on an HTTP/2 connection; Go's is 250.
    pub(crate) async fn with(tls: Option<TlsAcceptor>, streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let shared = Arc::<Shared>::default();
        let counted = shared.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counted.connections.fetch_add(1, Ordering::SeqCst);
                let (shared, tls) = (counted.clone(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, &shared, streams).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &shared, streams).await;
                            }
                        }
                    }
                });
            }
        });
        Self { url, shared, _serving: serving }
    }

    /// The requests so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Calls and tunnels in progress.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    shared: &Arc<Shared>,
    streams: u32,
) {
    let service = service_fn(|request| answer(request, shared.clone()));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(streams);
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

type Answer = BoxBody<Bytes, Infallible>;

/// What the upstream does is named by [`DO`]:
///
/// - `mirror`: sends the body and the trailers of the request back as they arrive.
/// - `stream N`: sends N pieces of 1024 bytes.
/// - `stall`: sends a part of the response, and then nothing.
/// - `silent`: never answers.
/// - `die`: closes the connection before the response.
/// - `early STATUS`: answers without reading the body.
/// - `swallow N`: sends N pieces, and reads the body meanwhile and afterwards.
/// - `grpc`: answers with trailers of gRPC. `upgrade`: sends the bytes of the tunnel back.
/// - `answer NAME VALUE`: answers with a header.
async fn answer(
    mut request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Answer>, std::io::Error> {
    let open = Open::new(&shared);
    let received = Received {
        version: request.version(),
        method: request.method().clone(),
        uri: request.uri().clone(),
        headers: request.headers().clone(),
    };
    shared.received.lock().unwrap().push(received.clone());
    let what = request.headers().get(DO).map_or("", |what| what.to_str().unwrap()).to_owned();
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let words: Vec<_> = what.split(' ').collect();
    let response = match words.as_slice() {
        ["mirror"] => {
            let mut response = Response::new(Mirror(request.into_body(), open).boxed());
            response.headers_mut().insert("trailer", HeaderValue::from_static("x-trailer"));
            response
        }
        ["stream", pieces] => {
            let pieces = pieces.parse().unwrap();
            Response::new(Pieces { left: pieces, then: Then::End, open: Some(open) }.boxed())
        }
        ["swallow", pieces] => {
            let pieces = pieces.parse().unwrap();
            let reading = Open::new(&shared);
            let mut body = request.into_body();
            tokio::spawn(async move {
                while let Some(Ok(_)) = body.frame().await {}
                drop(reading);
            });
            Response::new(Pieces { left: pieces, then: Then::End, open: Some(open) }.boxed())
        }
        ["stall"] => {
            Response::new(Pieces { left: 1, then: Then::Nothing, open: Some(open) }.boxed())
        }
        ["silent"] => std::future::pending().await,
        ["die"] => return Err(std::io::Error::other("dies")),
        ["early", status] => {
            let mut response = text("early");
            *response.status_mut() = StatusCode::from_bytes(status.as_bytes()).unwrap();
            response
        }
        ["grpc"] => {
            let body = request.into_body().collect().await.unwrap();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", HeaderValue::from_static("0"));
            if let Some(sent) = body.trailers().and_then(|trailers| trailers.get("x-trailer")) {
                trailers.insert("x-trailer", sent.clone());
            }
            let body = http_body_util::Full::new(body.to_bytes());
            let body = body.with_trailers(std::future::ready(Some(Ok(trailers))));
            Response::new(body.boxed())
        }
        ["upgrade"] => {
            let upgrading = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let _open = open;
                let mut tunnel = TokioIo::new(upgrading.await.unwrap());
                let mut bytes = [0; 4096];
                while let Ok(read @ 1..) = tunnel.read(&mut bytes).await {
                    if tunnel.write_all(&bytes[..read]).await.is_err() {
                        break;
                    }
                }
            });
            let mut response = text("");
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = response.headers_mut();
            headers.insert("connection", HeaderValue::from_static("upgrade"));
            headers.insert("upgrade", HeaderValue::from_static("websocket"));
            return Ok(response);
        }
        ["answer", name, value] => {
            let mut response = text("answer");
            let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            response.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
            response
        }
        _ => {
            let body = request.into_body().collect().await.map_err(std::io::Error::other)?;
            let trailers = body.trailers().cloned();
            text(&described(&received, trailers.as_ref(), &body.to_bytes()).to_string())
        }
    };
    let mut response = response;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    Ok(response)
}

fn text(text: &str) -> Response<Answer> {
    Response::new(http_body_util::Full::new(Bytes::copy_from_slice(text.as_bytes())).boxed())
}

/// A request in JSON. Headers are lists of values.
fn described(received: &Received, trailers: Option<&HeaderMap>, body: &[u8]) -> Value {
    let all = |headers: &HeaderMap| -> Value {
        let values = |name| {
            let values = headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect::<Vec<_>>()
        };
        headers.keys().map(|name| (name.to_string(), json!(values(name)))).collect()
    };
    json!({
        "version": format!("{:?}", received.version),
        "method": received.method.as_str(),
        "uri": received.uri.to_string(),
        "headers": all(&received.headers),
        "trailers": trailers.map_or(Value::Null, all),
        "body": String::from_utf8_lossy(body),
    })
}

/// The body of a request, as a response. It ends where the request breaks off.
struct Mirror(Incoming, #[expect(dead_code, reason = "held while it lasts")] Open);

impl Body for Mirror {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let polled = Pin::new(&mut self.0).poll_frame(context);
        polled.map(|frame| frame.and_then(Result::ok).map(Ok))
    }
}

/// Pieces of a response.
struct Pieces {
    left: usize,
    then: Then,
    /// The call, which is in progress until the response is dropped.
    open: Option<Open>,
}

enum Then {
    End,
    Nothing,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left > 0 {
            self.left -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])))));
        }
        match self.then {
            Then::End => {
                self.open = None;
                Poll::Ready(None)
            }
            Then::Nothing => Poll::Pending,
        }
    }
}

/// Answers each connection with fixed bytes once a request's headers have arrived, and closes it.
/// Returns the URL.
pub(crate) async fn raw_upstream(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
                // What is still unread would turn the end into a reset.
                let read = stream.read_to_end(&mut head);
                let _ = tokio::time::timeout(Duration::from_secs(5), read).await;
            });
        }
    });
    url
}
