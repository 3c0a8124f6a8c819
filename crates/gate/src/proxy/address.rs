//! [`Address`]: where an upstream is, and how to connect to it.

use std::{fmt, io, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use url::{Host, Url};

use super::failed::{Failed, with_causes};

/// How long it may take to connect: name, TCP and TLS; and again for the settings of HTTP/2.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) const TIMED_OUT: &str = "timed out";

const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// How to connect to an upstream.
pub(super) struct Address {
    host: Box<str>,
    port: u16,
    tls: Option<Tls>,
}

struct Tls {
    name: ServerName<'static>,
    /// Offers both protocols.
    any: TlsConnector,
    http1: TlsConnector,
}

/// A connection, before HTTP.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Address {
    /// `url` has a scheme, a host and possibly a port. `authorities` are trusted in addition to the
    /// system's.
    pub(super) fn new(url: &Url, authorities: &[CertificateDer<'static>]) -> Self {
        let host = match url.host() {
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => String::new(),
        };
        let is_tls = url.scheme() == "https";
        let port = url.port().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = is_tls.then(|| Tls::new(&host, authorities)).flatten();
        Self { host: host.into(), port, tls }
    }

    pub(super) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Opens a connection; over TLS, the server may choose HTTP/2 if that is offered.
    ///
    /// On the heap, like the handshakes that follow: most calls find a connection, and need not
    /// have room for what opens one.
    pub(super) async fn connect(&self, http2: bool) -> Result<Stream, Failed> {
        let connect = Box::pin(async {
            let stream = TcpStream::connect((&*self.host, self.port)).await?;
            let _ = stream.set_nodelay(true);
            let Some(tls) = &self.tls else { return Ok(Stream::Plain(stream)) };
            let connector = if http2 { &tls.any } else { &tls.http1 };
            let stream = connector.connect(tls.name.clone(), stream).await?;
            Ok(Stream::Tls(Box::new(stream)))
        });
        let connected = timeout(CONNECT_TIMEOUT, connect).await;
        let connected = connected.unwrap_or_else(|_| Err(io::Error::other(TIMED_OUT)));
        connected.map_err(|error| Failed::Unreachable(with_causes(&error)))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.host, self.port)
    }
}

impl Tls {
    /// `None` if the host cannot be a name in a certificate.
    fn new(host: &str, authorities: &[CertificateDer<'static>]) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        // A system without root certificates is fine for an upstream with its own CA.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        roots.add_parsable_certificates(authorities.iter().cloned());
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider supports the default protocol versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        Some(Self {
            name: ServerName::try_from(host.to_owned()).ok()?,
            any: offering(&[HTTP2, HTTP1]),
            http1: offering(&[HTTP1]),
        })
    }
}

impl Stream {
    /// Whether the server chose HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP2),
        }
    }
}
