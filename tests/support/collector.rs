//! A trace collector within the test: receives OTLP over HTTP, and keeps it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

/// What a collector does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Behavior {
    Accepts,
    /// Responds with that status.
    Responds(u16),
    /// Never responds.
    Hangs,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A collector on its own port, which runs as long as the test's runtime.
pub(crate) struct Collector {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    batches: Arc<Mutex<Vec<Batch>>>,
}

impl Collector {
    /// Starts one that accepts everything.
    pub(crate) async fn start() -> Self {
        Self::with(Behavior::Accepts, None).await
    }

    /// Starts one with that behavior; with TLS if there is an acceptor.
    pub(crate) async fn with(behavior: Behavior, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let batches = Arc::<Mutex<Vec<Batch>>>::default();
        let kept = batches.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (kept, tls) = (kept.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => respond(stream, behavior, kept).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => respond(stream, behavior, kept).await,
                            Err(error) => println!("the collector's handshake failed: {error}"),
                        },
                    }
                });
            }
        });
        Self { url, batches }
    }

    /// The requests so far.
    pub(crate) fn batches(&self) -> Vec<Batch> {
        self.batches.lock().unwrap().clone()
    }

    pub(crate) fn clear(&self) {
        self.batches.lock().unwrap().clear();
    }

    /// An attribute of the server that created the spans.
    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        let resource = self
            .requests()
            .into_iter()
            .flat_map(|request| request.resource_spans)
            .next()?
            .resource?;
        attribute(&resource.attributes, name)
    }

    /// The spans so far.
    pub(crate) fn spans(&self) -> Vec<RecordedSpan> {
        let scopes = self.requests().into_iter().flat_map(|request| request.resource_spans);
        let scopes = scopes.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(RecordedSpan).collect()
    }

    /// The spans with that name.
    pub(crate) fn named(&self, name: &str) -> Vec<RecordedSpan> {
        self.spans().into_iter().filter(|span| span.0.name == name).collect()
    }

    /// The only span with that name.
    #[track_caller]
    pub(crate) fn only(&self, name: &str) -> RecordedSpan {
        let names: Vec<_> = self.spans().into_iter().map(|span| span.0.name).collect();
        let mut named = self.named(name);
        assert_eq!(named.len(), 1, "not exactly one {name}: {names:?}");
        named.remove(0)
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let decode = |batch: &Batch| ExportTraceServiceRequest::decode(batch.body.clone()).unwrap();
        self.batches().iter().map(decode).collect()
    }
}

/// A span.
#[derive(Debug, Clone)]
pub(crate) struct RecordedSpan(pub(crate) Span);

impl RecordedSpan {
    /// An attribute as text.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.0.attributes, name)
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{name} is neither text nor number: {other:?}"),
    }
}

async fn respond(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    behavior: Behavior,
    kept: Arc<Mutex<Vec<Batch>>>,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let kept = kept.clone();
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let path = parts.uri.path().to_owned();
                kept.lock().unwrap().push(Batch {
                    path,
                    headers: parts.headers,
                    body: body.to_bytes(),
                });
            }
            let status = match behavior {
                Behavior::Accepts => 200,
                Behavior::Responds(status) => status,
                Behavior::Hangs => std::future::pending().await,
            };
            let mut response = Response::new(Full::new(Bytes::new()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
