//! The server under check: its address, the CAs to trust, and single requests to it.

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use gatekey_outbound::{Connector, Io, PlainHttp, Proxies, Proxy};
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{body::Bytes, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};
use url::{Host, Url};

use crate::exit;

/// The time that one step over the network may take.
pub(super) const STEP_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_RESPONSE_BYTES: usize = 1 << 20;

/// A server, and the CAs to trust.
pub(crate) struct Target {
    pub(super) url: Url,
    /// The system's roots and the CA file's certificates.
    pub(super) roots: Arc<RootCertStore>,
    /// The system's roots only.
    pub(super) system: Arc<RootCertStore>,
    /// The path of the CA file.
    pub(super) ca_file: Option<String>,
    /// The first address of the server's name that accepts connections, once it was found.
    pub(crate) address: Option<SocketAddr>,
    proxies: Proxies,
}

impl Target {
    /// Reads a URL, `host:port` or `dns:///host:port`, and the CA file.
    pub(crate) fn new(
        text: &str,
        ca_file: Option<&Path>,
        proxies: Proxies,
    ) -> anyhow::Result<Self> {
        let bare = text.trim();
        let bare = bare.strip_prefix("dns:///").unwrap_or(bare);
        let url = if bare.contains("://") {
            Url::parse(bare)
        } else {
            Url::parse(&format!("https://{bare}"))
        };
        let url = url.map_err(|error| exit::usage(format!("invalid URL {text:?}: {error}")))?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() || !is_bare {
            return Err(exit::usage(format!(
                "{text:?} is not the URL of a server; write https://HOST or https://HOST:PORT"
            )));
        }
        let mut system = RootCertStore::empty();
        system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let mut roots = system.clone();
        if let Some(file) = ca_file {
            let shown = file.display();
            let pem = fs::read(file).map_err(|error| {
                exit::usage(format!("cannot read the CA file {shown}: {error}"))
            })?;
            let (added, _) = roots.add_parsable_certificates(
                CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok),
            );
            if added == 0 {
                return Err(exit::usage(format!(
                    "the CA file {shown} contains no PEM certificate"
                )));
            }
        }
        let ca_file = ca_file.map(|file| file.display().to_string());
        let (roots, system) = (Arc::new(roots), Arc::new(system));
        let target = Self { url, roots, system, ca_file, address: None, proxies };
        target.proxies.find(&target.uri()).map_err(|error| exit::usage(error.to_string()))?;
        Ok(target)
    }

    fn uri(&self) -> Uri {
        self.url.as_str().parse().unwrap_or_default()
    }

    /// The proxy that leads to the server.
    pub(super) fn proxy(&self) -> Option<&Proxy> {
        // `new` has checked it.
        self.proxies.find(&self.uri()).ok().flatten()
    }

    pub(super) fn is_plaintext(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// The host, without brackets around an IPv6 address.
    pub(super) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    pub(super) fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// The URL without a trailing slash, as an issuer is written.
    pub(super) fn issuer(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// The host, with the port unless it is the scheme's default, as encoded credentials name a
    /// server.
    pub(super) fn endpoint(&self) -> &str {
        self.issuer().split_once("://").map_or("", |(_, endpoint)| endpoint)
    }

    pub(super) fn server_name(&self) -> anyhow::Result<ServerName<'static>> {
        Ok(match self.url.host() {
            Some(Host::Ipv4(address)) => ServerName::from(std::net::IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => ServerName::from(std::net::IpAddr::V6(address)),
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned())?,
            None => bail!("the URL has no host"),
        })
    }

    /// Connects to the server, through the proxy if there is one.
    pub(super) async fn tcp(&self) -> anyhow::Result<Box<dyn Io>> {
        if self.proxy().is_some() {
            let tls = tls_config(&self.roots)?;
            let connector = Connector::new(self.proxies.clone(), PlainHttp::Tunneled, move || {
                tls.clone().into()
            });
            let stream = connector.open(self.uri()).await.map_err(anyhow::Error::from_boxed)?;
            return Ok(stream.into_inner());
        }
        let address = self.address.context("the server's address is unknown")?;
        Ok(Box::new(TcpStream::connect(address).await?))
    }

    /// Connects with TLS, offering protocols for ALPN.
    pub(super) async fn tls(
        &self,
        roots: &Arc<RootCertStore>,
        protocols: &[&str],
    ) -> anyhow::Result<TlsStream<Box<dyn Io>>> {
        let mut config = tls_config(roots)?;
        config.alpn_protocols =
            protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let connecting = async {
            let connector = TlsConnector::from(Arc::new(config));
            Ok(connector.connect(self.server_name()?, self.tcp().await?).await?)
        };
        timeout(STEP_TIMEOUT, connecting).await.with_context(timed_out)?
    }

    /// Sends a GET request for JSON.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.request(Method::GET, path, "", None).await
    }

    /// Makes a Connect call with an empty JSON message.
    pub(super) async fn call(&self, procedure: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.request(Method::POST, procedure, "{}", None).await
    }

    /// Makes such a call with an access token, if there is one.
    pub(crate) async fn call_as(
        &self,
        procedure: &str,
        token: Option<&str>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        self.request(Method::POST, procedure, "{}", token).await
    }

    /// Makes a gRPC call with an empty message, over HTTP/2 without negotiation where there is no
    /// TLS. Returns the status in gRPC.
    pub(super) async fn grpc_status(&self, procedure: &str) -> anyhow::Result<u32> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{procedure}", self.issuer()))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(Full::new(Bytes::from_static(&[0; 5])))?;
        let exchange = async {
            let stream: Box<dyn Io> = if self.is_plaintext() {
                self.tcp().await?
            } else {
                Box::new(self.tls(&self.roots, &["h2"]).await?)
            };
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            let driving = tokio::spawn(connection);
            let answer = sender.send_request(request).await?;
            let in_headers = grpc_status(answer.headers());
            let body = Limited::new(answer.into_body(), MAX_RESPONSE_BYTES).collect().await;
            let body = body.map_err(anyhow::Error::from_boxed)?;
            driving.abort();
            in_headers
                .or(body.trailers().and_then(grpc_status))
                .context("the response has no status of gRPC")
        };
        timeout(STEP_TIMEOUT, exchange).await.with_context(timed_out)?
    }

    /// Sends a request over HTTP/1.1 on a new connection. A body that is not JSON becomes `null`.
    async fn request(
        &self,
        method: Method,
        path: &str,
        body: &'static str,
        token: Option<&str>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = Request::builder();
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .method(method)
            .uri(path)
            .header(header::HOST, self.endpoint())
            .header(header::USER_AGENT, concat!("gatekey-doctor/", env!("CARGO_PKG_VERSION")))
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .header("connect-protocol-version", "1")
            .body(Full::new(Bytes::from_static(body.as_bytes())))?;
        let exchange = async {
            if self.is_plaintext() {
                exchange(self.tcp().await?, request).await
            } else {
                exchange(self.tls(&self.roots, &["http/1.1"]).await?, request).await
            }
        };
        timeout(STEP_TIMEOUT, exchange).await.with_context(timed_out)?
    }
}

/// The status of a gRPC response. It is in the headers of one without a message, and otherwise in
/// the trailers.
fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

fn tls_config(roots: &Arc<RootCertStore>) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots.clone())
        .with_no_client_auth())
}

fn timed_out() -> String {
    format!("timed out after {} s", STEP_TIMEOUT.as_secs())
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> anyhow::Result<(StatusCode, Value)> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driving = tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), MAX_RESPONSE_BYTES).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed)?;
    driving.abort();
    Ok((status, serde_json::from_slice(&body.to_bytes()).unwrap_or(Value::Null)))
}

/// An error with its causes, without repetitions.
pub(super) fn causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
