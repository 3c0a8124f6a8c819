//! Requests to the operating system for this process.

use std::{future, io};

use gatekey_core::{Caller, Env};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Disables core dumps, and debuggers of every user but root: memory contains secrets.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn forbid_dumps() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

/// The effective user of this process, which owns the files that it creates.
pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The name of a user; `None` if the system knows none.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    // Only local users: asking for others needs the C library.
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// A user in a message: the name, or else the number.
pub(crate) fn user(uid: u32) -> String {
    user_name(uid).map_or_else(|| format!("uid {uid}"), |name| format!("{name} (uid {uid})"))
}

/// The name of this host, or of this container.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Raises the soft limit on open files to the hard one. The soft limit is often 1,024, for programs
/// that call `select`.
///
/// # Errors
/// When the kernel refuses; the limit is unchanged.
pub(crate) fn raise_descriptor_limit() -> io::Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// Returns the user of this process as the caller of an operation.
pub(crate) fn local_caller(env: &Env) -> Caller {
    Caller::local(env, own_uid(), concat!("gatekey/", env!("CARGO_PKG_VERSION")))
}

/// SIGTERM and SIGINT, and SIGHUP where it stops the process. They must be caught before the server
/// reports that it is ready, so that none kills it.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Option<Signal>,
}

impl StopSignals {
    /// Catches the signals that stop a server.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: None,
        })
    }

    /// Catches the signals that stop a command on a terminal, which sends SIGHUP when it is closed.
    pub(crate) fn catch_with_hangup() -> io::Result<Self> {
        Ok(Self { hangup: Some(catch_hangups()?), ..Self::catch()? })
    }

    pub(crate) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = hangup(self.hangup.as_mut()) => {}
        }
    }
}

async fn hangup(hangups: Option<&mut Signal>) {
    match hangups {
        Some(hangups) => drop(hangups.recv().await),
        None => future::pending().await,
    }
}

/// Catches SIGHUP, which otherwise kills the process.
pub(crate) fn catch_hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}
