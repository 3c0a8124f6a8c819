//! The server's last start, as recorded in the data directory.

use std::path::{Path, PathBuf};

use gatekey_server::config::{InvalidSetting, Origin, Settings, setting};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::{
    atomic_file,
    data_dir::DataDir,
    trusted::{self, Kind},
};

/// The address of a server for clients. Also the content of the ready file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Address {
    pub(crate) url: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) pid: u32,
    /// The URL of probes and metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) admin_url: Option<String>,
}

/// The facts of the last start that new keys depend on: keys created while the server is stopped
/// use them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastStart {
    #[serde(flatten)]
    pub(crate) address: Address,
    pub(crate) organization: String,
    /// The URL of the PostgreSQL database, without a password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<String>,
}

impl LastStart {
    const FILE: &str = "server.json";

    /// Reads the last start; `None` before the first one.
    pub(crate) fn read(data_dir: &Path) -> Option<Self> {
        let path = data_dir.join(Self::FILE);
        let (file, _) = trusted::open_beside(&path, Kind::LastStart, OFlags::RDONLY).ok()?;
        serde_json::from_slice(&trusted::read_all(file, &path, Kind::LastStart).ok()?).ok()
    }

    pub(crate) fn write(&self, data_dir: &DataDir) -> anyhow::Result<()> {
        Ok(atomic_file::write_public(&data_dir.file(Self::FILE), &serde_json::to_vec(self)?)?)
    }

    /// Returns settings with the database of the last start, unless they name one.
    pub(crate) fn with_database(
        last_start: Option<&Self>,
        settings: Settings,
    ) -> Result<Settings, InvalidSetting> {
        let mut lower = Settings::default();
        if let Some(database) = last_start.and_then(|last| last.database.as_deref()) {
            lower.set(setting("database.url"), database, Origin::LastStart)?;
        }
        Ok(settings.or(lower))
    }

    /// Returns the settings of the last start that keys depend on.
    pub(crate) fn settings(&self) -> Result<Settings, InvalidSetting> {
        let mut settings = Settings::default();
        let url = self.address.url.as_str();
        settings.set(setting("server.public_url"), url, Origin::LastStart)?;
        settings.set(
            setting("server.organization"),
            self.organization.as_str(),
            Origin::LastStart,
        )?;
        if url.starts_with("http://") {
            settings.set(setting("tls.plaintext"), true, Origin::LastStart)?;
        }
        Ok(settings)
    }
}
