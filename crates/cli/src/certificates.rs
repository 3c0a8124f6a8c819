//! The certificate of a server: from files, or of its private CA.

use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

use anyhow::Context as _;
use gatekey_core::{Env, Timestamp};
use gatekey_listener::tls::{
    self, Judge, PrivateCa, Reload, ServedCertificate,
    judge::{Validity, validity},
    reload::log_problems,
};
use gatekey_server::{Config, Server, config::TlsMode, jobs::Renewal};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore,
        pki_types::{CertificateDer, pem::PemObject as _},
    },
};
use zeroize::Zeroizing;

use crate::{
    atomic_file, clock,
    data_dir::{CA_BUNDLE_FILE, CA_FILE, DataDir},
    trusted::{self, Kind, Refusal},
};

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

/// Reads a certificate and its private key from files, and logs who else can use the key.
pub(crate) fn read(cert: &Path, key: &Path) -> anyhow::Result<ServedCertificate> {
    let (chain, private_key) = tls::read_files(cert, key, read_key)?;
    ServedCertificate::new(chain, &private_key).with_context(|| {
        let (cert, key) = (cert.display(), key.display());
        format!("the certificate in {cert} and the private key in {key} cannot be used together")
    })
}

/// Reads the file of a private key that only Gatekey should be able to use.
fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let (bytes, exposure) = trusted::read(path, Kind::TlsKey).map_err(|refusal| match refusal {
        Refusal::Missing { path, .. } => {
            format!("{path} cannot be read: No such file or directory")
        }
        Refusal::Refused(message) => message,
    })?;
    if let Some(exposure) = exposure {
        exposure.log();
    }
    Ok(bytes)
}

/// Returns what judges chains for a server's public host.
pub(crate) fn judge(config: &Config) -> Judge {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Judge::new(config.server.public_host(), Arc::new(roots))
}

/// Logs that the private CA is not valid yet: it was created while the clock was ahead.
fn log_early_ca(ca: &PrivateCa, now: Timestamp) {
    let der = CertificateDer::from_pem_slice(ca.certificate().as_bytes()).ok();
    let valid = der.and_then(|der| validity(&der));
    if let Some(Validity { not_before, .. }) = valid
        && now < not_before
    {
        tracing::warn!(
            not_before = clock::rfc_3339(not_before),
            "the private CA is not valid yet, so clients reject its certificates: it was created while the clock was \
             ahead, or the clock is behind now"
        );
    }
}

/// TLS for a server, and the jobs that keep its certificate current.
#[derive(Default)]
pub(crate) struct Tls {
    /// The certificate that is served; `None` for plain HTTP.
    pub(crate) served: Option<Arc<ServedCertificate>>,
    /// `None` for plain HTTP.
    pub(crate) acceptor: Option<TlsAcceptor>,
    /// Renews a certificate of the private CA.
    pub(crate) renewal: Option<Renewal>,
    /// Reloads a certificate from files.
    pub(crate) reload: Option<Reload>,
}

impl Tls {
    pub(crate) fn new(config: &Config, ca: Option<PrivateCa>, env: &Env) -> anyhow::Result<Self> {
        let (served, renewal, reload) = match (&config.tls, ca) {
            (TlsMode::Plaintext, _) | (TlsMode::PrivateCa, None) => return Ok(Self::default()),
            (TlsMode::Files { cert, key }, _) => {
                let served = Arc::new(read(cert, key)?);
                let (cert, key) = (cert.clone(), key.clone());
                let (judge, env) = (judge(config), env.clone());
                log_problems(&judge, &served, &cert, env.now());
                let reload = Reload { cert, key, read_key, judge, env, served: served.clone() };
                (served, None, Some(reload))
            }
            (TlsMode::PrivateCa, Some(ca)) => {
                log_early_ca(&ca, env.now());
                let leaf = ca.issue_leaf(env)?;
                let served = Arc::new(ServedCertificate::new(leaf.chain, &leaf.key)?);
                let renewal = Renewal { ca, served: served.clone(), expires_at: leaf.expires_at };
                (served, Some(renewal), None)
            }
        };
        let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(served.clone())?));
        Ok(Self { served: Some(served), acceptor: Some(acceptor), renewal, reload })
    }
}
