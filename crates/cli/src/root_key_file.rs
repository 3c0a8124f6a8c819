//! The file of the root key.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow, bail};
use async_trait::async_trait;
use gatekey_core::{
    Env, RootKey,
    root_key::{FileError, RootKeyFile, RootKeyVersions},
};
use zeroize::Zeroizing;

use crate::{atomic_file, output};

/// Opens a root key that can be rotated in its file; `None` if there is no such file.
pub(crate) fn open(file: &Path) -> anyhow::Result<Option<RootKey>> {
    Ok(read(file)?.map(|versions| in_file(file, &versions)))
}

/// Creates a root key and its file.
pub(crate) fn create(file: &Path, env: &Env) -> anyhow::Result<RootKey> {
    let versions = RootKeyVersions::generate(env);
    atomic_file::write_private(file, versions.to_text().as_bytes())
        .with_context(|| format!("cannot write the root key {}", file.display()))?;
    Ok(in_file(file, &versions))
}

/// Reads the versions in a root key file, which must exist.
pub(crate) fn read_versions(file: &Path) -> anyhow::Result<RootKeyVersions> {
    read(file)?.with_context(|| format!("the root key {} is missing", file.display()))
}

fn in_file(file: &Path, versions: &RootKeyVersions) -> RootKey {
    RootKey::from_file(versions, Some(Arc::new(KeptInFile(file.to_owned()))))
}

struct KeptInFile(PathBuf);

#[async_trait]
impl RootKeyFile for KeptInFile {
    fn place(&self) -> String {
        output::shell_quoted(&self.0.display().to_string())
    }

    async fn read(&self) -> Result<RootKeyVersions, FileError> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || read_versions(&path)).await?;
        Ok(read?)
    }

    async fn replace(&self, versions: &RootKeyVersions) -> Result<(), FileError> {
        let (path, text) = (self.0.clone(), versions.to_text());
        Ok(tokio::task::spawn_blocking(move || {
            atomic_file::replace_private(&path, text.as_bytes())
        })
        .await??)
    }
}

fn read(file: &Path) -> anyhow::Result<Option<RootKeyVersions>> {
    let shown = file.display();
    match fs::metadata(file) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode();
            if mode & 0o077 != 0 {
                bail!("the root key {shown} is readable by other users; run: chmod 600 {shown}");
            }
            let text = Zeroizing::new(
                fs::read_to_string(file)
                    .with_context(|| format!("cannot read the root key {shown}"))?,
            );
            text.parse().map(Some).map_err(|error| anyhow!("{shown} {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the root key {shown}")),
    }
}
