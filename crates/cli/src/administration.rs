//! Administers a data directory: through the server that runs on it, or directly.

use std::{io::Write as _, path::PathBuf, sync::Arc};

use anyhow::{Context as _, bail};
use gatekey_core::{
    Env, Timestamp,
    operations::{ErrorKind, backup::Passphrase},
};
use gatekey_server::{
    config::Settings,
    control::{BackUp, BackupHeader, Failure, Operation, Request},
};
use gatekey_telemetry::NoRequestLog;
use tokio::io::AsyncReadExt as _;

use crate::{
    atomic_file::NewFile,
    control_socket,
    data_dir::{self, DataDir, DataDirPath},
    exit::{self, Coded},
    instance::{Instance, OpenMode, OpenOptions},
    last_start::{Address, LastStart},
    process::local_caller,
    root_key_file::RootKeyPath,
    settings,
};

/// Executes operations on a data directory.
pub(crate) enum Administration {
    /// The server that runs on the directory executes them.
    Server(DataDirPath),
    /// This process executes them.
    Local {
        instance: Box<Instance>,
        /// The server's address once it runs.
        address: Address,
        /// Whether nothing says what the address will be.
        is_guess: bool,
    },
}

impl Administration {
    /// Opens a data directory, and creates it unless it exists.
    ///
    /// `holder` names this command to other processes that cannot lock the directory.
    pub(crate) async fn open(
        path: &DataDirPath,
        settings: Settings,
        holder: &str,
    ) -> anyhow::Result<Self> {
        Self::open_in(path, settings, holder, OpenMode::Administer).await
    }

    /// Opens a data directory with a database.
    pub(crate) async fn open_existing(
        path: &DataDirPath,
        settings: Settings,
        holder: &str,
    ) -> anyhow::Result<Self> {
        must_have_database(path, &settings)?;
        Self::open(path, settings, holder).await
    }

    /// Opens a data directory with a database, even a database from before the root key's newest
    /// version.
    pub(crate) async fn open_older(
        path: &DataDirPath,
        settings: Settings,
        holder: &str,
    ) -> anyhow::Result<Self> {
        must_have_database(path, &settings)?;
        Self::open_in(path, settings, holder, OpenMode::AdministerOlder).await
    }

    async fn open_in(
        path: &DataDirPath,
        settings: Settings,
        holder: &str,
        mode: OpenMode,
    ) -> anyhow::Result<Self> {
        let data_dir = match DataDir::open(path, holder) {
            Ok(data_dir) => data_dir,
            Err(error) if exit::code(&error) == exit::IN_USE => {
                return Ok(Self::Server(path.clone()));
            }
            Err(error) => return Err(error),
        };
        // New keys are for the server as it was last started, unless another URL is given.
        let is_named = settings.contains("server.public_url") || settings.contains("server.listen");
        let last_start = LastStart::read(data_dir.path());
        let settings = LastStart::with_database(last_start.as_ref(), settings)?;
        let last_start = last_start.filter(|_| !is_named);
        let settings = match &last_start {
            Some(last_start) => settings.or(last_start.settings()?),
            None => settings,
        };
        // With port 0, the address is unknown until the server listens.
        let is_guess = last_start.is_none()
            && !settings.contains("server.public_url")
            && (!settings.contains("server.listen") || settings.listen().port() == 0);
        let is_first = last_start.is_none() && mode == OpenMode::Administer;
        let root_key_file = RootKeyPath::new(settings.root_key_file(), data_dir.path());
        let options = OpenOptions {
            config: settings::resolve(&settings, settings.listen())?,
            root_key_file: &root_key_file,
            mode: if is_first { OpenMode::Initialize } else { mode },
            env: Env::system(),
            request_log: Arc::new(NoRequestLog),
            traces: None,
        };
        let instance = Instance::open(data_dir, options).await?;
        let address = last_start.map_or_else(|| instance.address(), |start| start.address);
        Ok(Self::Local { instance: Box::new(instance), address, is_guess })
    }

