//! Certificates: from files, or from a private CA of the server's own.

use std::{fs, io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

pub mod private_ca;
pub mod reload;

pub use private_ca::PrivateCa;

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        cause: io::Error,
    },
    /// A file is not PEM of the expected kind.
    #[error("{path} holds no {expected} in PEM")]
    NotPem {
        /// The file.
        path: String,
        /// What should be in it.
        expected: &'static str,
    },
    /// Certificate and key do not fit, or TLS refuses them.
    #[error("certificate and key are unusable: {0}")]
    Unusable(#[from] rustls::Error),
    /// The private CA could not sign.
    #[error("the private CA cannot sign: {0}")]
    Signing(#[from] rcgen::Error),
    /// The private CA's key is sealed under another root key.
    #[error(transparent)]
    Sealed(#[from] gatekey_core::root_key::CannotOpen),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] gatekey_core::StoreError),
    /// What is stored of the private CA is not what this program writes.
    #[error("the stored private CA is corrupt")]
    Corrupt,
}

/// The certificate that is served now; it can be replaced while connections come in.
#[derive(Debug)]
pub struct ServedCertificate(ArcSwap<CertifiedKey>);

impl ServedCertificate {
    /// Serves a certificate chain with its private key.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'static>) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(certified(chain, key)?)))
    }

    /// Serves another chain from now on.
    ///
    /// # Errors
    /// When chain and key do not fit; then the earlier one stays.
    pub fn replace(
        &self,
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<(), TlsError> {
        self.0.store(Arc::new(certified(chain, key)?));
        Ok(())
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<CertifiedKey, TlsError> {
    let key = aws_lc_rs::sign::any_supported_type(key)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match()?;
    Ok(certified)
}

/// Reads a chain and its private key from PEM files.
///
/// # Errors
/// When a file cannot be read or holds something else.
pub fn read_files(
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|cause| TlsError::Unreadable { path: path.display().to_string(), cause })
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(cert)?).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(TlsError::NotPem { path: cert.display().to_string(), expected: "certificate" });
    }
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| TlsError::NotPem { path: key.display().to_string(), expected: "private key" })?;
    Ok((chain, key))
}

/// TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1: gRPC clients need the one, public clients' token requests the
/// other.
///
/// # Errors
/// When the cryptographic library offers no such protocol version.
pub fn server_config(certificate: Arc<ServedCertificate>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
