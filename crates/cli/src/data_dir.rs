//! The files of a data directory, and the lock on it.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow, bail};
use gatekey_core::{Env, RootKey};
use rustix::fs::{Access, AtFlags, OFlags};

use crate::{
    exit::{self, Coded, IN_USE},
    output::shell_quoted,
    process,
    root_key_file::{self, ROOT_KEY, RootKeyPath},
    trusted::{self, Exposure, Kind, Refusal},
};

/// The private CA's certificate, for clients.
pub(crate) const CA_FILE: &str = "ca.pem";
/// The CA's certificate with the system's roots, because `SSL_CERT_FILE` replaces the roots that a
/// client trusts.
pub(crate) const CA_BUNDLE_FILE: &str = "ca-bundle.pem";
pub(crate) const DATABASE: &str = "gatekey.db";
const LOCK: &str = "lock";
const GIT_IGNORE: &str = ".gitignore";

/// The files that opening a data directory for the first time creates.
const FIRST_FILES: [&str; 8] = [
    DATABASE,
    "gatekey.db-wal",
    "gatekey.db-shm",
    ROOT_KEY,
    CA_FILE,
    CA_BUNDLE_FILE,
    GIT_IGNORE,
    LOCK,
];

/// Where a data directory is.
#[derive(Debug, Clone)]
pub(crate) enum DataDirPath {
    /// Named by the operator. It may be a link.
    Named(PathBuf),
    /// The default name in the working directory, which must not be a link.
    Default,
}

impl DataDirPath {
    /// Returns the path as the operator knows it.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Default => Path::new("gatekey-data"),
        }
    }
}

/// A data directory, locked by this process until dropped.
pub(crate) struct DataDir {
    path: PathBuf,
    directory: File,
    new: New,
    _lock: File,
}

/// What did not exist before. It is removed when dropped, so that a start that fails leaves nothing
/// behind.
#[derive(Default)]
struct New {
    files: Vec<PathBuf>,
    /// The innermost first.
    directories: Vec<PathBuf>,
}

impl Drop for New {
    fn drop(&mut self) {
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for directory in &self.directories {
            // Fails for a directory that is not empty.
            let _ = fs::remove_dir(directory);
        }
    }
}

