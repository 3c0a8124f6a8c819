//! Calls whose bodies are streams.

use std::{convert::Infallible, path::Path};

use futures::stream;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::support::{ServerProcess, trusting};

pub(crate) type Sent = BoxBody<Bytes, Infallible>;

/// A client whose bodies are streams.
#[derive(Clone)]
pub(crate) struct Caller {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Sent>,
}

/// The end of a response.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) bytes: usize,
    pub(crate) last: Bytes,
    pub(crate) trailers: HeaderMap,
    pub(crate) failed: bool,
}

impl Ended {
    pub(crate) fn trailer(&self, name: &str) -> &str {
        self.trailers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Caller {
    /// Over HTTP/2, or over HTTP/1.1.
    pub(crate) fn new(server: &ServerProcess, http2: bool) -> Self {
        Self::of(&server.reached_at, &server.ca_file(), http2)
    }

    /// Of a URL, trusting one CA.
    pub(crate) fn of(url: &str, ca_file: &Path, http2: bool) -> Self {
        let tls = trusting(Some(ca_file));
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls).https_only();
        let connector =
            if http2 { builder.enable_http2().build() } else { builder.enable_http1().build() };
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build(connector);
        Self { url: url.to_owned(), client }
    }

    /// Sends a request.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> Response<Incoming> {
        self.try_send(method, path, headers, body).await.unwrap()
    }

    /// Sends a request, if the server receives all of it.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.request(request.body(body).unwrap()).await
    }

    /// Makes a call of gRPC.
    pub(crate) async fn grpc(
        &self,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        self.grpc_with(path, token, headers, frames(&["\0\0\0\0\0"], &[])).await
    }

    pub(crate) async fn grpc_with(
        &self,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> Response<Incoming> {
        self.try_grpc_with(path, token, headers, body).await.unwrap()
    }

    pub(crate) async fn try_grpc_with(
        &self,
        path: &str,
        token: &str,
        headers: &[(&str, &str)],
        body: Sent,
    ) -> Result<Response<Incoming>, hyper_util::client::legacy::Error> {
        let bearer = format!("Bearer {token}");
        let grpc =
            [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", &bearer)];
        self.try_send(Method::POST, path, &[&grpc, headers].concat(), body).await
    }
}

/// A body of pieces, with trailers.
pub(crate) fn frames(pieces: &[&'static str], trailers: &[(&'static str, &'static str)]) -> Sent {
    let mut all: Vec<_> = pieces.iter().map(|piece| Frame::data(Bytes::from(*piece))).collect();
    if !trailers.is_empty() {
        let pairs = trailers.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().unwrap(), http::HeaderValue::from_static(value))
        });
        all.push(Frame::trailers(pairs.collect()));
    }
    StreamBody::new(stream::iter(all.into_iter().map(Ok))).boxed()
}

/// A body that never ends.
pub(crate) fn endless() -> Sent {
    let piece = || Ok(Frame::data(Bytes::from_static(&[b'x'; 1024])));
    StreamBody::new(stream::repeat_with(piece)).boxed()
}

/// Reads a response to its end.
pub(crate) async fn read(response: Response<Incoming>) -> Ended {
    let mut ended =
        Ended { bytes: 0, last: Bytes::new(), trailers: HeaderMap::new(), failed: false };
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => {
                ended.bytes += data.len();
                ended.last = data;
            }
            Ok(Err(frame)) => ended.trailers = frame.into_trailers().unwrap(),
            Err(_) => {
                ended.failed = true;
                break;
            }
        }
    }
    ended
}
