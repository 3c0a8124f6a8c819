//! Files and directories that Gatekey trusts: their owners, and who else can use them.
//!
//! The rules are one function, [`judge`], on what the kernel reports of an open file, so that no
//! one can exchange the file between the check and its use.

use std::{
    fmt,
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use zeroize::Zeroizing;

use crate::{output::shell_quoted, process};

/// The largest file that is read: all of them are small.
const MAX_LENGTH: u64 = 1024 * 1024;

/// What a file is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    RootKey,
    Passphrase,
    Password,
    TlsKey,
    Configuration,
    /// A certificate for clients to trust.
    Certificate,
    /// A secret that quickstart keeps.
    Secret,
    /// What the server's last start wrote for later commands.
    LastStart,
    Lock,
    Database,
    DataDirectory,
}

impl Kind {
    /// Whether everyone who can read it gains something.
    fn is_secret(self) -> bool {
        matches!(
            self,
            Self::RootKey | Self::Passphrase | Self::Password | Self::TlsKey | Self::Secret
        )
    }

    fn failure(self) -> &'static str {
        match self {
            Self::Lock | Self::Database | Self::DataDirectory => "cannot open",
            _ => "cannot read",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::RootKey => "the root key",
            Self::Passphrase => "the passphrase file",
            Self::Password => "the password file",
            Self::TlsKey => "the TLS key",
            Self::Configuration => "the configuration file",
            Self::Certificate => "the certificate",
            Self::Secret => "the secret",
            Self::LastStart => "the file",
            Self::Lock => "the lock",
            Self::Database => "the database",
            Self::DataDirectory => "the data directory",
        })
    }
}

/// What the kernel reports of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) owner: u32,
    pub(crate) group: u32,
    pub(crate) mode: u32,
}

impl From<&Metadata> for Found {
    fn from(metadata: &Metadata) -> Self {
        Self { owner: metadata.uid(), group: metadata.gid(), mode: metadata.mode() }
    }
}

/// Why a file is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It belongs to neither this process's user nor root.
    Owner,
    WritableByAll,
    ReadableByAll,
}

/// Who can use a trusted file in addition to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Others {
    No,
    Group,
    All,
}

/// Decides whether a process of user `own` trusts a file.
///
/// Access of a group is accepted: volumes of Kubernetes with `fsGroup` have it, and Secrets that
/// belong to root can be read in no other way.
fn judge(kind: Kind, found: Found, own: u32) -> Result<Others, Fault> {
    if found.owner != own && found.owner != 0 {
        return Err(Fault::Owner);
    }
    if found.mode & 0o002 != 0 {
        return Err(Fault::WritableByAll);
    }
    if kind.is_secret() && found.mode & 0o004 != 0 {
        // The files of a mounted Secret are root's, and readable by all unless it says otherwise.
        return if kind == Kind::TlsKey && found.owner == 0 {
            Ok(Others::All)
        } else {
            Err(Fault::ReadableByAll)
        };
    }
    let of_group = if kind.is_secret() { 0o060 } else { 0o020 };
    Ok(if found.mode & of_group != 0 { Others::Group } else { Others::No })
}

/// Who can use a trusted file in addition to its owner, for a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Exposure {
    pub(crate) path: String,
    kind: Kind,
    /// The group; `None` for every user.
    group: Option<u32>,
}

impl fmt::Display for Exposure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind, group } = self;
        match group {
            Some(group) => write!(
                formatter,
                "{kind} {path} is open to all members of group {group}; this is accepted, because volumes with \
                 fsGroup need it"
            ),
            None => write!(formatter, "{kind} {path} can be read by every user of this machine"),
        }
    }
}

impl Exposure {
    /// Logs it as a warning. The first group is enough: with `fsGroup`, it can use every file.
    pub(crate) fn log(&self) {
        static GROUP_IS_LOGGED: AtomicBool = AtomicBool::new(false);
        static ALL_IS_LOGGED: AtomicBool = AtomicBool::new(false);
        let Self { path, group, .. } = self;
        match group {
            None if !ALL_IS_LOGGED.swap(true, Ordering::Relaxed) => {
                tracing::warn!(path, "every user of this machine can read the TLS key");
            }
            Some(group) if !GROUP_IS_LOGGED.swap(true, Ordering::Relaxed) => tracing::warn!(
                path,
                group,
                "a group can use files that only Gatekey should; accepted, because volumes with fsGroup need it"
            ),
            None | Some(_) => {}
        }
    }
}

/// Why a file was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("cannot read {kind} {path}: No such file or directory")]
    Missing { kind: Kind, path: String },
    /// It is not trusted, or cannot be read.
    #[error("{0}")]
    Refused(String),
}

/// Opens a file that the operator named. It may be a link: mounted Secrets are made of links.
///
/// It is trusted if user `own` may trust it.
///
/// # Errors
/// When it cannot be read or is not trusted.
pub(crate) fn open(path: &Path, kind: Kind, own: u32) -> Result<(File, Option<Exposure>), Refusal> {
    // Opening a pipe must not wait for its writer here, but reading it must.
    let file = File::open(path).map_err(|error| unreadable(path, kind, &error))?;
    let exposure = check(&file, path, kind, own)?;
    Ok((file, exposure))
}

