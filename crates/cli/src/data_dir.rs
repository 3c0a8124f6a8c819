//! The files of a data directory, and the lock on it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
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

use crate::{
    exit::{self, Coded, IN_USE},
    output,
};

/// The file name of the database.
pub(crate) const DATABASE: &str = "gatekey.db";

/// A data directory, locked by this process until dropped.
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory unless it exists, and locks it.
    ///
    /// Another process that cannot lock it reports `what` as the holder, such as `gatekey serve`.
    pub(crate) fn open(path: &Path, what: &str) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot create the data directory {shown}"))?;
        let path =
            fs::canonicalize(path).with_context(|| format!("cannot find the data directory {shown}"))?;
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
                let mut holder = String::new();
                let _ = lock.read_to_string(&mut holder);
                let holder = if holder.is_empty() { "another process".to_owned() } else { holder };
                let message = format!("the data directory {shown} is in use by {}", holder.trim());
                return Err(Coded { code: IN_USE, message }.into());
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock the data directory {shown}"));
            }
        }
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "process {} ({what})", std::process::id())?;
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
        let shown = file.display();
        if let Some(keys) = read_root_keys(file)? {
            return Ok(KeptRootKey::with(file, &keys));
        }
        // A write-ahead log without its database needs the old root key once the database is
        // restored.
        if self.database().try_exists()? || self.file("gatekey.db-wal").try_exists()? {
            bail!(
                "the root key {shown} is missing, so the data in {} cannot be decrypted; restore the file from your \
                 copy, or name another with --root-key-file",
                self.path.display()
            );
        }
        let keys = RootKeyVersions::generate(env);
        write_private(file, keys.to_text().as_bytes())
            .with_context(|| format!("cannot write the root key {shown}"))?;
        Ok(KeptRootKey::with(file, &keys))
    }
}

struct KeptRootKey(PathBuf);

impl KeptRootKey {
    /// Returns a root key that can be rotated in its file.
    fn with(file: &Path, keys: &RootKeyVersions) -> RootKey {
        RootKey::from_file(keys, Some(Arc::new(Self(file.to_owned()))))
    }
}

#[async_trait]
impl RootKeyFile for KeptRootKey {
    fn place(&self) -> String {
        output::shell_quoted(&self.0.display().to_string())
    }

    async fn read(&self) -> Result<RootKeyVersions, FileError> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || existing_root_keys(&path)).await?;
        Ok(read?)
    }

    async fn replace(&self, keys: &RootKeyVersions) -> Result<(), FileError> {
        let (path, text) = (self.0.clone(), keys.to_text());
        Ok(tokio::task::spawn_blocking(move || replace_private(&path, text.as_bytes())).await??)
    }
}

/// Reads a root key that can be rotated in its file; `None` if there is no such file.
pub(crate) fn read_root_key(file: &Path) -> anyhow::Result<Option<RootKey>> {
    Ok(read_root_keys(file)?.map(|keys| KeptRootKey::with(file, &keys)))
}

/// Reads the versions in a root key file.
pub(crate) fn existing_root_keys(file: &Path) -> anyhow::Result<RootKeyVersions> {
    read_root_keys(file)?.with_context(|| format!("the root key {} is missing", file.display()))
}

/// Reads the versions in a root key file; `None` if there is no such file.
fn read_root_keys(file: &Path) -> anyhow::Result<Option<RootKeyVersions>> {
    let shown = file.display();
    match fs::metadata(file) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode();
            if mode & 0o077 != 0 {
                bail!("the root key {shown} is readable by other users; run: chmod 600 {shown}");
            }
            let text = Zeroizing::new(
                fs::read_to_string(file).with_context(|| format!("cannot read the root key {shown}"))?,
            );
            text.parse().map(Some).map_err(|error| anyhow!("{shown} {error}"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the root key {shown}")),
    }
}

/// Writes a file that only its owner can read, atomically.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(path, bytes, 0o600)
}

/// Writes a file that everyone can read, atomically.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_whole(path, bytes, 0o644)
}

/// Replaces the content of a file atomically, and keeps its owner and its owner's permissions.
fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Follows a link, so that the file and not the link is replaced.
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let mode = metadata.permissions().mode() & 0o700;
    remove_leftovers(&path)?;
    write_as(&path, bytes, mode, |file| {
        let own = file.metadata()?;
        let (uid, gid) = (metadata.uid(), metadata.gid());
        if (own.uid(), own.gid()) == (uid, gid) { Ok(()) } else { fchown(file, Some(uid), Some(gid)) }
    })
}

fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_as(path, bytes, mode, |_| Ok(()))
}

/// Removes temporary files of killed processes: they may contain a key.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    for entry in fs::read_dir(directory)? {
        let found = entry?.file_name();
        let rest = found.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        let random = rest.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(b".new"));
        if random.is_some_and(|random| random.len() == 32 && random.iter().all(u8::is_ascii_hexdigit)) {
            fs::remove_file(directory.join(found))?;
        }
    }
    Ok(())
}

/// Writes a temporary file, calls `prepare` on it, and renames it to `path`.
fn write_as(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // A random name that must not exist: no one can have placed a file or a link there.
    name.push(format!(".{}.new", gatekey_core::KeyId::generate(&Env::system())));
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    let written = prepare(&file)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // Makes the new name durable before anything depends on the file.
    File::open(directory)?.sync_all()
}

/// A new file that only its owner can read. It has a temporary name until it is finished, and is
/// removed if it is dropped before.
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: File,
}

impl NewFile {
    /// Creates a file that must not exist yet.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        if path.symlink_metadata().is_ok() {
            return Err(already_exists(path));
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", gatekey_core::KeyId::generate(&Env::system())));
        let temporary = path.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let file = file.with_context(|| format!("cannot write {shown}"))?;
        Ok(Self { path: path.to_owned(), temporary, file })
    }

    /// Syncs the file to the disk, and gives it its name.
    pub(crate) fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().and_then(|()| self.file.sync_all())?;
        // Unlike a rename, a link never replaces a file that was created in the meantime.
        match fs::hard_link(&self.temporary, &self.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(already_exists(&self.path));
            }
            // Some file systems have no hard links.
            Err(_) => {
                let shown = self.path.display();
                fs::rename(&self.temporary, &self.path).with_context(|| format!("cannot write {shown}"))?;
            }
        }
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(())
    }
}

fn already_exists(path: &Path) -> anyhow::Error {
    exit::usage(format!("{} already exists and will not be overwritten; choose another file", path.display()))
}

impl io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
    }
}
