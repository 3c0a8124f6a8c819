//! Runs the binary as another user, to whom the owners and modes of files apply.

use std::{
    env, fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use tempfile::TempDir;

use super::{binary, hermetic, not_proven};

/// Users that no system has: they own only what a test gives them.
pub(crate) const ALICE: u32 = 47_001;
pub(crate) const MALLORY: u32 = 47_002;

/// Whether this process may give files to other users, and run as them.
pub(crate) fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        not_proven("files of other users: only root can create them");
    }
    is_root
}

/// The binary as a user and a group, which are their own only ones. Only for root.
pub(crate) fn gatekey_as(user: u32, group: u32) -> Command {
    let mut command = hermetic(reachable_binary().to_str().unwrap());
    command.uid(user).gid(group);
    command
}

/// A directory that every user can enter.
pub(crate) fn open_directory() -> TempDir {
    let base = env::temp_dir();
    let is_open = |path: &Path| fs::metadata(path).unwrap().mode() & 0o001 != 0;
    let base = if base.ancestors().all(is_open) { base } else { "/tmp".into() };
    let directory = tempfile::tempdir_in(base).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// The binary, or a copy of it where other users cannot reach it.
fn reachable_binary() -> &'static PathBuf {
    static PATH: OnceLock<(Option<TempDir>, PathBuf)> = OnceLock::new();
    let (_, path) = PATH.get_or_init(|| {
        let tried = hermetic(binary())
            .arg("--version")
            .uid(ALICE)
            .gid(ALICE)
            .stdout(Stdio::null())
            .status();
        if tried.is_ok_and(|status| status.success()) {
            return (None, binary().into());
        }
        let directory = open_directory();
        let copy = directory.path().join("gatekey");
        fs::copy(binary(), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        (Some(directory), copy)
    });
    path
}
