//! The upstream that every measured proxy leads to. It runs in the load's own process, so that it
//! takes no CPU from the proxies and never sleeps.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;

/// What the upstream answers: a small message.
pub(crate) const ANSWER: &[u8] = br#"{"project":{"id":"flytesnacks","name":"flytesnacks"}}"#;

/// The header that says what the upstream does; without it, it sends [`ANSWER`].
pub(crate) const DO: &str = "x-bench-do";
/// Sends as many bytes as the word after it says.
pub(crate) const STREAM: &str = "stream";
/// Reads the body.
pub(crate) const SWALLOW: &str = "swallow";
/// Sends a message, and then nothing.
pub(crate) const WATCH: &str = "watch";

/// Serves HTTP/1.1 and HTTP/2 without TLS until the runtime ends, and returns the address.
///
/// # Errors
/// When no port is free.
pub(crate) async fn start() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            tokio::spawn(async move {
                let builder = auto::Builder::new(TokioExecutor::new());
                let serving = builder.serve_connection(TokioIo::new(stream), service_fn(answer));
                let _ = serving.await;
            });
        }
    });
    Ok(address)
}

async fn answer(
    request: Request<Incoming>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    const GRPC: &str = "application/grpc";
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let is_grpc = content_type.as_ref().is_some_and(|value| value.as_bytes() == GRPC.as_bytes());
    let what = request.headers().get(DO).and_then(|what| what.to_str().ok()).map(str::to_owned);
    let mut incoming = request.into_body();
    // A long body is not kept.
    while let Some(Ok(_)) = incoming.frame().await {}
    let mut words = what.as_deref().unwrap_or_default().split(' ');
    let left = match words.next() {
        Some(STREAM) => words.next().and_then(|length| length.parse().ok()),
        _ => None,
    };
    if left.is_some() || what.as_deref() == Some(WATCH) {
        let body = Pieces { left: left.unwrap_or(1), ends: left.is_some() };
        let mut response = Response::new(body.boxed());
        let octets = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, octets);
        return Ok(response);
    }
    let (content_type, body) = if is_grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let body = Full::new(grpc_message(ANSWER)).with_trailers(async { Some(Ok(trailers)) });
        (GRPC, body.boxed())
    } else {
        ("application/json", Full::new(Bytes::from_static(ANSWER)).boxed())
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// A long body, or the first message of one that never ends.
struct Pieces {
    left: u64,
    ends: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PIECE: [u8; 1 << 16] = [0; 1 << 16];
        match usize::try_from(self.left).unwrap_or(usize::MAX).min(PIECE.len()) {
            0 if self.ends => Poll::Ready(None),
            0 => Poll::Pending,
            length => {
                self.left -= length as u64;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PIECE[..length])))))
            }
        }
    }
}

/// A message in gRPC's framing: a flag and the length, then the message.
pub(crate) fn grpc_message(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], message].concat().into()
}
