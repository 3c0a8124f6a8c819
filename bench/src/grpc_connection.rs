//! [`GrpcConnection`]: unary gRPC calls, one after the other, over one HTTP/2 connection.

use anyhow::{Context as _, ensure};
use axum::body::Bytes;
use http::{HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

pub(crate) struct GrpcConnection {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl GrpcConnection {
    /// Connects without TLS.
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { sender, authority: address.to_owned() })
    }

    /// Makes a call that is written as an HTTP/1.1 request.
    ///
    /// # Errors
    /// When the call fails.
    pub(crate) async fn call(&mut self, request: &[u8]) -> anyhow::Result<()> {
        let request = self.request(request)?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        ensure!(response.status() == 200, "not 200: {}", response.status());
        let in_headers = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await?;
        let in_trailers = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        let status = in_headers.as_ref().or(in_trailers);
        ensure!(status.is_some_and(|status| status == "0"), "grpc-status is {status:?}");
        Ok(())
    }

    fn request(&self, request: &[u8]) -> anyhow::Result<Request<Full<Bytes>>> {
        let end =
            request.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("a whole head")?;
        let mut lines = std::str::from_utf8(&request[..end])?.lines();
        let mut line = lines.next().unwrap_or_default().split(' ');
        let method = line.next().context("a method")?;
        let path = line.next().context("a path")?;
        let body = Full::new(Bytes::copy_from_slice(&request[end + 4..]));
        let uri = format!("http://{}{path}", self.authority);
        let mut built = Request::builder().method(method).uri(uri).body(body)?;
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            if name != "host" && name != "content-length" {
                built.headers_mut().append(HeaderName::try_from(name)?, value.parse()?);
            }
        }
        built.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        Ok(built)
    }
}
