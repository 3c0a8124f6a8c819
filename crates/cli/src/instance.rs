//! Opens the store, root key, signing keys and private CA of a data directory.

use std::{path::PathBuf, sync::Arc};

use anyhow::anyhow;
use gatekey_core::{
    Env, RootKey, StoreError,
    feed::{Freshness, FreshnessLimits, SystemMoments},
    seal::Sealed,
    signing_key::{SigningKeyError, Start},
};
use gatekey_listener::tls::PrivateCa;
use gatekey_outbound::Proxies;
use gatekey_server::{
    Config, Server,
    config::TlsMode,
    server::{Caches, Parts, UpstreamAuthorities},
};
use gatekey_store::SqliteStore;
use gatekey_telemetry::{RequestLog, Traces, traces::export};

use crate::{
    certificates, clock,
    data_dir::{CA_FILE, DataDir},
    database::{self, Opened, TakenOver},
    exit,
    last_start::{Address, LastStart},
    process::local_caller,
    root_key_file::{self, RootKeyPath},
};

/// A server on a data directory, before it listens.
pub(crate) struct Instance {
    pub(crate) server: Server,
    pub(crate) data_dir: DataDir,
    /// The private CA, if the server uses it and the mode opens it.
    pub(crate) ca: Option<PrivateCa>,
    /// Ends when another server has taken the database over; never for an embedded one.
    pub(crate) taken_over: TakenOver,
}

/// The purpose of an instance, which determines what it may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// To serve: the signing key and the private CA follow the configuration.
    Serve,
    /// To administer it before its first start: the private CA is created, for clients to trust.
    Initialize,
    /// To administer it: changes only what an operation changes.
    Administer,
    /// Like `Administer`, but accepts a database from before the root key's newest version.
    AdministerOlder,
}

/// How an instance is opened.
pub(crate) struct OpenOptions<'a> {
    pub(crate) config: Config,
    pub(crate) root_key_file: &'a RootKeyPath,
    pub(crate) mode: OpenMode,
    pub(crate) env: Env,
    pub(crate) request_log: Arc<dyn RequestLog>,
    pub(crate) traces: Option<Traces>,
}

/// The proxies that the environment names.
fn proxies() -> Proxies {
    #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
    Proxies::from_variables(&|name| std::env::var(name).ok())
}

impl Instance {
    pub(crate) async fn open(
        mut data_dir: DataDir,
        options: OpenOptions<'_>,
    ) -> anyhow::Result<Self> {
        let OpenOptions { config, root_key_file, mode, env, request_log, traces } = options;
        let root_key = match &config.database {
            Some(_) => {
                database::refuse_embedded(data_dir.path())?;
                let found = root_key_file::open(root_key_file)?;
                found.ok_or_else(|| database::no_root_key(root_key_file.path()))?
            }
            None => data_dir.root_key(root_key_file, &env)?,
        };
        let root_key = Arc::new(match mode {
            OpenMode::AdministerOlder => root_key.for_an_older_store(),
            OpenMode::Serve | OpenMode::Initialize | OpenMode::Administer => root_key,
        });
        let freshness = match &config.database {
            Some(_) => Freshness::following(Arc::new(SystemMoments), FreshnessLimits::default()),
            None => Freshness::current(),
        };
        let caches = Caches::following(root_key.clone(), freshness);
        let Opened { store, taken_over } = if let Some(named) = &config.database {
            database::open(named, data_dir.path(), &root_key, &caches, &env, traces.as_ref())?
        } else {
            let store = SqliteStore::open(&data_dir.database(), &root_key, caches.observer())?
                .with_tracer(traces.as_ref().map(Traces::store_tracer));
            Opened { store: Arc::new(store), taken_over: Box::pin(std::future::pending()) }
        };
        let place = match &config.database {
            Some(named) => named.url.clone(),
            None => data_dir.database().display().to_string(),
        };
        let upstream_authorities = match mode {
            OpenMode::Serve => upstream_authorities(&config)?,
            OpenMode::Initialize | OpenMode::Administer | OpenMode::AdministerOlder => {
                UpstreamAuthorities::default()
            }
        };
        let server = Server::new(Parts {
            config,
            store,
            caches,
            root_key,
            env,
            request_log,
            traces,
            upstream_authorities,
            proxies: proxies(),
        });
        // A server that never ran has published nothing that a verifier could have cached. Another
        // server may have run on the same database, which only the database shows.
        let has_run = LastStart::read(data_dir.path()).is_some()
            || server.config.database.is_some() && has_signing_keys(&server).await?;
        let start = if has_run { Start::Ahead } else { Start::Now };
        load(&server, mode, start, &place).await?;
        check_root_key(&server, mode).await;
        // Not earlier: only an opened database proves that the directory is Gatekey's.
        data_dir.hide_from_git()?;
        let ca = match (&server.config.tls, mode) {
            (TlsMode::PrivateCa, OpenMode::Serve | OpenMode::Initialize) => {
                Some(certificates::private_ca(&server, &data_dir).await?)
            }
            (_, _) => None,
        };
        data_dir.keep();
        Ok(Self { server, data_dir, ca, taken_over })
    }

