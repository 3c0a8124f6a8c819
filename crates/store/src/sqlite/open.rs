//! Opening the file: what is not a whole database of ours is refused and left as it is.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    path::{Path, PathBuf},
};

use gatekey_core::root_key::RootKeyMismatch;
use rusqlite::{Connection, ErrorCode, OpenFlags, config::DbConfig};

use super::{
    connection,
    failure::Failure,
    migrations::{self, APPLICATION_ID},
    root_key::SettleError,
    snapshot,
};

/// Why a database was not opened. The message says what to do; the file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is no SQLite database.
    #[error("{} is no database of Gatekey; move it away, or choose another data directory", .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is a database of another program.
    #[error(
        "{} is a database of another program (application id {application_id:#010x}); move it away, or \
         choose another data directory", .path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What its header says instead of ours.
        application_id: i32,
    },
    /// A later version of the program wrote the database.
    #[error(
        "{} was written by a newer Gatekey (schema {found}, this one knows {known}); run that version, or \
         restore a backup from before the upgrade", .path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version of its schema.
        found: i32,
        /// The latest that this program knows.
        known: i32,
    },
    /// The file is truncated or damaged.
    #[error("{} is damaged ({reason}); restore a backup", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was noticed first.
        reason: String,
    },
    /// The database is gone, and what was written last is still there.
    #[error(
        "{} is there without its database; put the database back beside it, or move it away to begin anew",
        .path.display()
    )]
    Leftover {
        /// The file that was found.
        path: PathBuf,
    },
    /// The root key does not belong to it.
    #[error(transparent)]
    RootKey(#[from] RootKeyMismatch),
    /// The operating system refused.
    #[error("{} could not be opened", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite could not work with the file.
    #[error("{} could not be opened", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
}

impl SettleError {
    /// The error of opening the database at `path`.
    pub(super) fn at(self, path: &Path) -> OpenError {
        match self {
            Self::Mismatch(mismatch) => mismatch.into(),
            Self::Failure(Failure::Sqlite(source)) => sqlite_error(path, source),
            Self::Failure(failure) => {
                OpenError::Damaged { path: path.to_owned(), reason: failure.to_string() }
            }
        }
    }
}

/// Bytes of an SQLite file's header.
const HEADER: usize = 100;
/// What every SQLite file begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Opens the database of that path to write, made first when there is none, and brought to our schema.
pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
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
    let mut connection = connection::open(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(refused)?;
    // Closing moves the log into the file. Not before everything in it was read: see `Store::load`.
    leave_log(&connection, log > 0).map_err(refused)?;
    let version = migrations::version(&connection).map_err(refused)?;
    check_version(path, version)?;
    connection::set_up_to_write(&connection).map_err(refused)?;
    if version < migrations::VERSION {
        migrations::migrate(&mut connection).map_err(refused)?;
        // The header must bear the new version, or an older program would look only once it is inside.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(refused)?;
    }
    Ok(connection)
}

/// Opens the database of that path to look at it: nothing in it is changed, and while nobody uses it nothing is
/// made beside it.
pub(super) fn open_to_inspect(path: &Path) -> Result<Connection, OpenError> {
    let path = &std::path::absolute(path).map_err(|source| io_error(path, source))?;
    let log = with_suffix(path, "-wal");
    let in_use = log.try_exists().map_err(|source| io_error(&log, source))?;
    check_header(path, log_length(path)?)?;
    let opened = if in_use {
        connection::open_to_read(path)
    } else {
        // Read in the usual way, SQLite would make a log and an index of it.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        connection::open(Path::new(&immutable(path)), flags)
    };
    let connection = opened.map_err(|source| sqlite_error(path, source))?;
    let version = migrations::version(&connection).map_err(|source| sqlite_error(path, source))?;
    check_version(path, version)?;
    migrations::stand_in(&connection, version).map_err(|source| sqlite_error(path, source))?;
    Ok(connection)
}

/// A path as the URI of a file that nobody changes (<https://www.sqlite.org/uri.html>).
fn immutable(path: &Path) -> String {
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    let encoded = bytes.map(|byte| match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => char::from(*byte).to_string(),
        _ => format!("%{byte:02x}"),
    });
    format!("file:{}?immutable=1", encoded.collect::<String>())
}

/// Whether closing leaves the log beside the file, instead of moving it in.
pub(super) fn leave_log(connection: &Connection, leave: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, leave).map(drop)
}

/// Reads the header with our own eyes, because SQLite would make files of its own beside it
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
        return Err(damaged("it ends within its header".to_owned()));
    };
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let application_id = number(68).cast_signed();
    if application_id != APPLICATION_ID {
        return Err(OpenError::Foreign { path: path.to_owned(), application_id });
    }
    // While there is a log, the pages that the file lacks may be there.
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let whole = u64::from(number(28)) * page_size;
    if log == 0 && length < whole {
        return Err(damaged(format!("it ends after {length} of {whole} bytes")));
    }
    check_version(path, number(60).cast_signed())
}

/// How long the log is that SQLite keeps beside the file.
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
        let reason = format!("its schema's version is {found}");
        return Err(OpenError::Damaged { path: path.to_owned(), reason });
    }
    Ok(())
}

/// Makes an empty database under another name first, so that whatever bears the name is whole.
fn create(path: &Path) -> Result<(), OpenError> {
    for leftover in ["-wal", "-journal"].map(|suffix| with_suffix(path, suffix)) {
        // SQLite would play it into the new database.
        if leftover.try_exists().map_err(|source| io_error(&leftover, source))? {
            return Err(OpenError::Leftover { path: leftover });
        }
    }
    let draft = with_suffix(path, &format!(".new-{}", std::process::id()));
    let made = make(&draft, path);
    // What is left of the draft after a failure is of no use; that failure is the one to tell.
    let _ = fs::remove_file(&draft);
    made
}

fn make(draft: &Path, path: &Path) -> Result<(), OpenError> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_error(draft, error)),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(draft).map_err(|source| io_error(draft, source))?;
    let refused = |source| sqlite_error(draft, source);
    let mut connection = connection::open(draft, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(refused)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(refused)?;
    migrations::migrate(&mut connection).map_err(refused)?;
    connection.close().map_err(|(_, source)| refused(source))?;
    // A link, unlike a rename, never takes the place of a database that somebody made meanwhile.
    match fs::hard_link(draft, path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        // Some file systems have no links.
        Err(_) => fs::rename(draft, path).map_err(|source| io_error(path, source))?,
    }
    sync_directory(path)
}

/// A new name is on the disk only once its directory is.
fn sync_directory(path: &Path) -> Result<(), OpenError> {
    let Some(directory) = path.parent() else { return Ok(()) };
    File::open(directory).and_then(|file| file.sync_all()).map_err(|source| io_error(directory, source))
}

/// Hashes of secrets and sealed keys are nobody else's business. Files that SQLite makes later take their
/// mode from the database.
#[cfg(unix)]
fn make_private(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::PermissionsExt;
    let private = fs::metadata(path).and_then(|metadata| {
        let exposed = metadata.permissions().mode() & 0o077 != 0;
        if exposed { fs::set_permissions(path, fs::Permissions::from_mode(0o600)) } else { Ok(()) }
    });
    match private {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path, error)),
        Ok(()) | Err(_) => Ok(()),
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
