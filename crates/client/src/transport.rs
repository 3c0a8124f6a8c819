//! [`Transport`]: the HTTP clients for RPCs, logins and an issuer's keys, and the certificates that
//! they trust.

use std::sync::{Arc, OnceLock};

use connectrpc::{
    ConnectError,
    client::{BoxFuture, ClientBody, ClientTransport},
};
use gatekey_outbound::{Connector, PlainHttp, Proxies};
use http::{Request, Response, Uri, header, uri::Scheme};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy, rt::TokioExecutor};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{Error, Protocol, endpoint::is_loopback_address, error::one_line, failed::Failed};

/// Where requests may go over plaintext HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plaintext {
    Never,
    /// To loopback addresses.
    Loopback,
    Anywhere,
}

impl Plaintext {
    /// Plaintext anywhere must be `allowed`. A server that is itself reached by `http` may name
    /// further URLs like that, on loopback.
    pub(crate) fn new(allowed: bool, server_is_plaintext: bool) -> Self {
        match (allowed, server_is_plaintext) {
            (true, _) => Self::Anywhere,
            (false, true) => Self::Loopback,
            (false, false) => Self::Never,
        }
    }

    fn permits(self, url: &Uri) -> bool {
        url.scheme() == Some(&Scheme::HTTP)
            && match self {
                Self::Never => false,
                Self::Loopback => url.host().is_some_and(is_loopback_address),
                Self::Anywhere => true,
            }
    }
}

/// CA certificates to trust in addition to the system's.
#[derive(Clone, Default)]
pub(crate) struct TrustedCertificates {
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// Where they come from, for messages.
    pub(crate) sources: Vec<String>,
}

/// HTTP clients, created on first use: the first one reads the system's CA certificates.
pub(crate) struct Transport {
    trusted: Arc<TrustedCertificates>,
    allowed: Plaintext,
    protocol: Protocol,
    proxies: Proxies,
    tls: OnceLock<Http>,
    plaintext: OnceLock<Http>,
    plaintext_http2: OnceLock<Http>,
}

impl Transport {
    pub(crate) fn new(
        trusted: TrustedCertificates,
        allowed: Plaintext,
        protocol: Protocol,
        proxies: Proxies,
    ) -> Self {
        Self {
            trusted: Arc::new(trusted),
            allowed,
            protocol,
            proxies,
            tls: OnceLock::new(),
            plaintext: OnceLock::new(),
            plaintext_http2: OnceLock::new(),
        }
    }

    pub(crate) fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    pub(crate) fn for_calls(&self, plaintext: bool) -> Http {
        match (plaintext, self.protocol) {
            (false, _) => self.tls(),
            // gRPC needs HTTP/2, which plaintext clients use by prior knowledge (RFC 9113 section
            // 3.3).
            (true, Protocol::Grpc) => {
                self.plaintext_http2.get_or_init(|| self.plain(PlainHttp::Tunneled)).clone()
            }
            (true, Protocol::Connect | Protocol::GrpcWeb) => self.plaintext(),
        }
    }

    /// Returns the client for a token endpoint. Sends the secret only over TLS, unless plaintext is
    /// allowed.
    pub(crate) fn for_login(&self, token_endpoint: &Uri) -> Result<Http, Error> {
        self.for_url(token_endpoint).ok_or_else(|| {
            Error::configuration(format!(
                "the server's token endpoint {} is not https, so the secret was not sent; start the server with an \
                 https `--public-url`, or allow plain HTTP with `--plaintext` (`plaintext=True` in Python)",
                one_line(&token_endpoint.to_string())
            ))
        })
    }

    /// Returns the client for an issuer's keys, which must not be changed in transit.
    pub(crate) fn for_keys(&self, address: &Uri) -> Result<Http, Error> {
        self.for_url(address).ok_or_else(|| {
            Error::configuration(format!(
                "the URL {} of the issuer is not https, so its keys are not fetched",
                one_line(&address.to_string())
            ))
        })
    }

    fn for_url(&self, url: &Uri) -> Option<Http> {
        if url.scheme() == Some(&Scheme::HTTPS) {
            Some(self.tls())
        } else {
            self.allowed.permits(url).then(|| self.plaintext())
        }
    }

    fn plaintext(&self) -> Http {
        self.plaintext.get_or_init(|| self.plain(PlainHttp::Forwarded)).clone()
    }

