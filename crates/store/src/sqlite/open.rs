//! Opens the file. A file that is not an intact Gatekey database is rejected unchanged.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use gatekey_core::root_key::RootKeyMismatch;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{
    connection,
    migrations::{self, APPLICATION_ID},
    snapshot,
};
use crate::sql::{failure::Failure, root_key::SettleError};

/// Why a database was not opened. The file is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is not an SQLite database.
    #[error(
        "{} is not a Gatekey database; move it away, or choose another data directory",
        .path.display()
    )]
    NotADatabase { path: PathBuf },
    #[error(
        "{} is a database of another program (application id {application_id:#010x}); move it away, or \
         choose another data directory", .path.display()
    )]
    Foreign {
        path: PathBuf,
        /// The id in the file's header.
        application_id: i32,
    },
    #[error(
        "{} was written by a newer Gatekey (schema {found}; this version supports {known}); run that version, \
         or restore a backup from before the upgrade", .path.display()
    )]
    Newer {
        path: PathBuf,
        /// The file's schema version.
        found: i32,
        /// The schema version of this program.
        known: i32,
    },
    /// The file is truncated or otherwise damaged.
    #[error("{} is damaged ({reason}); restore a backup", .path.display())]
    Damaged { path: PathBuf, reason: String },
    /// The database does not exist, but its log or journal does.
    #[error(
        "{} exists, but its database does not; put the database back beside it, or move it away to start \
         with a new database", .path.display()
    )]
    Leftover { path: PathBuf },
    /// A file of the database is a symbolic link.
    #[error(
        "{} is a symbolic link, which is not followed; move the file that it points to here", .path.display()
    )]
    Link { path: PathBuf },
    /// The root key does not belong to the database.
    #[error(transparent)]
    RootKey(#[from] RootKeyMismatch),
    #[error("cannot open {}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot open {}", .path.display())]
    Sqlite {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
}

/// The error of opening the database at `path`.
pub(super) fn refused(error: SettleError, path: &Path) -> OpenError {
    match error {
        SettleError::Mismatch(mismatch) => mismatch.into(),
        SettleError::Failure(Failure::Sqlite(source)) => sqlite_error(path, source),
        SettleError::Failure(failure) => {
            OpenError::Damaged { path: path.to_owned(), reason: failure.to_string() }
        }
    }
}

/// The length of an SQLite file's header in bytes.
const HEADER: usize = 100;
/// The first bytes of every SQLite file.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Opens the database at `path` for writing. Creates or migrates it if necessary.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    let path = &without_links(path)?;
    if !path.try_exists().map_err(|source| io_error(path, source))? {
        create(path)?;
    }
    let log = log_length(path)?;
    check_header(path, log)?;
    snapshot::clean(path).map_err(|source| io_error(path, source))?;
    for part in ["", "-wal", "-shm"] {
        make_private(&with_suffix(path, part))?;
    }
    let refused = |source| sqlite_error(path, source);
    let mut connection =
        connection::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW)
            .map_err(refused)?;
    // Closing moves the log into the file. That must wait until `Store::load` has read all of it.
    leave_log(&connection, log > 0).map_err(refused)?;
    let version = migrations::version(&connection).map_err(refused)?;
    check_version(path, version)?;
    connection::set_up_to_write(&connection).map_err(refused)?;
    if version < migrations::VERSION {
        migrations::migrate(&mut connection).map_err(refused)?;
        // Moves the new version into the header, where an older program checks it before it opens
        // the database.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(refused)?;
    }
    Ok(connection)
}

/// Opens the database at `path` for reading only. Creates no file beside it, unless it is in use.
pub(super) fn open_to_inspect(path: &Path) -> Result<Connection, OpenError> {
    let path = &without_links(path)?;
    let log = with_suffix(path, "-wal");
    let in_use = log.try_exists().map_err(|source| io_error(&log, source))?;
    check_header(path, log_length(path)?)?;
    let opened = if in_use {
        connection::open_to_read(path)
    } else {
        // Without `immutable`, SQLite would create a log and its index.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        connection::open(Path::new(&immutable(path)), flags)
    };
    let connection = opened.map_err(|source| sqlite_error(path, source))?;
    let version = migrations::version(&connection).map_err(|source| sqlite_error(path, source))?;
    check_version(path, version)?;
    migrations::stand_in(&connection, version).map_err(|source| sqlite_error(path, source))?;
    Ok(connection)
}

/// Returns the path of a database with the links before its name resolved.
///
/// # Errors
/// When a file of the database is itself a link: whoever placed it would choose which file is read
/// and changed.
fn without_links(path: &Path) -> Result<PathBuf, OpenError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = fs::canonicalize(parent.unwrap_or(Path::new(".")))
        .map_err(|source| io_error(path, source))?;
    let path = directory.join(path.file_name().unwrap_or_default());
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let file = with_suffix(&path, suffix);
        if file.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(OpenError::Link { path: file });
        }
    }
    Ok(path)
}

