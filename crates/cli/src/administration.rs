//! Local administration of a data directory: by the server that runs on it, or directly.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use gatekey_core::{
    Env, Timestamp,
    operations::{ErrorKind, backup::Passphrase},
};
use gatekey_server::{
    config,
    control::{BackUp, BackupHeader, Control, Failure, Operation, Request},
};
use gatekey_telemetry::NoRequestLog;
use tokio::io::AsyncReadExt as _;

use crate::{
    control_client,
    data_dir::{self, DataDir, NewFile},
    exit::{self, Coded},
    running::{self, Address, LastStart, Opened, Purpose},
};

/// Who carries requests out on a data directory.
pub(crate) enum Administration {
    /// The server that runs on the directory, asked over its control socket.
    Server(PathBuf),
    /// This process: nothing serves. Clients will find the server at that address.
    Itself(Box<Opened>, Address),
}

impl Administration {
    /// Of a data directory, which is made unless it exists. `what` says who has it, to others.
    pub(crate) async fn open(path: &Path, settings: config::Settings, what: &str) -> anyhow::Result<Self> {
        Self::open_for(path, settings, what, Purpose::Administer).await
    }

    /// For one purpose or the other, once it has served.
    async fn open_for(
        path: &Path,
        settings: config::Settings,
        what: &str,
        purpose: Purpose,
    ) -> anyhow::Result<Self> {
        let data_dir = match DataDir::open(path, what) {
            Ok(data_dir) => data_dir,
            Err(error) if exit::code(&error) == exit::IN_USE => return Ok(Self::Server(path.to_owned())),
            Err(error) => return Err(error),
        };
        // Keys made now are for the server as it was last started, unless another URL is named.
        let is_named = settings.contains("server.public_url") || settings.contains("server.listen");
        let last_start = LastStart::read(data_dir.path()).filter(|_| !is_named);
        let settings = match &last_start {
            Some(last_start) => settings.or(last_start.settings()?),
            None => settings,
        };
        let new = last_start.is_none() && purpose == Purpose::Administer;
        let purpose = if new { Purpose::AdministerNew } else { purpose };
        let root_key_file = settings.root_key_path(data_dir.path());
        let listen = settings.listen();
        let config = running::resolve(&settings, listen)?;
        let (env, request_log) = (Env::system(), Arc::new(NoRequestLog));
        let opened = Opened::open(data_dir, config, &root_key_file, env, purpose, request_log, None).await?;
        let address = last_start.map_or_else(|| opened.address(), |start| start.address);
        Ok(Self::Itself(Box::new(opened), address))
    }

    /// Of a data directory that has a database; nothing is made.
    pub(crate) async fn of_existing(
        path: &Path,
        settings: config::Settings,
        what: &str,
    ) -> anyhow::Result<Self> {
        must_exist(path)?;
        Self::open(path, settings, what).await
    }

    /// Of a data directory that has a database, which may be from before the root key's newest version.
    pub(crate) async fn of_older(
        path: &Path,
        settings: config::Settings,
        what: &str,
    ) -> anyhow::Result<Self> {
        must_exist(path)?;
        Self::open_for(path, settings, what, Purpose::AdministerOlder).await
    }

    /// Where clients find the server. A server that is just starting has not said so yet: ask it for something
    /// first.
    pub(crate) fn address(&self) -> anyhow::Result<Address> {
        match self {
            Self::Server(path) => {
                let start = LastStart::read(path).context("cannot read server.json of the running server")?;
                Ok(start.address)
            }
            Self::Itself(_, address) => Ok(address.clone()),
        }
    }

    /// Executes an operation, by the server or by this process.
    ///
    /// # Errors
    /// When it is refused or fails.
    pub(crate) async fn execute<O: Operation>(&self, operation: O) -> anyhow::Result<O::Answer> {
        let answer = match self {
            Self::Server(path) => control_client::execute(path, operation).await?,
            Self::Itself(opened, _) => {
                let caller = running::local_caller(&opened.app.env);
                operation.execute(&Control::new(&opened.app), &caller).await.map_err(Failure::from)
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
                let (answer, mut stream) = control_client::send(path, &request).await?;
                let BackupHeader { length, created_at } = answer.map_err(failed)?;
                let mut left = length;
                let mut bytes = vec![0; 64 * 1024];
                while left > 0 {
                    let read = stream.read(&mut bytes).await?;
                    if read == 0 {
                        bail!("the server stopped before the backup was complete");
                    }
                    file.write_all(&bytes[..read])?;
                    left = left.checked_sub(read as u64).context("the server sent more than it announced")?;
                }
                Ok(created_at)
            }
            Self::Itself(opened, _) => {
                let caller = running::local_caller(&opened.app.env);
                let snapshot = opened.app.operations.back_up(&caller, passphrase).await;
                let backup = snapshot.map_err(|error| failed(error.into()))?.seal()?;
                let created_at = backup.created_at();
                backup.write(file)?;
                Ok(created_at)
            }
        }
    }
}

fn must_exist(path: &Path) -> anyhow::Result<()> {
    if path.join(data_dir::DATABASE).exists() {
        return Ok(());
    }
    let shown = path.display();
    Err(exit::usage(format!("no Gatekey database in {shown}; name the data directory with --data-dir")))
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