/// Opens a file by its fixed name in a directory, and follows no link.
///
/// Root also trusts a file of the directory's owner: it can only get here to read, because it
/// writes to no directory of another user.
///
/// # Errors
/// When it cannot be opened or is not trusted.
pub(crate) fn open_in(
    directory: impl AsFd,
    path: &Path,
    kind: Kind,
    flags: OFlags,
) -> Result<(File, Option<Exposure>), Refusal> {
    let file =
        open_fixed(&directory, path, flags).map_err(|error| unreadable(path, kind, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, kind, &error))?;
    if !metadata.is_file() {
        let shown = path.display();
        return Err(Refusal::Refused(format!("{kind} {shown} is not a file; move it away")));
    }
    let own = match (process::own_uid(), rustix::fs::fstat(directory)) {
        (0, Ok(directory)) => directory.st_uid,
        (own, _) => own,
    };
    let exposure = check(&file, path, kind, own)?;
    Ok((file, exposure))
}

/// As [`open_in`], in the directory of the path.
///
/// # Errors
/// When it cannot be opened or is not trusted.
pub(crate) fn open_beside(
    path: &Path,
    kind: Kind,
    flags: OFlags,
) -> Result<(File, Option<Exposure>), Refusal> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = File::open(directory).map_err(|error| unreadable(path, kind, &error))?;
    open_in(directory, path, kind, flags)
}

/// Opens the last name of a path in a directory, and follows no link there.
pub(crate) fn open_fixed(directory: impl AsFd, path: &Path, flags: OFlags) -> io::Result<File> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    // A pipe that another user created in the directory must not make Gatekey wait.
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Reads a trusted file that the operator named.
///
/// # Errors
/// When it cannot be read, is not trusted, or is too large.
pub(crate) fn read(
    path: &Path,
    kind: Kind,
) -> Result<(Zeroizing<Vec<u8>>, Option<Exposure>), Refusal> {
    let (file, exposure) = open(path, kind, process::own_uid())?;
    Ok((read_all(file, path, kind)?, exposure))
}

/// Reads the rest of an open file.
pub(crate) fn read_all(file: File, path: &Path, kind: Kind) -> Result<Zeroizing<Vec<u8>>, Refusal> {
    // Of this size at once: a buffer that grows leaves copies of a secret behind.
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let capacity = usize::try_from(length.min(MAX_LENGTH)).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(MAX_LENGTH + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(path, kind, &error))?;
    if bytes.len() as u64 > MAX_LENGTH {
        let shown = path.display();
        return Err(Refusal::Refused(format!("{kind} {shown} is larger than 1 MiB")));
    }
    Ok(bytes)
}

/// Checks whether user `own` may trust an open file or directory.
///
/// # Errors
/// When it is not trusted.
pub(crate) fn check(
    file: &File,
    path: &Path,
    kind: Kind,
    own: u32,
) -> Result<Option<Exposure>, Refusal> {
    let metadata = file.metadata().map_err(|error| unreadable(path, kind, &error))?;
    if metadata.is_dir() && kind != Kind::DataDirectory {
        return Err(Refusal::Refused(format!("{kind} {} is a directory", path.display())));
    }
    // Devices, and pipes that the caller's shell made.
    if is_inherited(path) || !(metadata.is_file() || metadata.is_dir()) {
        return Ok(None);
    }
    let mut found = Found::from(&metadata);
    if kind == Kind::Database && found.owner == own {
        // The store removes the access of a group, once it knows that the file is a database of its
        // own. What everyone could write may have been changed before.
        found.mode &= !0o070;
    }
    let path = path.display().to_string();
    match judge(kind, found, own) {
        Ok(Others::No) => Ok(None),
        Ok(Others::Group) => Ok(Some(Exposure { path, kind, group: Some(found.group) })),
        Ok(Others::All) => Ok(Some(Exposure { path, kind, group: None })),
        Err(fault) => Err(Refusal::Refused(explain(fault, kind, found, own, &path, file))),
    }
}

/// Whether a path names a descriptor that the caller of this process opened.
fn is_inherited(path: &Path) -> bool {
    ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|handed| path.starts_with(handed))
}