/// The URI of a file that does not change (<https://www.sqlite.org/uri.html>).
fn immutable(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    let encoded = bytes.map(|byte| match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
            char::from(*byte).to_string()
        }
        _ => format!("%{byte:02x}"),
    });
    format!("file:{}?immutable=1", encoded.collect::<String>())
}

/// Sets whether closing leaves the log beside the file, instead of moving it into the file.
pub(super) fn leave_log(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave).map(drop)
}

/// Checks the header without SQLite, which would create files beside it
/// (<https://www.sqlite.org/fileformat.html>, section 1.3).
fn check_header(path: &Path, log: u64) -> Result<(), OpenError> {
    let damaged = |reason: String| OpenError::Damaged { path: path.to_owned(), reason };
    let mut bytes = Vec::with_capacity(HEADER);
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    let length = file.metadata().map_err(|source| io_error(path, source))?.len();
    file.take(HEADER as u64).read_to_end(&mut bytes).map_err(|source| io_error(path, source))?;
    if bytes.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    if !bytes.starts_with(MAGIC) {
        return Err(OpenError::NotADatabase { path: path.to_owned() });
    }
    let Ok(header) = <[u8; HEADER]>::try_from(bytes) else {
        return Err(damaged("it ends in its header".to_owned()));
    };
    let number = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let application_id = number(68).cast_signed();
    if application_id != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned(), application_id });
    }
    // Pages that the file lacks can be in the log.
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let whole = u64::from(number(28)) * page_size;
    if log == 0 && length < whole {
        return Err(damaged(format!("it has {length} of {whole} bytes")));
    }
    check_version(path, number(60).cast_signed())
}

/// The length of the log beside the file; 0 if there is none.
fn log_length(path: &Path) -> Result<u64, OpenError> {
    let log = with_suffix(path, "-wal");
    match fs::metadata(&log) {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(io_error(&log, error)),
    }
}

fn check_version(path: &Path, found: i32) -> Result<(), OpenError> {
    if found > migrations::VERSION {
        return Err(OpenError::Newer { path: path.to_owned(), found, known: migrations::VERSION });
    }
    if found < 1 {
        let reason = format!("its schema version is {found}");
        return Err(OpenError::Damaged { path: path.to_owned(), reason });
    }
    Ok(())
}

/// Creates an empty database, under another name until it is complete.
fn create(path: &Path) -> Result<(), OpenError> {
    for leftover in ["-wal", "-journal"].map(|suffix| with_suffix(path, suffix)) {
        // SQLite would apply it to the new database.
        if leftover.try_exists().map_err(|source| io_error(&leftover, source))? {
            return Err(OpenError::Leftover { path: leftover });
        }
    }
    let draft = with_suffix(path, &format!(".new-{}", std::process::id()));
    let created = create_by_draft(&draft, path);
    // An error here must not hide the one above.
    let _ = fs::remove_file(&draft);
    created
}

fn create_by_draft(draft: &Path, path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io_error(draft, error));
        }
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(draft).map_err(|source| io_error(draft, source))?;
    let refused = |source| sqlite_error(draft, source);
    let mut connection =
        connection::open(draft, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(refused)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(refused)?;
    migrations::migrate(&mut connection).map_err(refused)?;
    connection.close().map_err(|(_, source)| refused(source))?;
    // A link, unlike a rename, never replaces a database that another process created meanwhile.
    match fs::hard_link(draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // Some file systems have no hard links.
        Err(_) => fs::rename(draft, path).map_err(|source| io_error(path, source))?,
    }
    sync_directory(path)
}

/// Syncs a directory: without that, a new name in it can be lost.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let Some(directory) = path.parent() else { return Ok(()) };
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|source| io_error(directory, source))
}

/// Removes other users' access to hashes and sealed keys. Files that SQLite creates later get the
/// mode of the database.
#[cfg(unix)]
fn make_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt;
    let private = File::open(path).and_then(|file| {
        let exposed = file.metadata()?.permissions().mode() & 0o077 != 0;
        if exposed { file.set_permissions(fs::Permissions::from_mode(0o600)) } else { Ok(()) }
    });
    match private {
        // A volume may not allow it, though it allows reading and writing.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other.map_err(|error| io_error(path, error)),
    }
}

#[cfg(not(unix))]
fn make_private(_path: &Path) -> Result<(), OpenError> {
    Ok(())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_owned(), source }
}

fn sqlite_error(path: &Path, source: rusqlite::Error) -> OpenError {
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            OpenError::Damaged { path: path.to_owned(), reason: source.to_string() }
        }
        Some(_) | None => OpenError::Sqlite { path: path.to_owned(), source },
    }
}
