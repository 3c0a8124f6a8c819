//! What the process asks of the operating system for itself.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// Keeps what is in memory, secrets among it, out of core dumps and from the debuggers of everybody but root.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn forbid_dumps() -> std::io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The user that this process runs as: the owner of what it makes.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Lets the process have as many descriptors as its hard limit allows: the soft one is often 1,024, for the sake of
/// programs that call `select`.
///
/// # Errors
/// When the kernel refuses; the limit is as it was.
pub(crate) fn raise_descriptor_limit() -> std::io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
