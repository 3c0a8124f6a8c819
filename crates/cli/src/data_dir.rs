//! The files of a data directory, and the lock on it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use gatekey_core::{Env, RootKey};

use crate::{
    exit::{Coded, IN_USE},
    root_key_file,
};

/// Default file of the root key.
pub(crate) const ROOT_KEY: &str = "root.key";
pub(crate) const DATABASE: &str = "gatekey.db";

/// A data directory, locked by this process until dropped.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory unless it exists, and locks it.
    ///
    /// Another process that cannot lock it reports the holder, such as `gatekey serve`.
    pub(crate) fn open(path: &Path, holder: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot create the data directory {shown}"))?;
        let path = fs::canonicalize(path)
            .with_context(|| format!("cannot find the data directory {shown}"))?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join("lock"))
            .with_context(|| format!("cannot write to the data directory {shown}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut other = String::new();
                let _ = lock.read_to_string(&mut other);
                let other = if other.is_empty() { "another process" } else { other.trim() };
                let message = format!("the data directory {shown} is in use by {other}");
                return Err(Coded { code: IN_USE, message }.into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error)
                    .with_context(|| format!("cannot lock the data directory {shown}"));
            }
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "process {} ({holder})", std::process::id())?;
        Ok(Self { path, _lock: lock })
    }

    /// Keeps a data directory inside a Git checkout from being committed.
    pub(crate) fn hide_from_git(&self) -> io::Result<()> {
        let ignore = self.file(".gitignore");
        if ignore.exists() { Ok(()) } else { fs::write(&ignore, "*\n") }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the root key, or creates one if there is no database yet.
    pub(crate) fn root_key(&self, file: &Path, env: &Env) -> anyhow::Result<RootKey> {
        if let Some(root_key) = root_key_file::open(file)? {
            return Ok(root_key);
        }
        // A write-ahead log without its database means that the database is missing; its restored
        // copy will need the old root key.
        if self.database().try_exists()? || self.file("gatekey.db-wal").try_exists()? {
            bail!(
                "the root key {} is missing, so the data in {} cannot be decrypted; restore the file from your \
                 copy, or name another with --root-key-file",
                file.display(),
                self.path.display()
            );
        }
        root_key_file::create(file, env)
    }
}
