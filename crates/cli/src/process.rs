//! Requests to the operating system for this process.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Disables core dumps, and debuggers of every user but root: memory contains secrets.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn forbid_dumps() -> std::io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The effective user of this process, which owns the files that it creates.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Raises the soft limit on open files to the hard one. The soft limit is often 1,024, for programs
/// that call `select`.
///
/// # Errors
/// When the kernel refuses; the limit is unchanged.
pub(crate) fn raise_descriptor_limit() -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
