//! [`Connector`]: opens connections for an HTTP client, directly or through a proxy.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::Empty;
use hyper::{
    body::Bytes,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector, proxy::SocksV5},
    rt::TokioIo,
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tower::Service;

use crate::proxies::{InvalidProxy, Kind, Proxies, Proxy};

/// How long it may take to open a connection: name, TCP, proxy and its TLS.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long each address of a name may take to accept the connection.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How plaintext HTTP goes through an HTTP proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// Requests are sent to the proxy, with an absolute URL (RFC 9112 section 3.2.2). The caller
    /// adds [`Proxy::authorization`] to them.
    Forwarded,
    /// Through a tunnel, as `https` is. For HTTP/2.
    Tunneled,
}

/// Opens connections for an HTTP client, directly or through a proxy. Adds no TLS to the target.
#[derive(Clone)]
pub struct Connector {
    tcp: HttpConnector,
    proxies: Arc<Proxies>,
    plain: PlainHttp,
    /// For a proxy that is itself reached by `https`.
    tls: Arc<dyn Fn() -> Arc<ClientConfig> + Send + Sync>,
}

/// Why no connection was opened, apart from errors of the system.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Invalid(#[from] InvalidProxy),
    #[error("cannot reach the proxy {proxy}: {reason}")]
    Unreachable { proxy: String, reason: String, is_permanent: bool },
    #[error("the proxy {proxy} refused the connection: {reason}")]
    Refused { proxy: String, reason: String, is_permanent: bool },
    #[error("timed out after {} s", TIMEOUT.as_secs())]
    TimedOut,
}

impl Failure {
    /// Whether it fails again until someone changes a setting or the proxy.
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Invalid(_) => true,
            Self::Unreachable { is_permanent, .. } | Self::Refused { is_permanent, .. } => {
                *is_permanent
            }
            Self::TimedOut => false,
        }
    }
}

impl Connector {
    /// Creates a connector; `tls` is called for each connection to a proxy that is reached by
    /// `https`.
    pub fn new(
        proxies: Proxies,
        plain: PlainHttp,
        tls: impl Fn() -> Arc<ClientConfig> + Send + Sync + 'static,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(TCP_TIMEOUT));
        // The schemes of targets are the caller's business.
        tcp.enforce_http(false);
        Self { tcp, proxies: Arc::new(proxies), plain, tls: Arc::new(tls) }
    }

    /// Opens a connection to the host of a URL.
    ///
    /// # Errors
    /// A [`Failure`], or the error of the system.
    pub async fn open(mut self, url: Uri) -> Result<Stream, BoxError> {
        let opening = async {
            match self.proxies.clone().find(&url).map_err(Failure::from)? {
                None => Ok(Stream::new(self.tcp.call(url).await?.into_inner(), false)),
                Some(proxy) => self.open_through(proxy, url).await,
            }
        };
        timeout(TIMEOUT, opening).await.unwrap_or_else(|_| Err(Failure::TimedOut.into()))
    }

    async fn open_through(&mut self, proxy: &Proxy, url: Uri) -> Result<Stream, BoxError> {
        let refused = |reason: String, is_permanent| Failure::Refused {
            proxy: proxy.to_string(),
            reason,
            is_permanent,
        };
        match proxy.kind {
            Kind::Socks5 | Kind::Socks5h => {
                let mut socks = SocksV5::new(proxy.uri(), self.tcp.clone())
                    .local_dns(proxy.kind == Kind::Socks5);
                if let Some((user, password)) = proxy.user_and_password() {
                    socks = socks.with_auth(user.to_owned(), password.to_owned());
                }
                let tcp = socks.call(with_port(&url)).await;
                let tcp = tcp.map_err(|error| refused(with_causes(&error), false))?;
                Ok(Stream::new(tcp.into_inner(), false))
            }
            Kind::Http => {
                let tcp = self.reach(proxy).await?;
                self.use_proxy(tcp, proxy, &url).await
            }
            Kind::Https => {
                let tcp = self.reach(proxy).await?;
                let name = ServerName::try_from(proxy.host().to_owned())
                    .map_err(|_| refused("its name is invalid".to_owned(), true))?;
                let tls = TlsConnector::from((self.tls)()).connect(name, tcp).await;
                let tls = tls.map_err(|error| Failure::Unreachable {
                    proxy: proxy.to_string(),
                    reason: with_causes(&error),
                    is_permanent: is_untrusted(&error),
                })?;
                self.use_proxy(tls, proxy, &url).await
            }
        }
    }

