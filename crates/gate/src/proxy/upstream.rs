//! [`Upstream`]: a server that requests are passed on to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::http::{
    HeaderValue, Request, Response, Uri, Version, header,
    uri::{Authority, Parts, PathAndQuery, Scheme},
};
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use url::Url;

use super::{
    address::{Address, CONNECT_TIMEOUT, Stream, TIMED_OUT},
    failed::{Failed, with_causes},
    http1::{self, Http1},
    http2::{self, Http2},
    request_body::RequestBody,
};

/// Connections that a request may meet while they close.
const MAX_ATTEMPTS: usize = 4;

/// A server that requests are passed on to.
///
/// An `http` URL stands for HTTP/1.1, and for HTTP/2 by prior knowledge for gRPC. An `https` URL
/// stands for the protocol that the server chooses.
pub struct Upstream {
    address: Address,
    http1: Arc<Http1>,
    http2: Arc<Http2>,
    /// Whether a server with TLS last chose HTTP/2.
    chose_http2: AtomicBool,
}

/// A connection that a call uses. Dropping it before it is released cancels the call.
pub(super) enum Lease {
    Http1(http1::Lease),
    Http2 { _stream: http2::Slot },
}

impl Lease {
    /// The call has ended, and its connection is free for another.
    pub(super) fn give_back(&mut self) {
        match self {
            Self::Http1(lease) => lease.give_back(),
            Self::Http2 { .. } => {}
        }
    }
}

impl Upstream {
    /// Creates an upstream without connecting to it. `url` has a scheme, a host and possibly a
    /// port. `authorities` are trusted in addition to the system's.
    pub fn new(url: &Url, authorities: &[CertificateDer<'static>]) -> Self {
        let address = Address::new(url, authorities);
        Self {
            address,
            http1: Arc::default(),
            http2: Arc::default(),
            chose_http2: AtomicBool::new(false),
        }
    }

    /// Sends a request, and returns the response with the connection that it uses.
    pub(super) async fn send(
        &self,
        request: Request<RequestBody>,
        host: HeaderValue,
        is_grpc: bool,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        if !self.address.is_tls() && !is_grpc {
            return self.send_by_http1(request, host, None).await;
        }
        if !self.address.is_tls() || self.chose_http2.load(Ordering::Relaxed) {
            return self.send_by_http2(request, host, None).await;
        }
        if !is_grpc && self.http1.is_connected() {
            return self.send_by_http1(request, host, None).await;
        }
        // The server chooses the protocol.
        let stream = self.address.connect(true).await?;
        if stream.is_http2() {
            self.chose_http2.store(true, Ordering::Relaxed);
            self.send_by_http2(request, host, Some(stream)).await
        } else {
            self.send_by_http1(request, host, Some(stream)).await
        }
    }

    /// Sends a request that begins a tunnel, on a connection of its own.
    pub(super) async fn upgrade(
        &self,
        request: Request<RequestBody>,
        host: HeaderValue,
    ) -> Result<Response<Incoming>, Failed> {
        let slot = self.http1.slot().ok_or(Failed::Full)?;
        let stream = self.address.connect(false).await?;
        Http1::upgrade(stream, slot, http1_request(request, host)).await
    }

    /// Host and port, as a label.
    pub(super) fn name(&self) -> String {
        self.address.to_string()
    }

    /// Connections, and calls on those over HTTP/2.
    pub(super) fn connections(&self) -> [(&'static str, usize); 2] {
        [("http1", self.http1.connections()), ("http2", self.http2.connections())]
    }

    async fn send_by_http1(
        &self,
        request: Request<RequestBody>,
        host: HeaderValue,
        mut stream: Option<Stream>,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let mut request = http1_request(request, host);
        loop {
            let (mut lease, is_new) =
                if let Some(lease) = self.http1.idle().filter(|_| stream.is_none()) {
                    (lease, false)
                } else {
                    let slot = self.http1.slot().ok_or(Failed::Full)?;
                    let stream = match stream.take() {
                        Some(stream) => stream,
                        None => self.address.connect(false).await?,
                    };
                    (self.http1.handshake(stream, slot).await?, true)
                };
            match lease.send(request).await {
                Ok(response) => return Ok((response, Lease::Http1(lease))),
                // The connection was closed meanwhile, and took nothing of the request.
                Err((_, Some(unsent))) if !is_new => request = unsent,
                Err((error, _)) => return Err(Failed::Lost(with_causes(&error))),
            }
        }
    }

    async fn send_by_http2(
        &self,
        request: Request<RequestBody>,
        host: HeaderValue,
        mut stream: Option<Stream>,
    ) -> Result<(Response<Incoming>, Lease), Failed> {
        let scheme = if self.address.is_tls() { Scheme::HTTPS } else { Scheme::HTTP };
        let mut request = http2_request(request, &host, scheme).map_err(Failed::Host)?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let connect = async {
                let stream = match stream.take() {
                    Some(stream) => stream,
                    None => self.address.connect(true).await?,
                };
                if self.address.is_tls() && !stream.is_http2() {
                    self.chose_http2.store(false, Ordering::Relaxed);
                    return Err(Failed::Unreachable("it does not speak HTTP/2".to_owned()));
                }
                let handshake = timeout(CONNECT_TIMEOUT, Http2::handshake(stream)).await;
                handshake.unwrap_or_else(|_| Err(Failed::Unreachable(TIMED_OUT.to_owned())))
            };
            let (mut connection, slot) = self.http2.connection(connect).await?;
            match connection.try_send_request(request).await {
                Ok(response) => return Ok((response, Lease::Http2 { _stream: slot })),
                Err(mut failed) => match failed.take_message() {
                    // The connection was closed meanwhile, and took nothing of the request.
                    Some(unsent) if attempts < MAX_ATTEMPTS => request = unsent,
                    _ => return Err(Failed::Lost(with_causes(&failed.into_error()))),
                },
            }
        }
    }
}

/// Turns a request into one of HTTP/1.1, in origin form.
fn http1_request(request: Request<RequestBody>, host: HeaderValue) -> Request<RequestBody> {
    let (mut head, body) = request.into_parts();
    head.version = Version::HTTP_11;
    head.uri = target(&mut head.uri).map_or_else(Uri::default, Uri::from);
    head.headers.insert(header::HOST, host);
    Request::from_parts(head, body)
}

/// Turns a request into one of HTTP/2.
fn http2_request(
    request: Request<RequestBody>,
    host: &HeaderValue,
    scheme: Scheme,
) -> Result<Request<RequestBody>, axum::http::Error> {
    let (mut head, body) = request.into_parts();
    head.version = Version::HTTP_2;
    head.headers.remove(header::HOST);
    let mut uri = Parts::default();
    uri.scheme = Some(scheme);
    uri.path_and_query = target(&mut head.uri);
    uri.authority = Some(Authority::try_from(host.as_bytes())?);
    head.uri = Uri::from_parts(uri)?;
    Ok(Request::from_parts(head, body))
}

/// Takes path and query.
fn target(uri: &mut Uri) -> Option<PathAndQuery> {
    std::mem::take(uri).into_parts().path_and_query
}
