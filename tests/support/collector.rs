//! A collector of traces in the test: takes OTLP over HTTP, and keeps what was sent.

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

/// What a collector does with what it is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// Takes it.
    Takes,
    /// Answers with that status.
    Answers(u16),
    /// Never answers.
    Hangs,
}

/// What was sent at once.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A collector on a port of its own, for as long as the test's runtime lives.
pub(crate) struct Collector {
    /// `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    batches: Arc<Mutex<Vec<Batch>>>,
}

impl Collector {
    /// One that takes everything.
    pub(crate) async fn start() -> Self {
        Self::with(Manner::Takes, None).await
    }

    /// One of that manner; with TLS where there is an acceptor.
    pub(crate) async fn with(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
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
                        None => answer(stream, manner, kept).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => answer(stream, manner, kept).await,
                            Err(error) => println!("the collector's handshake failed: {error}"),
                        },
                    }
                });
            }
        });
        Self { url, batches }
    }

    /// What was sent so far.
    pub(crate) fn batches(&self) -> Vec<Batch> {
        self.batches.lock().unwrap().clone()
    }

    /// Forgets what was sent so far.
    pub(crate) fn forget(&self) {
        self.batches.lock().unwrap().clear();
    }

    /// What the spans so far say of the server that made them.
    pub(crate) fn resource(&self, name: &str) -> Option<String> {
        let resource =
            self.requests().into_iter().flat_map(|request| request.resource_spans).next()?.resource?;
        attribute(&resource.attributes, name)
    }

    /// The spans so far.
    pub(crate) fn spans(&self) -> Vec<Seen> {
        let scopes = self.requests().into_iter().flat_map(|request| request.resource_spans);
        let scopes = scopes.flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(Seen).collect()
    }

    /// The spans of that name.
    pub(crate) fn named(&self, name: &str) -> Vec<Seen> {
        self.spans().into_iter().filter(|span| span.0.name == name).collect()
    }

    /// The only span of that name.
    #[track_caller]
    pub(crate) fn only(&self, name: &str) -> Seen {
        let names: Vec<_> = self.spans().into_iter().map(|span| span.0.name).collect();
        let mut named = self.named(name);
        assert_eq!(named.len(), 1, "{name} is not there once: {names:?}");
        named.remove(0)
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let decode = |batch: &Batch| ExportTraceServiceRequest::decode(batch.body.clone()).unwrap();
        self.batches().iter().map(decode).collect()
    }
}

/// A span.
#[derive(Debug, Clone)]
pub(crate) struct Seen(pub(crate) Span);

impl Seen {
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

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    manner: Manner,
    kept: Arc<Mutex<Vec<Batch>>>,
) {
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let kept = kept.clone();
        async move {
            let (parts, body) = request.into_parts();
            if let Ok(body) = body.collect().await {
                let path = parts.uri.path().to_owned();
                kept.lock().unwrap().push(Batch { path, headers: parts.headers, body: body.to_bytes() });
            }
            let status = match manner {
                Manner::Takes => 200,
                Manner::Answers(status) => status,
                Manner::Hangs => std::future::pending().await,
            };
            let mut response = Response::new(Full::new(Bytes::new()));
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
}