/// Says what is wrong with a file, and the least change that fixes it.
fn explain(fault: Fault, kind: Kind, found: Found, own: u32, path: &str, file: &File) -> String {
    let quoted = shell_quoted(path);
    let owner = process::user(found.owner);
    // A mounted Secret belongs to root, and is mounted read-only.
    let is_fixed = (found.owner != own && own != 0) || is_read_only(file);
    match (fault, kind) {
        (Fault::Owner, Kind::DataDirectory | Kind::Database) => format!(
            "{kind} {path} belongs to {owner}, and this process runs as {}; run it as {owner}, or give all files \
             there to one user with chown",
            process::user(own)
        ),
        (Fault::Owner, _) => format!(
            "{kind} {path} belongs to {owner}, who can change it; it must belong to {} or to root: run: chown {} \
             {quoted}",
            process::user(own),
            process::user_name(own).unwrap_or_else(|| own.to_string())
        ),
        (Fault::WritableByAll, Kind::DataDirectory) => format!(
            "{kind} {path} can be written by every user; use a subdirectory, which is created with mode 0700: \
             --data-dir {}{}",
            shell_quoted(&format!("{}/gatekey", path.trim_end_matches('/'))),
            if found.owner == own {
                format!("; or run: chmod o-w {quoted}")
            } else {
                String::new()
            }
        ),
        (Fault::WritableByAll, _) if !kind.is_secret() => {
            format!("{kind} {path} can be written by every user; run: chmod o-w {quoted}")
        }
        (Fault::WritableByAll | Fault::ReadableByAll, _) => {
            let verb = if fault == Fault::WritableByAll { "written" } else { "read" };
            let fix = if is_fixed {
                "set defaultMode: 0440 for the mounted Secret, or remove the access of others with \
                 chmod o= as its owner"
                    .to_owned()
            } else {
                format!("run: chmod 600 {quoted}")
            };
            format!("{kind} {path} can be {verb} by every user; {fix}")
        }
    }
}

fn is_read_only(file: &File) -> bool {
    rustix::fs::fstatvfs(file).is_ok_and(|fs| fs.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Converts the error of opening or reading a file.
pub(crate) fn unreadable(path: &Path, kind: Kind, error: &io::Error) -> Refusal {
    let shown = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Refusal::Missing { kind, path: shown.to_string() },
        io::ErrorKind::PermissionDenied => {
            let hint = denied(path).unwrap_or_default();
            Refusal::Refused(format!("{} {kind} {shown}: {error}{hint}", kind.failure()))
        }
        _ if is_link(path) => Refusal::Refused(format!(
            "{kind} {shown} is a symbolic link, which is not followed here; {}",
            if kind == Kind::RootKey {
                "name the file that it points to with --root-key-file"
            } else {
                "move it away"
            }
        )),
        _ => Refusal::Refused(format!("{} {kind} {shown}: {error}", kind.failure())),
    }
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

/// Says whose file or directory this process may not use, and how to go on; `None` if that is not
/// known.
pub(crate) fn denied(path: &Path) -> Option<String> {
    // What a directory contains is unknown without the permission to enter it.
    let owner = path.ancestors().find_map(|path| path.metadata().ok())?.uid();
    let own = process::own_uid();
    if owner == own {
        return None;
    }
    Some(format!(
        "; this process runs as {}: run the command as {}, who owns it",
        process::user(own),
        process::user(owner)
    ))
}

/// Opens a directory and follows no link in its last name.
pub(crate) fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 1000;
    const SECRETS: [Kind; 4] = [Kind::RootKey, Kind::Passphrase, Kind::TlsKey, Kind::Secret];

    fn judged(kind: Kind, owner: u32, mode: u32) -> Result<Others, Fault> {
        judge(kind, Found { owner, group: 7, mode }, OWN)
    }

    #[test]
    fn a_file_belongs_to_this_user_or_root() {
        for kind in SECRETS.into_iter().chain([Kind::Configuration, Kind::DataDirectory]) {
            assert_eq!(judged(kind, OWN, 0o600), Ok(Others::No));
            assert_eq!(judged(kind, 0, 0o600), Ok(Others::No));
            assert_eq!(judged(kind, 1001, 0o600), Err(Fault::Owner));
        }
        let found = Found { owner: OWN, group: 7, mode: 0o600 };
        assert_eq!(judge(Kind::RootKey, found, 0), Err(Fault::Owner), "root trusts only root");
    }

    #[test]
    fn nothing_that_everyone_can_write_is_trusted() {
        for kind in SECRETS.into_iter().chain([Kind::Configuration, Kind::DataDirectory]) {
            for mode in [0o602, 0o666, 0o777, 0o1777] {
                assert_eq!(judged(kind, 0, mode), Err(Fault::WritableByAll), "{kind} {mode:o}");
            }
        }
    }

    #[test]
    fn a_group_is_accepted_with_a_warning() {
        for kind in SECRETS {
            for (owner, mode) in [(OWN, 0o660), (0, 0o440), (0, 0o640), (OWN, 0o620)] {
                assert_eq!(judged(kind, owner, mode), Ok(Others::Group), "{kind} {mode:o}");
            }
        }
        for kind in [Kind::Configuration, Kind::DataDirectory] {
            assert_eq!(judged(kind, 0, 0o775), Ok(Others::Group));
            assert_eq!(judged(kind, 0, 0o755), Ok(Others::No), "reading it reveals nothing");
        }
    }

    #[test]
    fn only_roots_tls_key_may_be_readable() {
        for kind in SECRETS {
            assert_eq!(judged(kind, OWN, 0o644), Err(Fault::ReadableByAll));
            let of_root =
                if kind == Kind::TlsKey { Ok(Others::All) } else { Err(Fault::ReadableByAll) };
            assert_eq!(judged(kind, 0, 0o644), of_root, "{kind}");
        }
        assert_eq!(judged(Kind::RootKey, OWN, 0o601), Ok(Others::No), "execution is harmless");
    }
}
