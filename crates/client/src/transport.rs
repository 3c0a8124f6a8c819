//! Connections: which certificates are trusted, and one HTTP client for RPCs and logins alike.

use std::sync::{Arc, OnceLock};

use connectrpc::client::HttpClient;
use http::{Uri, uri::Scheme};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{Error, Protocol};

/// HTTP clients, made on first use: loading the system's roots is I/O, which building a client does not do.
pub(crate) struct Transport {
    authorities: Vec<CertificateDer<'static>>,
    allow_plaintext: bool,
    protocol: Protocol,
    tls: OnceLock<HttpClient>,
    plaintext: OnceLock<HttpClient>,
    plaintext_http2: OnceLock<HttpClient>,
}

impl Transport {
    /// `authorities` are trusted besides the system's.
    pub(crate) fn new(
        authorities: Vec<CertificateDer<'static>>,
        allow_plaintext: bool,
        protocol: Protocol,
    ) -> Self {
        Self {
            authorities,
            allow_plaintext,
            protocol,
            tls: OnceLock::new(),
            plaintext: OnceLock::new(),
            plaintext_http2: OnceLock::new(),
        }
    }

    /// The client for RPCs to an endpoint.
    pub(crate) fn for_calls(&self, plaintext: bool) -> HttpClient {
        match (plaintext, self.protocol) {
            (false, _) => self.tls(),
            // gRPC needs HTTP/2, which in the clear is a matter of prior knowledge (RFC 9113 section 3.3).
            (true, Protocol::Grpc) => {
                self.plaintext_http2.get_or_init(HttpClient::plaintext_http2_only).clone()
            }
            (true, Protocol::Connect | Protocol::GrpcWeb) => {
                self.plaintext.get_or_init(HttpClient::plaintext).clone()
            }
        }
    }

    /// The client for a token endpoint; a secret goes nowhere but over TLS unless plaintext was chosen.
    pub(crate) fn for_login(&self, token_endpoint: &Uri) -> Result<HttpClient, Error> {
        match token_endpoint.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(self.tls()),
            Some(scheme) if *scheme == Scheme::HTTP && self.allow_plaintext => {
                Ok(self.plaintext.get_or_init(HttpClient::plaintext).clone())
            }
            Some(_) | None => Err(Error::configuration(format!(
                "the server names {token_endpoint} as its token endpoint, which is not https; \
                 the secret was not sent there"
            ))),
        }
    }

    /// The client for an issuer's published keys, which must not be changed on their way.
    pub(crate) fn for_keys(&self, address: &Uri) -> Result<HttpClient, Error> {
        match address.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(self.tls()),
            Some(scheme) if *scheme == Scheme::HTTP && self.allow_plaintext => {
                Ok(self.plaintext.get_or_init(HttpClient::plaintext).clone())
            }
            Some(_) | None => Err(Error::configuration(format!(
                "{address} is not https; an issuer's keys are not fetched from there"
            ))),
        }
    }

    fn tls(&self) -> HttpClient {
        self.tls.get_or_init(|| HttpClient::with_tls(Arc::new(tls_configuration(&self.authorities)))).clone()
    }
}

/// Certificates in PEM; `origin` names where the text is from.
pub(crate) fn parse_authorities(pem: &[u8], origin: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let invalid = |why: &str| Error::configuration(format!("the CA certificates in {origin} {why}"));
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid("are not valid PEM").caused_by(error))?;
    if found.is_empty() {
        return Err(invalid("are missing: no BEGIN CERTIFICATE line"));
    }
    let mut roots = rustls::RootCertStore::empty();
    for certificate in &found {
        roots.add(certificate.clone()).map_err(|error| invalid("are not valid X.509").caused_by(error))?;
    }
    Ok(found)
}

fn tls_configuration(authorities: &[CertificateDer<'static>]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    // A system without roots, or with one that cannot be read, still serves those who bring their own; who
    // does not is told by the first handshake.
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
    fn a_secret_goes_to_https_alone_unless_plaintext_was_chosen() {
        let careful = Transport::new(Vec::new(), false, Protocol::Connect);
        let plain = Transport::new(Vec::new(), true, Protocol::Connect);
        let insecure = Uri::from_static("http://h/token");
        assert!(careful.for_login(&insecure).unwrap_err().to_string().contains("not https"));
        assert!(plain.for_login(&insecure).is_ok());
        assert!(careful.for_login(&Uri::from_static("https://h/token")).is_ok());
        assert!(plain.for_login(&Uri::from_static("ftp://h/token")).is_err());
        assert!(plain.for_login(&Uri::from_static("/token")).is_err());
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = parse_authorities(text.as_bytes(), "ca.pem").unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains("ca.pem"), "{error}");
        }
    }
}
