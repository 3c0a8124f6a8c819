//! The certificate that is served, and the TLS configuration around it.

use std::{fs, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use gatekey_core::Timestamp;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use webpki::EndEntityCert;
use zeroize::Zeroizing;

use super::{error::TlsError, judge};

/// The certificate that is served. It can be replaced while connections arrive.
#[derive(Debug)]
pub struct ServedCertificate(ArcSwap<Served>);

#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    expires_at: Option<Timestamp>,
}

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

    /// Returns when the first certificate of the chain expires; `None` if that is not known.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.0.load().expires_at
    }

    /// Returns the chain that is served.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.0.load().key.cert.clone()
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load().key.clone())
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
) -> Result<Served, TlsError> {
    let key = aws_lc_rs::sign::any_supported_type(key)?;
    let certified = CertifiedKey::new(chain, key);
    if let Err(error) = certified.keys_match() {
        let of_key = |der: &CertificateDer<'static>| {
            let alone = CertifiedKey::new(vec![der.clone()], certified.key.clone());
            matches!(alone.keys_match(), Ok(()))
        };
        return Err(match certified.cert.iter().position(of_key) {
            Some(index) => TlsError::NotFirst { number: index + 1 },
            None => error.into(),
        });
    }
    let dates = certified.cert.iter().filter_map(judge::validity);
    let expires_at = dates.map(|validity| validity.not_after).min();
    Ok(Served { key: Arc::new(certified), expires_at })
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
    let chain = parse_chain(cert, &read(cert)?)?;
    let pem = read_key(key).map_err(TlsError::Refused)?;
    Ok((chain, parse_key(key, &pem)?))
}

fn parse_chain(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let path = path.display().to_string();
    check_encoding(&path, pem)?;
    let mut chain = Vec::new();
    for parsed in CertificateDer::pem_slice_iter(pem) {
        let number = chain.len() + 1;
        let damaged = || TlsError::Damaged { path: path.clone(), number };
        let certificate = parsed.map_err(|_| damaged())?;
        // Any other error may be a rule of this verifier alone.
        if let Err(webpki::Error::BadDer | webpki::Error::TrailingData(_)) =
            EndEntityCert::try_from(&certificate)
        {
            return Err(damaged());
        }
        chain.push(certificate);
    }
    if chain.is_empty() {
        return Err(not_pem(path, pem, "certificate"));
    }
    Ok(chain)
}

fn parse_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let path = path.display().to_string();
    check_encoding(&path, pem)?;
    let contains = |text: &str| pem.windows(text.len()).any(|part| part == text.as_bytes());
    PrivateKeyDer::from_pem_slice(pem).map_err(|_| {
        // PKCS #8, and the older form of OpenSSL.
        if contains("BEGIN ENCRYPTED PRIVATE KEY") || contains("Proc-Type: 4,ENCRYPTED") {
            TlsError::Encrypted { path }
        } else {
            not_pem(path, pem, "private key")
        }
    })
}

/// Refuses a byte order mark: the PEM parser would skip what follows it.
fn check_encoding(path: &str, bytes: &[u8]) -> Result<(), TlsError> {
    let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
    if marks.iter().any(|mark| bytes.starts_with(mark)) {
        return Err(TlsError::ByteOrderMark { path: path.to_owned() });
    }
    Ok(())
}

fn not_pem(path: String, bytes: &[u8], expected: &'static str) -> TlsError {
    // The tag of a sequence, with which certificates and keys begin.
    if bytes.first() == Some(&0x30) {
        let command = if expected == "certificate" { "x509" } else { "pkey" };
        return TlsError::Der { path, command };
    }
    TlsError::NotPem { path, expected }
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
