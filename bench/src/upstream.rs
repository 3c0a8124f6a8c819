//! The upstream that every measured proxy leads to. It runs in the load's own process, so that it
//! takes no CPU from the proxies and never sleeps.

use std::{convert::Infallible, net::SocketAddr};

use axum::body::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;

/// What the upstream answers: a small message.
pub(crate) const ANSWER: &[u8] = br#"{"project":{"id":"flytesnacks","name":"flytesnacks"}}"#;

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
    let _ = request.into_body().collect().await;
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

/// A message in gRPC's framing: a flag and the length, then the message.
pub(crate) fn grpc_message(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], &length[..], message].concat().into()
}
