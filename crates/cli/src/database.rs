//! Opens the PostgreSQL database that the settings name.

use std::{path::Path, pin::Pin, sync::Arc};

use anyhow::{Context as _, anyhow, bail};
use gatekey_core::{Env, RootKey, Store};
use gatekey_server::{config::database::Database, server::Caches};
use gatekey_store::{
    DatabaseUrl, PostgresStore,
    postgres::{Password, PostgresOpenError, PostgresOptions},
};
use gatekey_telemetry::Traces;

use crate::{
    data_dir::DATABASE,
    exit::{self, Coded},
    process,
    trusted::{self, Kind},
};

/// Contains the password of the database.
pub(crate) const PASSWORD: &str = "GATEKEY_DATABASE_PASSWORD";

/// An opened database.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// Ends when another server has taken the database over.
    pub(crate) taken_over: TakenOver,
}

pub(crate) type TakenOver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Parses the URL of a database, which has no password: it is shown in lists of processes, in
/// `gatekey config check` and in server.json.
pub(crate) fn parse(url: &str) -> Result<DatabaseUrl, String> {
    let url: DatabaseUrl = url.parse().map_err(|error| format!("{error}"))?;
    if url.has_password() {
        return Err(format!(
            "has a password; put it in a file, and name that with database.password_file, or in {PASSWORD}"
        ));
    }
    Ok(url)
}

/// Opens a database. Files of backups are made in `data_dir`.
pub(crate) fn open(
    database: &Database,
    data_dir: &Path,
    root_key: &RootKey,
    caches: &Caches,
    env: &Env,
    traces: Option<&Traces>,
) -> anyhow::Result<Opened> {
    let options = PostgresOptions {
        url: with_password(database)?,
        node_name: process::host_name(),
        directory: data_dir.to_owned(),
        env: env.clone(),
        freshness: caches.freshness.clone(),
    };
    let store =
        PostgresStore::open(options, root_key, caches.observer()).map_err(|error| match error {
            PostgresOpenError::InUse { .. } => {
                Coded { code: exit::IN_USE, message: error.to_string() }.into()
            }
            error => anyhow::Error::new(error),
        })?;
    let store = store.with_tracer(traces.map(Traces::store_tracer));
    let taken_over = Box::pin(store.taken_over());
    Ok(Opened { store: Arc::new(store), taken_over })
}

/// Refuses a data directory that has an embedded database: one of the two would be out of date.
pub(crate) fn refuse_embedded(data_dir: &Path) -> anyhow::Result<()> {
    let embedded = data_dir.join(DATABASE);
    if embedded.symlink_metadata().is_ok() {
        bail!(
            "{} is a database too; name another data directory for a server that uses --database",
            embedded.display()
        );
    }
    Ok(())
}

/// The error of a missing root key. It is never created beside a database that others can have
/// filled.
pub(crate) fn no_root_key(file: &Path) -> anyhow::Error {
    let file = file.display();
    anyhow!(
        "the root key {file} is missing; for a new database, create it with `gatekey root-key new {file}`; otherwise \
         restore the file from your copy, or name another with --root-key-file"
    )
}

fn with_password(database: &Database) -> anyhow::Result<DatabaseUrl> {
    let url = parse(&database.url).map_err(|rule| exit::usage(format!("database.url {rule}")))?;
    #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
    let variable = std::env::var(PASSWORD).ok().filter(|password| !password.is_empty());
    let password = match (&database.password_file, variable) {
        (Some(_), Some(_)) => {
            return Err(exit::usage(format!("database.password_file and {PASSWORD} are both set")));
        }
        (Some(file), None) => {
            let (bytes, exposure) = trusted::read(file, Kind::Password)?;
            if let Some(exposure) = exposure {
                exposure.log();
            }
            let text = str::from_utf8(&bytes)
                .with_context(|| format!("{} is not UTF-8", file.display()))?;
            text.strip_suffix('\n').unwrap_or(text).to_owned()
        }
        (None, Some(variable)) => variable,
        (None, None) => return Ok(url),
    };
    url.with_password(Password::new(password)).map_err(|error| exit::usage(error.to_string()))
}
