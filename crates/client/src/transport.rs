//! [`Transport`]: the HTTP clients for RPCs, logins and an issuer's keys, and the certificates that
//! they trust.

use std::sync::{Arc, OnceLock};

use connectrpc::client::HttpClient;
use http::{Uri, uri::Scheme};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use crate::{Error, Protocol};

/// HTTP clients, created on first use: the first one reads the system's CA certificates.
pub(crate) struct Transport {
    authorities: Vec<CertificateDer<'static>>,
    allow_plaintext: bool,
    protocol: Protocol,
    tls: OnceLock<HttpClient>,
    plaintext: OnceLock<HttpClient>,
    plaintext_http2: OnceLock<HttpClient>,
}

impl Transport {
    /// Trusts `authorities` in addition to the system's CA certificates.
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

    pub(crate) fn for_calls(&self, plaintext: bool) -> HttpClient {
        match (plaintext, self.protocol) {
            (false, _) => self.tls(),
            // gRPC needs HTTP/2, which plaintext clients use by prior knowledge (RFC 9113 section
            // 3.3).
            (true, Protocol::Grpc) => {
                self.plaintext_http2.get_or_init(HttpClient::plaintext_http2_only).clone()
            }
            (true, Protocol::Connect | Protocol::GrpcWeb) => {
                self.plaintext.get_or_init(HttpClient::plaintext).clone()
            }
        }
    }

    /// Returns the client for a token endpoint. Sends the secret only over TLS, unless plaintext is
    /// allowed.
    pub(crate) fn for_login(&self, token_endpoint: &Uri) -> Result<HttpClient, Error> {
        match token_endpoint.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(self.tls()),
            Some(scheme) if *scheme == Scheme::HTTP && self.allow_plaintext => {
                Ok(self.plaintext.get_or_init(HttpClient::plaintext).clone())
            }
            Some(_) | None => Err(Error::configuration(format!(
                "the server's token endpoint {token_endpoint} is not https, so the secret was not sent"
            ))),
        }
    }

    /// Returns the client for an issuer's keys, which must not be changed in transit.
    pub(crate) fn for_keys(&self, address: &Uri) -> Result<HttpClient, Error> {
        match address.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Ok(self.tls()),
            Some(scheme) if *scheme == Scheme::HTTP && self.allow_plaintext => {
                Ok(self.plaintext.get_or_init(HttpClient::plaintext).clone())
            }
            Some(_) | None => Err(Error::configuration(format!(
                "the URL {address} of the issuer is not https, so its keys are not fetched"
            ))),
        }
    }

    fn tls(&self) -> HttpClient {
        self.tls
            .get_or_init(|| HttpClient::with_tls(Arc::new(tls_configuration(&self.authorities))))
            .clone()
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
        for text in ["", "hello", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
        {
            let error = parse_authorities(text.as_bytes(), "ca.pem").unwrap_err();
            assert!(error.is_configuration() && error.to_string().contains("ca.pem"), "{error}");
        }
    }
}
