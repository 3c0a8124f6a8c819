//! The certificate that Gatekey and the TLS floor share, so that both send the same number of
//! bytes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use gatekey_listener::tls::{self, ServedCertificate};
use tokio_rustls::TlsAcceptor;

/// A certificate and its private key, in files.
#[derive(Clone)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Creates a self-signed certificate on P-256, the smallest that a handshake can carry.
    pub(crate) fn make(directory: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let files = Self { chain: directory.join("chain.pem"), key: directory.join("key.pem") };
        fs::write(&files.chain, made.cert.pem())?;
        fs::write(&files.key, made.signing_key.serialize_pem())?;
        // Gatekey refuses a key that everyone can read.
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600))?;
        Ok(files)
    }

    /// TLS, configured as in Gatekey's server.
    pub(crate) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        // It belongs to this benchmark, so nothing has to be checked.
        let read_key = |path: &Path| fs::read(path).map(Into::into).map_err(|e| e.to_string());
        let (chain, key) = tls::read_files(&self.chain, &self.key, read_key)?;
        let config = tls::server_config(Arc::new(ServedCertificate::new(chain, &key)?))?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
