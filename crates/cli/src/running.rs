//! The composition root: store, application, certificates and sockets of a running server.

use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anyhow::{Context as _, anyhow};
use gatekey_core::{Caller, Env, StoreError, signing_key::SigningKeyError};
use gatekey_listener::{
    Listener, serve,
    tls::{self, PrivateCa, Reload, ServedCertificate},
};
use gatekey_server::{
    App, Config, admin,
    app::Memory,
    config::{InvalidSetting, Origin, Settings, TlsMode, setting},
    control::{self, Control},
    maintenance, router,
};
use gatekey_store::SqliteStore;
use gatekey_telemetry::{RequestLog, Traces};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    data_dir::{self, DataDir},
    exit, process,
};

/// How long requests under way may take once the server is told to stop.
const DRAIN: Duration = Duration::from_secs(20);

/// An application over a data directory, not serving yet.
pub(crate) struct Opened {
    pub(crate) app: App,
    pub(crate) data_dir: DataDir,
    /// The private CA, where the server has one.
    ca: Option<PrivateCa>,
}

/// Where a server can be found: the ready file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) pid: u32,
    /// Where probes and Prometheus are answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin_url: Option<String>,
}

/// What a data directory remembers of the server's last start: keys made while it is down are for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastStart {
    #[serde(flatten)]
    pub(crate) address: Address,
    pub(crate) organization: String,
}

impl LastStart {
    /// Its name in the data directory.
    pub(crate) const FILE: &str = "server.json";

    /// Of a data directory; `None` before the first start.
    pub(crate) fn read(data_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(data_dir.join(Self::FILE)).ok()?).ok()
    }

    /// Returns the settings of the last start that keys depend on.
    pub(crate) fn settings(&self) -> Result<Settings, InvalidSetting> {
        let mut settings = Settings::default();
        let url = self.address.url.as_str();
        settings.set(setting("server.public_url"), url, Origin::LastStart)?;
        settings.set(setting("server.organization"), self.organization.as_str(), Origin::LastStart)?;
        if url.starts_with("http://") {
            settings.set(setting("tls.plaintext"), true, Origin::LastStart)?;
        }
        Ok(settings)
    }
}

/// What an application is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To serve: signing key and private CA become what the configuration says.
    Serve,
    /// To administer before the first start: a private CA is made, for clients to trust.
    AdministerNew,
    /// To administer what has served before: nothing but what is asked for changes.
    Administer,
    /// The same, where somebody may have put back a database from before the root key's newest version.
    AdministerOlder,
}

/// Somebody on this machine.
pub(crate) fn local_caller(env: &Env) -> Caller {
    Caller::local(env, process::own_uid(), concat!("gatekey/", env!("CARGO_PKG_VERSION")))
}

/// Checks settings, and reports every invalid one.
pub(crate) fn resolve(settings: &Settings, listening: SocketAddr) -> anyhow::Result<Config> {
    settings.resolve(listening).map_err(|invalid| {
        let lines: Vec<_> = invalid.iter().map(ToString::to_string).collect();
        exit::usage(lines.join("\n"))
    })
}

impl Opened {
    /// Opens store, root key, signing keys and private CA of a data directory.
    pub(crate) async fn open(
        data_dir: DataDir,
        config: Config,
        root_key_file: &Path,
        env: Env,
        purpose: Purpose,
        request_log: Arc<dyn RequestLog>,
        traces: Option<Traces>,
    ) -> anyhow::Result<Self> {
        let root_key = data_dir.root_key(root_key_file, &env)?;
        let root_key = Arc::new(match purpose {
            Purpose::AdministerOlder => root_key.for_an_older_store(),
            Purpose::Serve | Purpose::AdministerNew | Purpose::Administer => root_key,
        });
        let memory = Memory::new(root_key.clone());
        let store = SqliteStore::open(&data_dir.database(), &root_key, memory.observer())?
            .with_tracer(traces.as_ref().map(Traces::store_tracer));
        let app = App::new(config, Arc::new(store), memory, root_key, env, request_log, traces);
        let caller = local_caller(&app.env);
        let algorithm = (purpose == Purpose::Serve).then_some(app.config.keys.signing_algorithm);
        let unreadable = |error| unreadable(&data_dir.database(), error);
        app.operations.signing_keys.ensure(&caller, algorithm).await.map_err(|error| match error {
            SigningKeyError::Store(error) => unreadable(error),
            SigningKeyError::Unusable(_) => anyhow::Error::new(error).context(
                "cannot decrypt the signing keys; name the root key that belongs to the data directory with \
                 --root-key-file",
            ),
        })?;
        app.store.load().await.map_err(unreadable)?;
        if let Some(version) = app.root_key.version_not_in_use() {
            tracing::warn!(
                version,
                in_use = app.root_key.version(),
                "the root key file has a version that is not in use: run `gatekey root-key rotate` to use it"
            );
        }
        if purpose == Purpose::Serve
            && let Err(error) = app.operations.root_keys.clear_pending_mark().await
        {
            tracing::warn!(%error, "cannot remove the word pending from the root key file: remove it by hand");
        }
        // Only now is it known that the directory is ours.
        data_dir.hide_from_git()?;
        let ca = match app.config.tls {
            TlsMode::PrivateCa if matches!(purpose, Purpose::Serve | Purpose::AdministerNew) => {
                let names = names_of(&app.config);
                let ca = PrivateCa::ensure(&*app.store, &app.root_key, &app.env, names).await?;
                write_ca_files(&data_dir, ca.certificate())?;
                Some(ca)
            }
            TlsMode::PrivateCa | TlsMode::Files { .. } | TlsMode::Plaintext => None,
        };
        Ok(Self { app, data_dir, ca })
    }