    /// Returns the server's address for clients.
    pub(crate) fn address(&self) -> Address {
        Address {
            url: self.server.config.server.issuer().to_owned(),
            ca_file: self.ca.as_ref().map(|_| self.data_dir.file(CA_FILE)),
            pid: std::process::id(),
            admin_url: None,
        }
    }
}

/// Reads the CA certificates that upstreams are checked with. Those of issuers are read again
/// whenever keys are fetched; reading them here reports an unusable file at the start.
fn upstream_authorities(config: &Config) -> anyhow::Result<UpstreamAuthorities> {
    let files = config.gate.upstreams.iter().filter_map(|upstream| upstream.ca_file.as_ref());
    let read = |file: &PathBuf| {
        let read = export::authorities(file);
        Ok((file.clone(), read.map_err(|error| exit::usage(format!("gate.upstreams: {error}")))?))
    };
    for file in config.gate.issuers.iter().filter_map(|issuer| issuer.ca_file.as_ref()) {
        let read = export::authorities(file);
        read.map_err(|error| exit::usage(format!("gate.issuers: {error}")))?;
    }
    files.map(read).collect()
}

async fn has_signing_keys(server: &Server) -> anyhow::Result<bool> {
    Ok(!server.store.signing_keys().await?.is_empty())
}

/// Loads the signing keys and the directory. To serve, creates the signing key if there is none.
async fn load(server: &Server, mode: OpenMode, start: Start, place: &str) -> anyhow::Result<()> {
    let entry = Sealed::new_entry(&server.env, &local_caller(&server.env));
    let sealed = server.store.seal_store(entry).await;
    if let Some(Sealed { api_keys, .. }) = sealed.map_err(|error| unreadable(place, error))? {
        tracing::warn!(
            api_keys,
            "sealed the rows of the database under the root key; run `gatekey root-key rotate` once, so that the \
             database from before seals is refused"
        );
    }
    let algorithm = (mode == OpenMode::Serve).then_some(server.config.keys.signing_algorithm);
    let ensured =
        server.operations.signing_keys.ensure(&local_caller(&server.env), algorithm, start).await;
    let next = ensured.map_err(|error| match error {
        SigningKeyError::Store(error) => unreadable(place, error),
        SigningKeyError::Unusable(_) => anyhow::Error::new(error).context(
            "cannot decrypt the signing keys; name the root key that belongs to the data directory with \
             --root-key-file",
        ),
        SigningKeyError::NextExists(_) => error.into(),
    })?;
    if let (Some(next), Start::Ahead) = (next, start) {
        tracing::warn!(
            kid = next.kid,
            signs_from = clock::rfc_3339(next.signs_from),
            "published a signing key for the configured algorithm; it signs later, or now with `gatekey signing-key \
             rotate --now`"
        );
    }
    match server.store.load().await {
        // Nothing is served, and `gatekey ledger` must be able to show what happened.
        Err(StoreError::Tampered(reason))
            if matches!(mode, OpenMode::Administer | OpenMode::AdministerOlder) =>
        {
            tracing::error!(%reason, "the database does not match its seal: the server will not start");
            Ok(())
        }
        loaded => loaded.map_err(|error| unreadable(place, error)),
    }
}

/// Finishes an interrupted change of the root key's file, and logs what the operator has to do.
async fn check_root_key(server: &Server, mode: OpenMode) {
    let root_key: &RootKey = &server.root_key;
    if let Some(version) = root_key.version_not_in_use() {
        tracing::warn!(
            version,
            in_use = root_key.version(),
            "the root key file has a version that is not in use: run `gatekey root-key rotate` to use it"
        );
    }
    if mode == OpenMode::Serve
        && let Err(error) = server.operations.root_keys.clear_pending_mark().await
    {
        tracing::warn!(%error, "cannot remove the word pending from the root key file: remove it by hand");
    }
    if mode == OpenMode::Serve
        && let Err(error) = server.operations.root_keys.reseal_rows().await
    {
        tracing::warn!(%error, "failed to seal all rows under the newest root key; the next start continues");
    }
}

/// Adds a hint to the error of an unreadable database.
fn unreadable(database: &str, error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Corrupt(reason) => {
            anyhow!("{database} is damaged ({reason}); restore a backup")
        }
        StoreError::Tampered(reason) => {
            anyhow!("{database} does not match its seal ({reason}); restore a backup")
        }
        StoreError::Unreadable(reason) => anyhow!(
            "{database} is damaged, or the disk cannot read it ({reason}); if the kernel log shows no disk errors, \
             restore a backup"
        ),
        StoreError::Unavailable(_) | StoreError::Conflict | StoreError::LastAdmin => {
            anyhow::Error::new(error).context(format!("cannot read {database}"))
        }
    }
}
