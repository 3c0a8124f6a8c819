//! The certificate of a server: from files, or of its private CA.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use anyhow::Context as _;
use gatekey_core::Env;
use gatekey_listener::tls::{self, PrivateCa, Reload, ServedCertificate};
use gatekey_server::{Config, Server, config::TlsMode, jobs::Renewal};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::{
    atomic_file,
    data_dir::DataDir,
    trusted::{self, Kind},
};

/// The CA's certificate, for clients.
pub(crate) const CA_FILE: &str = "ca.pem";
/// The CA's certificate with the system's roots, because `SSL_CERT_FILE` replaces the roots that a
/// client trusts.
pub(crate) const CA_BUNDLE_FILE: &str = "ca-bundle.pem";

/// Files of different systems with the root certificates that they trust. `SSL_CERT_FILE` is not
/// read: it may name a bundle of Gatekey.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Opens or creates the private CA, and writes its certificate for clients.
pub(crate) async fn private_ca(server: &Server, data_dir: &DataDir) -> anyhow::Result<PrivateCa> {
    let names = server_names(&server.config);
    let ca = PrivateCa::ensure(&*server.store, &server.root_key, &server.env, names).await?;
    let certificate = ca.certificate();
    atomic_file::write_public(&data_dir.file(CA_FILE), certificate.as_bytes())?;
    let roots = SYSTEM_ROOTS.iter().find_map(|path| fs::read_to_string(path).ok());
    if roots.is_none() {
        tracing::warn!(
            "no system root certificates found: {CA_BUNDLE_FILE} contains only this server's CA"
        );
    }
    let bundle = format!("{certificate}{}", roots.unwrap_or_default());
    atomic_file::write_public(&data_dir.file(CA_BUNDLE_FILE), bundle.as_bytes())?;
    Ok(ca)
}

/// Returns the names that clients may use for the server. The private CA is constrained to them.
fn server_names(config: &Config) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.insert(config.server.public_host().to_owned());
    let listening = config.server.listen.ip();
    if !listening.is_unspecified() {
        names.insert(listening.to_string());
    }
    names
}

/// Reads a certificate and its private key from files.
pub(crate) fn read(cert: &Path, key: &Path) -> anyhow::Result<ServedCertificate> {
    let (chain, private_key) = tls::read_files(cert, key, read_key)?;
    ServedCertificate::new(chain, &private_key).with_context(|| {
        let (cert, key) = (cert.display(), key.display());
        format!("the certificate in {cert} and the private key in {key} cannot be used together")
    })
}

/// Reads the file of a private key that only Gatekey should be able to use.
fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let (bytes, exposure) =
        trusted::read(path, Kind::TlsKey).map_err(|refusal| refusal.to_string())?;
    if let Some(exposure) = exposure {
        exposure.log();
    }
    Ok(bytes)
}

/// TLS for a server, and the jobs that keep its certificate current.
#[derive(Default)]
pub(crate) struct Tls {
    /// `None` for plain HTTP.
    pub(crate) acceptor: Option<TlsAcceptor>,
    /// Renews a certificate of the private CA.
    pub(crate) renewal: Option<Renewal>,
    /// Reloads a certificate from files.
    pub(crate) reload: Option<Reload>,
}

impl Tls {
    pub(crate) fn new(mode: &TlsMode, ca: Option<PrivateCa>, env: &Env) -> anyhow::Result<Self> {
        let (served, renewal, reload) = match (mode, ca) {
            (TlsMode::Plaintext, _) | (TlsMode::PrivateCa, None) => return Ok(Self::default()),
            (TlsMode::Files { cert, key }, _) => {
                let served = Arc::new(read(cert, key)?);
                let (cert, key) = (cert.clone(), key.clone());
                let reload = Reload { cert, key, read_key, served: served.clone() };
                (served, None, Some(reload))
            }
            (TlsMode::PrivateCa, Some(ca)) => {
                let leaf = ca.issue_leaf(env)?;
                let served = Arc::new(ServedCertificate::new(leaf.chain, &leaf.key)?);
                let renewal = Renewal { ca, served: served.clone(), expires_at: leaf.expires_at };
                (served, Some(renewal), None)
            }
        };
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(served)?));
        Ok(Self { acceptor: Some(acceptor), renewal, reload })
    }
}