    fn plain(&self, plain: PlainHttp) -> Http {
        let client = legacy::Client::builder(TokioExecutor::new())
            .http2_only(plain == PlainHttp::Tunneled)
            .build(self.connector(plain));
        self.http(Pool::Plain(client, plain))
    }

    fn tls(&self) -> Http {
        let create = || {
            let connector = HttpsConnectorBuilder::new()
                .with_tls_config(tls_configuration(&self.trusted.certificates))
                .https_only()
                .enable_all_versions()
                .wrap_connector(self.connector(PlainHttp::Tunneled));
            let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
            self.http(Pool::Tls(client))
        };
        self.tls.get_or_init(create).clone()
    }

    fn http(&self, pool: Pool) -> Http {
        let (trusted, proxies) = (self.trusted.clone(), self.proxies.clone());
        Http(Arc::new(Inner { pool, trusted, proxies }))
    }

    fn connector(&self, plain: PlainHttp) -> Connector {
        let trusted = self.trusted.clone();
        let tls = move || Arc::new(tls_configuration(&trusted.certificates));
        Connector::new(self.proxies.clone(), plain, tls)
    }
}

/// An HTTP client with a pool of connections.
#[derive(Clone)]
pub(crate) struct Http(Arc<Inner>);

struct Inner {
    pool: Pool,
    trusted: Arc<TrustedCertificates>,
    proxies: Proxies,
}

enum Pool {
    Tls(legacy::Client<HttpsConnector<Connector>, ClientBody>),
    Plain(legacy::Client<Connector, ClientBody>, PlainHttp),
}

impl ClientTransport for Http {
    type ResponseBody = Incoming;
    type Error = ConnectError;

    fn send(
        &self,
        mut request: Request<ClientBody>,
    ) -> BoxFuture<'static, Result<Response<Incoming>, ConnectError>> {
        let Inner { pool, trusted, proxies } = &*self.0;
        let sending = match pool {
            Pool::Tls(client) => client.request(request),
            Pool::Plain(client, plain) => {
                // A proxy that forwards the request reads this; a tunnel has sent it already.
                if *plain == PlainHttp::Forwarded
                    && let Ok(Some(proxy)) = proxies.find(request.uri())
                    && let Some(authorization) = proxy.authorization()
                {
                    request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization);
                }
                client.request(request)
            }
        };
        let trusted = trusted.clone();
        Box::pin(async move {
            sending.await.map_err(|source| {
                let failed = Failed { source, trusted: trusted.sources.clone() };
                ConnectError::unavailable_from_transport("HTTP request failed", failed)
            })
        })
    }
}

/// Reads certificates in PEM. `origin` names their source in an error.
pub(crate) fn parse_authorities(
    pem: &[u8],
    origin: &str,
) -> Result<Vec<CertificateDer<'static>>, Error> {
    let invalid =
        |why: &str| Error::configuration(format!("the CA certificates in {origin} {why}"));
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid("are not valid PEM").caused_by(error))?;
    if found.is_empty() {
        return Err(invalid("are missing; a PEM file has a BEGIN CERTIFICATE line"));
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in &found {
        roots
            .add(certificate.clone())
            .map_err(|error| invalid("are not valid X.509").caused_by(error))?;
    }
    Ok(found)
}

fn tls_configuration(authorities: &[CertificateDer<'static>]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    // Continue if the system has no readable CA certificates: `authorities` may suffice. If they do
    // not, the first handshake fails.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(authorities.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_sent_only_over_https_by_default() {
        let sends = |allowed, url: &'static str| {
            Transport::new(
                TrustedCertificates::default(),
                allowed,
                Protocol::Connect,
                Proxies::default(),
            )
            .for_login(&Uri::from_static(url))
            .is_ok()
        };
        for (url, never, loopback, anywhere) in [
            ("https://h/token", true, true, true),
            ("http://h/token", false, false, true),
            ("http://127.0.0.1:1/token", false, true, true),
            ("http://[::1]/token", false, true, true),
            ("http://localhost/token", false, false, true),
            ("http://127.0.0.1.example.com/token", false, false, true),
            ("ftp://127.0.0.1/token", false, false, false),
            ("/token", false, false, false),
        ] {
            assert_eq!(sends(Plaintext::Never, url), never, "{url}");
            assert_eq!(sends(Plaintext::Loopback, url), loopback, "{url}");
            assert_eq!(sends(Plaintext::Anywhere, url), anywhere, "{url}");
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let error = parse_authorities(text.as_bytes(), "ca.pem").unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains("ca.pem"), "{error}");
        }
    }
}
