//! [`TlsError`].

use std::io;

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {cause}")]
    Unreadable { path: String, cause: io::Error },
    /// The file of the private key cannot be read or is not trusted.
    #[error("{0}")]
    Refused(String),
    /// A file is not PEM, or PEM of something else.
    #[error("{path} contains no {expected} in PEM format")]
    NotPem { path: String, expected: &'static str },
    /// Certificate and key do not match, or TLS refuses them.
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
    /// The stored data of the private CA cannot be parsed.
    #[error("the stored private CA is corrupt")]
    Corrupt,
}