    /// Returns the server's address for clients. A server that is starting has not written it yet,
    /// so execute an operation first.
    pub(crate) fn address(&self) -> anyhow::Result<Address> {
        match self {
            Self::Server(path) => {
                let (path, _) = data_dir::find(path)?;
                let start = LastStart::read(&path)
                    .context("cannot read server.json of the running server")?;
                Ok(start.address)
            }
            Self::Local { address, .. } => Ok(address.clone()),
        }
    }

    /// Whether the server's address is a guess, because it was never started or configured here.
    pub(crate) fn is_guess(&self) -> bool {
        matches!(self, Self::Local { is_guess: true, .. })
    }

    /// Executes an operation, by the server or by this process.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub(crate) async fn execute<O: Operation>(&self, operation: O) -> anyhow::Result<O::Answer> {
        let answer = match self {
            Self::Server(path) => control_socket::execute(path, operation).await?,
            Self::Local { instance, .. } => {
                let caller = local_caller(&instance.server.env);
                operation.execute(&instance.server.control(), &caller).await.map_err(Failure::from)
            }
        };
        answer.map_err(failed)
    }

    /// Writes a backup to a file, and returns when the copy of the store was taken.
    ///
    /// # Errors
    /// When it cannot be taken or written, or is cut off.
    pub(crate) async fn back_up(
        &self,
        passphrase: Option<Passphrase>,
        file: &mut NewFile,
    ) -> anyhow::Result<Timestamp> {
        match self {
            Self::Server(path) => {
                let request = Request::BackUp(BackUp { passphrase });
                let (answer, mut stream) = control_socket::send(path, &request).await?;
                let BackupHeader { length, created_at } = answer.map_err(failed)?;
                let mut left = length;
                let mut bytes = vec![0; 64 * 1024];
                while left > 0 {
                    let read = stream.read(&mut bytes).await?;
                    if read == 0 {
                        bail!("the server stopped before the backup was complete");
                    }
                    file.write_all(&bytes[..read])?;
                    left = left
                        .checked_sub(read as u64)
                        .context("the server sent more than it announced")?;
                }
                Ok(created_at)
            }
            Self::Local { instance, .. } => {
                let caller = local_caller(&instance.server.env);
                let snapshot = instance.server.operations.back_up(&caller, passphrase).await;
                let backup = snapshot.map_err(|error| failed(error.into()))?.seal()?;
                let created_at = backup.created_at();
                backup.write(file)?;
                Ok(created_at)
            }
        }
    }
}

/// Checks that a directory has a database, unless the data is in PostgreSQL.
fn must_have_database(path: &DataDirPath, settings: &Settings) -> anyhow::Result<()> {
    if settings.database().is_some() || last_database(path).is_some() {
        return Ok(());
    }
    must_exist(path).map(drop)
}

/// Returns the URL of the PostgreSQL database that the last server with a directory used.
fn last_database(path: &DataDirPath) -> Option<String> {
    let (path, _) = data_dir::find(path).ok()?;
    LastStart::read(&path)?.database
}

/// Checks that a directory has a database, and returns the path of the database.
pub(crate) fn must_exist(path: &DataDirPath) -> anyhow::Result<PathBuf> {
    let database = data_dir::find(path)?.0.join(data_dir::DATABASE);
    // Not `exists`, which takes a directory that may not be entered for an empty one.
    match database.symlink_metadata() {
        Ok(_) => Ok(database),
        Err(error) => match last_database(path) {
            Some(database) => Err(exit::usage(format!(
                "the data is in {database}; this command reads only the embedded database"
            ))),
            None => Err(data_dir::unreadable(path.path(), &error)),
        },
    }
}

/// Gives a failure its exit code.
pub(crate) fn failed(failure: Failure) -> anyhow::Error {
    let Failure { kind, message } = failure;
    let (code, message) = match kind {
        ErrorKind::AlreadyExists => {
            (exit::ALREADY_EXISTS, format!("{message}, or use --rotate to give it a new secret"))
        }
        ErrorKind::NotFound => (exit::NOT_FOUND, message),
        ErrorKind::Invalid => (exit::USAGE, message),
        ErrorKind::Unavailable => (exit::UNAVAILABLE, message),
        ErrorKind::BrokenLedger => (exit::UNSOUND, message),
        ErrorKind::Failed => (exit::FAILURE, message),
    };
    Coded { code, message }.into()
}