    /// Where clients find the server, and what they must trust.
    pub(crate) fn address(&self) -> Address {
        Address {
            url: self.app.config.server.issuer().to_owned(),
            ca_file: self.ca.as_ref().map(|_| self.data_dir.file("ca.pem")),
            pid: std::process::id(),
            admin_url: None,
        }
    }

    /// Begins to serve on a listener; and to answer probes on another, where there is one.
    pub(crate) fn start(self, listener: TcpListener, admin: Option<TcpListener>) -> anyhow::Result<Running> {
        if let Err(error) = process::raise_descriptor_limit() {
            tracing::warn!(%error, "cannot raise the limit on open files");
        }
        let mut address = self.address();
        if let Some(admin) = &admin {
            let listening = admin.local_addr()?;
            if !listening.ip().is_loopback() {
                tracing::warn!(%listening, "probes and metrics are served unencrypted to other machines");
            }
            address.admin_url = Some(format!("http://{listening}"));
        }
        let Self { app, data_dir, ca } = self;
        let Secured { acceptor, renewal, reload } = secure(&app, ca)?;
        let only_from = if acceptor.is_none() && !app.config.server.listen.ip().is_loopback() {
            app.config.server.trusted_proxies.clone()
        } else {
            Vec::new()
        };
        let control = bind_control_socket(&data_dir)?;
        let start =
            LastStart { address: address.clone(), organization: app.config.server.organization.clone() };
        data_dir::write_public(&data_dir.file(LastStart::FILE), &serde_json::to_vec(&start)?)?;
        let mut background = vec![
            tokio::spawn(control::serve(Control::new(&app), control, process::own_uid())),
            tokio::spawn(maintenance::run(app.clone(), renewal)),
        ];
        if let Some(reload) = reload {
            let (tell, told) = mpsc::channel(1);
            // Caught only where there is something to load: else SIGHUP ends the process, as anywhere.
            let mut hangups = signal(SignalKind::hangup())?;
            background.push(tokio::spawn(async move {
                while hangups.recv().await.is_some() {
                    let _ = tell.send(()).await;
                }
            }));
            background.push(tokio::spawn(reload.run(told)));
        }
        if let Some(listener) = admin {
            // It answers until all else has been drained: a probe is told that the server is stopping.
            let acceptor =
                Listener { socket: listener, tls: None, only_from: Vec::new(), drain: Duration::ZERO };
            background.push(tokio::spawn(serve(acceptor, admin::router(&app), std::future::pending())));
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let acceptor = Listener { socket: listener, tls: acceptor, only_from, drain: DRAIN };
        let serving = tokio::spawn(serve(acceptor, router::service(&app), async move {
            let _ = stopped.await;
        }));
        tracing::info!(
            url = address.url,
            admin_url = address.admin_url,
            listen = %app.config.server.listen,
            data_dir = %data_dir.path().display(),
            keys = app.directory.len(),
            signing_algorithm = %app.config.keys.signing_algorithm,
            "serving"
        );
        Ok(Running { app, data_dir, address, stop, serving, background })
    }
}

/// A server that accepts connections.
pub(crate) struct Running {
    pub(crate) app: App,
    pub(crate) data_dir: DataDir,
    pub(crate) address: Address,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    background: Vec<JoinHandle<()>>,
}

impl Running {
    /// Drains connections, writes and sends what is only in memory, and gives the data directory back.
    pub(crate) async fn stop(self) {
        self.app.stopping.store(true, Ordering::Relaxed);
        let _ = self.stop.send(());
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the accept loop panicked");
        }
        for task in self.background {
            task.abort();
        }
        maintenance::flush(&self.app).await;
        maintenance::log_ledger_head(&self.app).await;
        if let Some(traces) = &self.app.telemetry.traces {
            traces.stop().await;
        }
        let _ = std::fs::remove_file(self.data_dir.file(control::SOCKET));
        tracing::info!("stopped");
    }
}

