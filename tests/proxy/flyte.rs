//! A stand-in for Flyte, which answers every call with what it saw of the request.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::task::JoinHandle;

/// Methods and paths of the requests that reached it.
pub(super) type Reached = Arc<Mutex<Vec<String>>>;

/// Serves until the task is aborted.
pub(super) async fn serve() -> (JoinHandle<()>, SocketAddr, Reached) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let reached = Reached::default();
    let recorded = reached.clone();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let recorded = recorded.clone();
            connections.spawn(async move {
                let service = service_fn(|request| respond(request, recorded.clone()));
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (task, address, reached)
}

async fn respond(
    request: Request<Incoming>,
    reached: Reached,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let (parts, body) = request.into_parts();
    reached.lock().unwrap().push(format!("{} {}", parts.method, parts.uri.path()));
    let _ = body.collect().await;
    let mut response = Response::builder().header("seen-path", parts.uri.path());
    let host = parts.uri.authority().map(ToString::to_string);
    if let Some(host) = host {
        response = response.header("seen-host", host);
    }
    for (name, value) in &parts.headers {
        let name = HeaderName::try_from(format!("seen-{name}")).unwrap();
        response = response.header(name, value);
    }
    let content_type = parts.headers.get("content-type").cloned();
    let is_grpc = content_type
        .as_ref()
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if let Some(content_type) = content_type {
        response = response.header("content-type", content_type);
    }
    if is_grpc {
        let trailers = HeaderMap::from_iter([(
            HeaderName::from_static("grpc-status"),
            http::HeaderValue::from_static("0"),
        )]);
        let body = Full::new(Bytes::from_static(&[0; 5]))
            .with_trailers(std::future::ready(Some(Ok(trailers))));
        return Ok(response.body(body.boxed()).unwrap());
    }
    let body = Full::new(Bytes::from_static(b"{\"stand-in\":true}"));
    Ok(response.body(body.boxed()).unwrap())
}
