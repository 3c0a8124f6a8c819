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
    #[error("{path} starts with a byte order mark; save it as plain text without one")]
    ByteOrderMark { path: String },
    /// The private key needs a passphrase.
    #[error(
        "the private key in {path} is encrypted, and Gatekey cannot ask for its passphrase; decrypt it with: \
         openssl pkey -in {path} -out NEW"
    )]
    Encrypted { path: String },
    #[error(
        "{path} is in DER format; convert it with: openssl {command} -inform DER -in {path} -out NEW"
    )]
    Der { path: String, command: &'static str },
    /// A certificate of a chain, counted from 1, cannot be parsed.
    #[error("certificate {number} in {path} is damaged; clients would reject the chain")]
    Damaged { path: String, number: usize },
    /// The server's own certificate does not come first.
    #[error(
        "the private key belongs to certificate {number} of the file; the server's own certificate must be the first"
    )]
    NotFirst { number: usize },
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
