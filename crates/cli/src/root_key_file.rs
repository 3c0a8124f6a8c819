//! The file of the root key.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use async_trait::async_trait;
use gatekey_core::{
    Env, RootKey,
    root_key::{FileError, RootKeyFile, RootKeyVersions},
};
use rustix::fs::OFlags;

use crate::{
    atomic_file, output, process,
    trusted::{self, Exposure, Kind, Refusal},
};

/// Default file of the root key in a data directory.
pub(crate) const ROOT_KEY: &str = "root.key";

/// Where the root key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootKeyPath {
    /// A file that the operator named, which may be a link.
    Named(PathBuf),
    /// The default file in a data directory, which must not be a link.
    InDataDir(PathBuf),
}

impl RootKeyPath {
    pub(crate) fn new(named: Option<PathBuf>, data_dir: &Path) -> Self {
        named.map_or_else(|| Self::InDataDir(data_dir.join(ROOT_KEY)), Self::Named)
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Named(path) | Self::InDataDir(path) => path,
        }
    }
}

/// Opens a root key that can be rotated in its file; `None` if there is no such file.
pub(crate) fn open(file: &RootKeyPath) -> anyhow::Result<Option<RootKey>> {
    let Some((root_key, exposure)) = inspect(file, process::own_uid())? else { return Ok(None) };
    if let Some(exposure) = exposure {
        exposure.log();
    }
    Ok(Some(root_key))
}

/// Opens a root key as user `own` would, and returns who else can use its file.
pub(crate) fn inspect(
    file: &RootKeyPath,
    own: u32,
) -> anyhow::Result<Option<(RootKey, Option<Exposure>)>> {
    Ok(read(file, own)?.map(|(versions, exposure)| (in_file(file, &versions), exposure)))
}

/// Creates a root key and its file.
pub(crate) fn create(file: &RootKeyPath, env: &Env) -> anyhow::Result<RootKey> {
    let versions = RootKeyVersions::generate(env);
    atomic_file::write_private(file.path(), versions.to_text().as_bytes())
        .with_context(|| format!("cannot write the root key {}", file.path().display()))?;
    Ok(in_file(file, &versions))
}

/// Reads the versions in a root key file, which must exist.
pub(crate) fn read_versions(file: &RootKeyPath) -> anyhow::Result<RootKeyVersions> {
    let read = read(file, process::own_uid())?.map(|(versions, _)| versions);
    read.with_context(|| format!("the root key {} is missing", file.path().display()))
}

fn in_file(file: &RootKeyPath, versions: &RootKeyVersions) -> RootKey {
    RootKey::from_file(versions, Some(Arc::new(KeptInFile(file.clone()))))
}

struct KeptInFile(RootKeyPath);

#[async_trait]
impl RootKeyFile for KeptInFile {
    fn place(&self) -> String {
        output::shell_quoted(&self.0.path().display().to_string())
    }

    async fn read(&self) -> Result<RootKeyVersions, FileError> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || read_versions(&path)).await?;
        Ok(read?)
    }

    async fn replace(&self, versions: &RootKeyVersions) -> Result<(), FileError> {
        let (path, text) = (self.0.clone(), versions.to_text());
        Ok(tokio::task::spawn_blocking(move || {
            atomic_file::replace_private(path.path(), text.as_bytes())
        })
        .await??)
    }
}

fn read(
    file: &RootKeyPath,
    own: u32,
) -> anyhow::Result<Option<(RootKeyVersions, Option<Exposure>)>> {
    let opened = match file {
        RootKeyPath::Named(path) => trusted::open(path, Kind::RootKey, own),
        RootKeyPath::InDataDir(path) => trusted::open_beside(path, Kind::RootKey, OFlags::RDONLY),
    };
    let (opened, exposure) = match opened {
        Ok(opened) => opened,
        Err(Refusal::Missing { .. }) => return Ok(None),
        Err(refused @ Refusal::Refused(_)) => return Err(refused.into()),
    };
    let path = file.path();
    let bytes = trusted::read_all(opened, path, Kind::RootKey)?;
    let shown = path.display();
    let text = str::from_utf8(&bytes)
        .map_err(|_| anyhow!("cannot read the root key {shown}: it is not text"))?;
    let versions = text.parse().map_err(|error| anyhow!("{shown} {error}"))?;
    Ok(Some((versions, exposure)))
}