/// Binds a socket that a server is to listen on; the flag is how people choose another.
pub(crate) async fn bind(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!(": another process uses the port; choose another with {flag}")
            }
            io::ErrorKind::PermissionDenied => {
                format!(": ports below 1024 need a privilege; choose another with {flag}")
            }
            _ => String::new(),
        };
        anyhow::Error::new(error).context(format!("cannot listen on {address}{hint}"))
    })
}

/// The names that the private CA is for: what clients may call the server.
fn names_of(config: &Config) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    names.insert(config.server.public_host().to_owned());
    let listening = config.server.listen.ip();
    if !listening.is_unspecified() {
        names.insert(listening.to_string());
    }
    names
}

/// Adds what to do about a database that cannot be read.
fn unreadable(database: &Path, error: StoreError) -> anyhow::Error {
    let database = database.display();
    match error {
        StoreError::Corrupt(reason) => anyhow!("{database} is damaged ({reason}); restore a backup"),
        StoreError::Unreadable(reason) => anyhow!(
            "{database} is damaged, or the disk cannot read it ({reason}); if the kernel log shows no disk errors, \
             restore a backup"
        ),
        StoreError::Unavailable(_) | StoreError::Conflict => {
            anyhow::Error::new(error).context(format!("cannot read {database}"))
        }
    }
}

/// Where systems keep the roots that they trust, as one file.
const SYSTEM_ROOTS: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// `ca.pem` is ours alone; `ca-bundle.pem` has the system's roots as well, because `SSL_CERT_FILE` replaces
/// what a client trusts. That variable may name an earlier bundle of ours, so it is not asked for the roots.
fn write_ca_files(data_dir: &DataDir, certificate: &str) -> anyhow::Result<()> {
    data_dir::write_public(&data_dir.file("ca.pem"), certificate.as_bytes())?;
    let system = SYSTEM_ROOTS.iter().find_map(|path| std::fs::read_to_string(path).ok());
    if system.is_none() {
        tracing::warn!("no system root certificates found: ca-bundle.pem contains only this server's CA");
    }
    let bundle = format!("{certificate}{}", system.unwrap_or_default());
    data_dir::write_public(&data_dir.file("ca-bundle.pem"), bundle.as_bytes())?;
    Ok(())
}

/// A certificate and its private key from files.
pub(crate) fn certificate(cert: &Path, key: &Path) -> anyhow::Result<ServedCertificate> {
    let (chain, private_key) = tls::read_files(cert, key)?;
    ServedCertificate::new(chain, &private_key).with_context(|| {
        let (cert, key) = (cert.display(), key.display());
        format!("the certificate in {cert} and the private key in {key} cannot be used together")
    })
}

/// How connections are secured, and what keeps that up.
struct Secured {
    /// `None` for plain HTTP.
    acceptor: Option<TlsAcceptor>,
    /// Of the private CA's certificate.
    renewal: Option<maintenance::Renewal>,
    /// Of a certificate from files.
    reload: Option<Reload>,
}

fn secure(app: &App, ca: Option<PrivateCa>) -> anyhow::Result<Secured> {
    let (served, renewal, reload) = match (&app.config.tls, ca) {
        (TlsMode::Plaintext, _) | (TlsMode::PrivateCa, None) => {
            return Ok(Secured { acceptor: None, renewal: None, reload: None });
        }
        (TlsMode::Files { cert, key }, _) => {
            let served = Arc::new(certificate(cert, key)?);
            let reload = Reload { cert: cert.clone(), key: key.clone(), served: served.clone() };
            (served, None, Some(reload))
        }
        (TlsMode::PrivateCa, Some(ca)) => {
            let leaf = ca.issue_leaf(&app.env)?;
            let served = Arc::new(ServedCertificate::new(leaf.chain, &leaf.key)?);
            let renewal = maintenance::Renewal { ca, served: served.clone(), expires_at: leaf.expires_at };
            (served, Some(renewal), None)
        }
    };
    let config = tls::server_config(served)?;
    Ok(Secured { acceptor: Some(TlsAcceptor::from(Arc::new(config))), renewal, reload })
}

/// Binds the control socket by the directory's descriptor: a socket's path may have 108 bytes at most, a data
/// directory's may have more.
fn bind_control_socket(data_dir: &DataDir) -> anyhow::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    let path = data_dir.file(control::SOCKET);
    let _ = std::fs::remove_file(&path);
    let directory = std::fs::File::open(data_dir.path())?;
    let short = format!("/proc/self/fd/{}/{}", directory.as_raw_fd(), control::SOCKET);
    let listener = UnixListener::bind(&short)
        .with_context(|| format!("cannot create the control socket {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