impl DataDir {
    /// Creates the directory unless it exists, checks that only trusted users can change it, and
    /// locks it.
    ///
    /// Another process that cannot lock it reports the holder, such as `gatekey serve`.
    pub(crate) fn open(named: &DataDirPath, holder: &str) -> anyhow::Result<Self> {
        let path = named.path();
        let shown = path.display();
        // Before a link without a target is mistaken for a directory to create.
        refuse_link(named)?;
        let is_missing = |path: &&Path| {
            !path.as_os_str().is_empty()
                && path.symlink_metadata().is_err_and(|error| is_not_found(&error))
        };
        let mut new = New::default();
        new.directories = path.ancestors().take_while(is_missing).map(Path::to_owned).collect();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| not_created(path, &error))?;
        let (path, directory) = find(named)?;
        let exposure =
            match trusted::check(&directory, &path, Kind::DataDirectory, process::own_uid()) {
                Ok(exposure) => exposure,
                // The server's own check lets root administer it.
                Err(_) if process::own_uid() == 0 && is_locked(&directory, &path) => {
                    return Err(in_use(&path, &directory));
                }
                Err(refusal) => return Err(refusal.into()),
            };
        let writable = writable(&directory, &path);
        let is_used = path.join(DATABASE).symlink_metadata().is_ok();
        let names = if is_used { &FIRST_FILES[FIRST_FILES.len() - 2..] } else { &FIRST_FILES };
        let files = names.iter().map(|name| path.join(name));
        let files =
            files.filter(|file| file.symlink_metadata().is_err_and(|error| is_not_found(&error)));
        let files = files.collect();
        let flags = OFlags::RDWR | OFlags::CREATE;
        // Its contents only inform, so anyone may have written them.
        let mut lock = match trusted::open_fixed(&directory, &path.join(LOCK), flags) {
            Ok(lock) => lock,
            Err(error) => {
                writable?;
                return Err(trusted::unreadable(&path.join(LOCK), Kind::Lock, &error).into());
            }
        };
        match lock.try_lock() {
            Ok(()) if lock.metadata()?.nlink() > 0 => {}
            // Held by another process, or removed by one whose start failed.
            Ok(()) | Err(TryLockError::WouldBlock) => return Err(in_use(&path, &directory)),
            Err(TryLockError::Error(error)) => {
                return Err(error)
                    .with_context(|| format!("cannot lock the data directory {shown}"));
            }
        }
        new.files = files;
        writable?;
        if let Some(exposure) = exposure {
            exposure.log();
        }
        lock.set_len(0)?;
        lock.rewind()?;
        let host = process::host_name();
        writeln!(lock, "process {} ({holder}) on {host}", std::process::id())?;
        if let Some(exposure) = check_files(&directory, &path, process::own_uid())? {
            exposure.log();
        }
        Ok(Self { path, new, _lock: lock, directory })
    }

    /// Keeps everything that was created when this is dropped.
    pub(crate) fn keep(&mut self) {
        self.new.files.clear();
        self.new.directories.clear();
    }

    /// Keeps a data directory inside a Git checkout from being committed.
    pub(crate) fn hide_from_git(&self) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        match trusted::open_fixed(&self.directory, &self.file(GIT_IGNORE), flags) {
            Ok(mut file) => file.write_all(b"*\n"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
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
    pub(crate) fn root_key(&mut self, file: &RootKeyPath, env: &Env) -> anyhow::Result<RootKey> {
        if let Some(root_key) = root_key_file::open(file)? {
            return Ok(root_key);
        }
        // A write-ahead log without its database means that the database is missing; its restored
        // copy will need the old root key.
        if self.database().try_exists()? || self.file("gatekey.db-wal").try_exists()? {
            bail!(
                "the root key {} is missing, so the data in {} cannot be decrypted; restore the file from your \
                 copy, or name another with --root-key-file",
                file.path().display(),
                self.path.display()
            );
        }
        let root_key = root_key_file::create(file, env)?;
        self.new.files.push(file.path().to_owned());
        Ok(root_key)
    }
}

/// Checks the files of the database as user `own`, and returns who else can change them.
///
/// # Errors
/// When one cannot be opened or is not trusted.
pub(crate) fn check_database(data_dir: &Path, own: u32) -> anyhow::Result<Option<Exposure>> {
    let directory =
        trusted::open_directory(data_dir).map_err(|error| unreadable(data_dir, &error))?;
    check_files(&directory, data_dir, own)
}

fn check_files(directory: &File, data_dir: &Path, own: u32) -> anyhow::Result<Option<Exposure>> {
    let mut exposed = None;
    for suffix in ["", "-wal", "-shm"] {
        let path = data_dir.join(format!("{DATABASE}{suffix}"));
        let file = match trusted::open_fixed(directory, &path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(trusted::unreadable(&path, Kind::Database, &error).into()),
        };
        let exposure = trusted::check(&file, &path, Kind::Database, own)?;
        exposed = exposed.or(exposure);
    }
    Ok(exposed)
}

fn is_not_found(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Refuses a directory that another process uses, and creates nothing.
pub(crate) fn refuse_in_use(path: &DataDirPath) -> anyhow::Result<()> {
    if let Ok((path, directory)) = find(path)
        && is_locked(&directory, &path)
    {
        return Err(in_use(&path, &directory));
    }
    Ok(())
}

/// An existing data directory, inspected without a lock and for reading only.
pub(crate) struct Inspected {
    /// Its path without links.
    pub(crate) path: PathBuf,
    /// The user that serves from it.
    pub(crate) own: u32,
    /// Who else can change it.
    pub(crate) exposure: Option<Exposure>,
}

/// Checks the owner of an existing directory.
///
/// # Errors
/// When it cannot be opened or is not trusted.
pub(crate) fn inspect(path: &DataDirPath) -> anyhow::Result<Inspected> {
    let (path, directory) = find(path)?;
    let own = match process::own_uid() {
        // Root may read the directory of every user, and then judges for that user.
        0 => directory.metadata()?.uid(),
        own => own,
    };
    let exposure = trusted::check(&directory, &path, Kind::DataDirectory, own)?;
    Ok(Inspected { path, own, exposure })
}

/// Opens an existing directory, and returns its path without links.
pub(crate) fn find(named: &DataDirPath) -> anyhow::Result<(PathBuf, File)> {
    refuse_link(named)?;
    let path = match named {
        DataDirPath::Named(path) => fs::canonicalize(path),
        // The last name stays, so that opening the directory follows no link.
        DataDirPath::Default => fs::canonicalize(".").map(|here| here.join(named.path())),
    };
    path.and_then(|path| trusted::open_directory(&path).map(|directory| (path, directory)))
        .map_err(|error| unreadable(named.path(), &error))
}

/// Refuses a link of another user, and a link where Gatekey itself chose the name: someone else can
/// have placed it there.
fn refuse_link(named: &DataDirPath) -> anyhow::Result<()> {
    let shown = named.path().display();
    // Without a slash at its end, which would follow the link.
    let name: PathBuf = named.path().components().collect();
    match name.symlink_metadata() {
        Ok(link) if link.is_symlink() => match named {
            _ if ![0, process::own_uid()].contains(&link.uid()) => bail!(
                "the data directory {shown} is a symbolic link of {}, who can change it; name the directory itself",
                process::user(link.uid())
            ),
            DataDirPath::Default => bail!(
                "the data directory {shown} is a symbolic link, which is not followed by default; follow it with \
                 --data-dir {shown}"
            ),
            DataDirPath::Named(_) => Ok(()),
        },
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Converts the error of reading something in a data directory.
pub(crate) fn unreadable(path: &Path, error: &io::Error) -> anyhow::Error {
    match trusted::unreadable(path, Kind::DataDirectory, error) {
        Refusal::Missing { path, .. } => exit::usage(format!(
            "no Gatekey database in {path}; name the data directory with --data-dir"
        )),
        refused @ Refusal::Refused(_) => refused.into(),
    }
}

fn not_created(path: &Path, error: &io::Error) -> anyhow::Error {
    let shown = path.display();
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => trusted::denied(path),
        _ => None,
    };
    anyhow!("cannot create the data directory {shown}: {error}{}", hint.unwrap_or_default())
}

/// Checks that this process can create files in the directory: SQLite only reports that the
/// database is read-only.
fn writable(directory: &File, path: &Path) -> anyhow::Result<()> {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    let Err(error) = rustix::fs::accessat(directory, ".", access, AtFlags::EACCESS) else {
        return Ok(());
    };
    let shown = path.display();
    let error = io::Error::from(error);
    let fix = match error.kind() {
        io::ErrorKind::PermissionDenied => trusted::denied(path)
            .unwrap_or_else(|| format!("; run: chmod u+wx {}", shell_quoted(&shown.to_string()))),
        io::ErrorKind::ReadOnlyFilesystem => "; mount it for writing".to_owned(),
        _ => String::new(),
    };
    Err(anyhow!("cannot write to the data directory {shown}: {error}{fix}"))
}

/// Whether another process holds the lock.
fn is_locked(directory: &File, path: &Path) -> bool {
    trusted::open_fixed(directory, &path.join(LOCK), OFlags::RDONLY)
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

fn in_use(path: &Path, directory: &File) -> anyhow::Error {
    let mut holder = String::new();
    if let Ok(lock) = trusted::open_fixed(directory, &path.join(LOCK), OFlags::RDONLY) {
        let _ = lock.take(1024).read_to_string(&mut holder);
    }
    let holder = match holder.trim() {
        "" => "another process".to_owned(),
        holder => crate::output::printable(holder).into_owned(),
    };
    let message = format!("the data directory {} is in use by {holder}", path.display());
    Coded { code: IN_USE, message }.into()
}
