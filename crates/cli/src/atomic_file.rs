//! Files that are written whole or not at all.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use gatekey_core::{Env, KeyId};

use crate::exit;

/// Writes a file that only its owner can read, atomically.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, 0o600, |_| Ok(()))
}

/// Writes a file that everyone can read, atomically.
pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(path, bytes, 0o644, |_| Ok(()))
}

/// Replaces the content of a file atomically, and keeps its owner and the permissions of owner and
/// group.
///
/// A process that may not give the file to that owner keeps it; one that may not give it to that
/// group gives the group no permission.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Follows a link, so that the file and not the link is replaced.
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let mode = metadata.permissions().mode();
    remove_leftovers(&path)?;
    write(&path, bytes, mode & 0o700, |file| {
        let own = file.metadata()?;
        if own.uid() != metadata.uid() {
            allow_denied(fchown(file, Some(metadata.uid()), None))?;
        }
        if own.gid() != metadata.gid() {
            allow_denied(fchown(file, None, Some(metadata.gid())))?;
        }
        let kept = if file.metadata()?.gid() == metadata.gid() { 0o770 } else { 0o700 };
        file.set_permissions(Permissions::from_mode(mode & kept))
    })
}

/// Ignores that only root may change an owner.
fn allow_denied(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

/// Removes temporary files of killed processes: they may contain a key.
fn remove_leftovers(path: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    for entry in fs::read_dir(directory)? {
        let found = entry?.file_name();
        let rest = found.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        let random = rest.and_then(|rest| rest.strip_prefix(b".")?.strip_suffix(b".new"));
        if random
            .is_some_and(|random| random.len() == 32 && random.iter().all(u8::is_ascii_hexdigit))
        {
            fs::remove_file(directory.join(found))?;
        }
    }
    Ok(())
}

/// Writes a temporary file, calls `prepare` on it, and renames it to `path`.
fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = temporary_path(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    let written = prepare(&file)
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_directory_of(path)
}

/// Returns a random path next to a file. Together with `create_new`, no one can have placed a file
/// or a link there.
fn temporary_path(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", KeyId::generate(&Env::system())));
    path.with_file_name(name)
}

/// Makes the name of a file durable, before anything depends on it.
fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
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
        let temporary = temporary_path(path);
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
                fs::rename(&self.temporary, &self.path)
                    .with_context(|| format!("cannot write {shown}"))?;
            }
        }
        sync_directory_of(&self.path)?;
        Ok(())
    }
}

/// Makes a file durable that another process may have written.
pub(crate) fn sync(path: &Path, file: &File) -> io::Result<()> {
    file.sync_all()?;
    sync_directory_of(path)
}

/// The error about a file that exists.
pub(crate) fn already_exists(path: &Path) -> anyhow::Error {
    exit::usage(format!(
        "{} already exists and will not be overwritten; choose another file",
        path.display()
    ))
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