    async fn reach(&mut self, proxy: &Proxy) -> Result<TcpStream, Failure> {
        let tcp = self.tcp.call(proxy.uri()).await.map_err(|error| Failure::Unreachable {
            proxy: proxy.to_string(),
            reason: with_causes(&error),
            is_permanent: false,
        })?;
        Ok(tcp.into_inner())
    }

    async fn use_proxy<S>(&self, stream: S, proxy: &Proxy, url: &Uri) -> Result<Stream, BoxError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        if url.scheme_str() == Some("http") && self.plain == PlainHttp::Forwarded {
            return Ok(Stream::new(stream, true));
        }
        Ok(tunnel(stream, proxy, url).await?)
    }
}

/// Asks a proxy for a tunnel (RFC 9110 section 9.3.6).
async fn tunnel<S>(stream: S, proxy: &Proxy, url: &Uri) -> Result<Stream, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let lost = |error: &dyn std::error::Error| Failure::Unreachable {
        proxy: proxy.to_string(),
        reason: with_causes(error),
        is_permanent: false,
    };
    let target = with_port(url);
    let target = target.authority().map(ToString::to_string).unwrap_or_default();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| lost(&error))?;
    // It ends when the tunnel takes over, or when the proxy refuses and `sender` is dropped.
    tokio::spawn(connection.with_upgrades());
    let mut request =
        Request::builder().method(Method::CONNECT).uri(&target).header(header::HOST, &target);
    if let Some(authorization) = proxy.authorization() {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|error| lost(&error))?;
    let response = sender.send_request(request).await.map_err(|error| lost(&error))?;
    let status = response.status();
    if !status.is_success() {
        let reason = match status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                format!("it answered {status}: write the URL as http://USER:PASSWORD@HOST:PORT")
            }
            _ => format!("it answered {status} to CONNECT {target}"),
        };
        return Err(Failure::Refused {
            proxy: proxy.to_string(),
            reason,
            is_permanent: status.is_client_error(),
        });
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| lost(&error))?;
    Ok(Stream::new(TokioIo::new(upgraded), false))
}

/// Whether a TLS handshake failed because of the certificate.
fn is_untrusted(error: &io::Error) -> bool {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
}

/// Adds the default port of the scheme.
fn with_port(url: &Uri) -> Uri {
    let host = url.host().unwrap_or_default();
    let scheme = url.scheme_str().unwrap_or("https");
    let port = url.port_u16().unwrap_or(if scheme == "http" { 80 } else { 443 });
    format!("{scheme}://{host}:{port}/").parse().unwrap_or_else(|_| url.clone())
}

/// An error with its causes, without repetitions.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, url: Uri) -> Self::Future {
        Box::pin(self.clone().open(url))
    }
}

/// A connection, with tokio's traits.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection to a server or to a proxy that forwards requests.
pub struct Stream {
    io: TokioIo<Box<dyn Io>>,
    is_forwarded: bool,
}

impl Stream {
    fn new(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, is_forwarded: bool) -> Self {
        Self { io: TokioIo::new(Box::new(io)), is_forwarded }
    }

    /// Returns the stream for code that uses tokio's traits.
    pub fn into_inner(self) -> Box<dyn Io> {
        self.io.into_inner()
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_forwarded)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, buffers)
    }
}
