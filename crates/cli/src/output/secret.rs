//! Output that is shown only once.

use std::{
    fs::File,
    io::{self, Write as _, stdout},
    os::fd::AsFd as _,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, OFlags, fcntl_getfl, fstat, fstatvfs, makedev},
};

use crate::exit::{Coded, NOT_PRINTED};

/// Checks that standard output can be written, before a call whose answer is shown only once.
///
/// # Errors
/// When it is closed, has no reader or is full.
pub(crate) fn check_stdout() -> anyhow::Result<()> {
    writable().map_err(|reason| {
        let message = format!("cannot write to standard output: {reason}; nothing was changed");
        Coded { code: NOT_PRINTED, message }.into()
    })
}

fn writable() -> Result<(), String> {
    let out = stdout();
    let described = |error: rustix::io::Errno| io::Error::from(error).to_string();
    let mode = fcntl_getfl(&out).map_err(described)? & OFlags::RWMODE;
    let metadata = fstat(&out).map_err(described)?;
    // Rust opens /dev/null for reading and writing in place of a descriptor that was closed. A
    // shell that discards the output on purpose opens it for writing.
    let is_null = FileType::from_raw_mode(metadata.st_mode) == FileType::CharacterDevice
        && metadata.st_rdev == makedev(1, 3);
    if mode == OFlags::RDONLY || (is_null && mode == OFlags::RDWR) {
        return Err("it is closed".to_owned());
    }
    // Nothing is written; devices such as /dev/full refuse even that.
    rustix::io::write(&out, &[]).map_err(described)?;
    let mut reader = [PollFd::new(&out, PollFlags::OUT)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    if poll(&mut reader, Some(&at_once)).is_ok_and(|ready| ready > 0)
        && reader[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL)
    {
        return Err("its reader is gone".to_owned());
    }
    if FileType::from_raw_mode(metadata.st_mode) == FileType::RegularFile
        && let Ok(system) = fstatvfs(&out)
        && system.f_blocks > 0
        && system.f_bfree == 0
    {
        return Err("no space left on the device".to_owned());
    }
    Ok(())
}

/// Prints text that is shown only once.
///
/// # Errors
/// If it cannot be written completely. The message is `made`, the reason, and `lost`: the object
/// that was created, and what to do.
pub(crate) fn print_once(text: &str, made: &str, lost: &str) -> anyhow::Result<()> {
    written(text).map_err(|error| {
        let message = format!("{made} could not be printed: {error}; {lost}");
        Coded { code: NOT_PRINTED, message }.into()
    })
}

fn written(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    // A file system may report only later that a file did not fit. Other outputs cannot be synced.
    let file = File::from(out.as_fd().try_clone_to_owned()?);
    if file.metadata()?.is_file() { file.sync_data() } else { Ok(()) }
}
