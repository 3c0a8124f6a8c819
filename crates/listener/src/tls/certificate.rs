//! The certificate that is served, and the TLS configuration around it.

use std::{fs, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use zeroize::Zeroizing;

use super::error::TlsError;

/// The certificate that is served. It can be replaced while connections arrive.
#[derive(Debug)]
pub struct ServedCertificate(ArcSwap<CertifiedKey>);

impl ServedCertificate {
    /// Serves a certificate chain with its private key.
    ///
    /// # Errors
    /// When they do not match.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(certified(chain, key)?)))
    }

    /// Replaces the chain for new connections.
    ///
    /// # Errors
    /// When chain and key do not match; then the earlier chain stays.
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

/// Reads the file of a private key, after checking who else can use it.
pub type ReadKey = fn(&Path) -> Result<Zeroizing<Vec<u8>>, String>;

/// Reads a chain and its private key from PEM files.
///
/// # Errors
/// When a file cannot be read or contains something else.
pub fn read_files(
    cert: &Path,
    key: &Path,
    read_key: ReadKey,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let read = |path: &Path| {
        fs::read(path)
            .map_err(|cause| TlsError::Unreadable { path: path.display().to_string(), cause })
    };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&read(cert)?).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(TlsError::NotPem { path: cert.display().to_string(), expected: "certificate" });
    }
    let pem = read_key(key).map_err(TlsError::Refused)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsError::NotPem {
        path: key.display().to_string(),
        expected: "private key",
    })?;
    Ok((chain, key))
}

/// Configures TLS 1.2 and 1.3 with HTTP/2 and HTTP/1.1: gRPC clients need HTTP/2, the token
/// requests of public clients HTTP/1.1.
///
/// # Errors
/// When the cryptographic library does not support these versions.
pub fn server_config(certificate: Arc<ServedCertificate>) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
