//! [`Waker`]: tells an event loop which calls are done, through a file descriptor.

use std::{
    io::{self, Read, Write},
    mem,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Mutex, PoisonError},
};

use pyo3::prelude::*;

/// The half that calls hold.
pub(crate) struct Done {
    ids: Mutex<Vec<u64>>,
    writer: UnixStream,
}

impl Done {
    /// A call is done. The background thread never enters Python for it: it would wait for the GIL,
    /// and every other call with it, and could find the interpreter gone.
    pub(crate) fn push(&self, id: u64) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.push(id);
        if ids.len() == 1 {
            // One byte wakes the loop for all that are there when it comes to look. It fails only
            // when the reading half is gone, and then nobody waits.
            let _ = (&self.writer).write(&[1]);
        }
    }
}

/// What an event loop listens to, one for each loop.
#[pyclass(frozen, module = "gatekey._native")]
pub(crate) struct Waker {
    pub(crate) done: Arc<Done>,
    reader: UnixStream,
}

#[pymethods]
impl Waker {
    #[new]
    fn new() -> io::Result<Self> {
        let (reader, writer) = UnixStream::pair()?;
        reader.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        Ok(Self { done: Arc::new(Done { ids: Mutex::default(), writer }), reader })
    }

    /// Readable when calls are done.
    fn fileno(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// The calls that are done since last asked, by what they were told to wake with.
    fn take_done(&self) -> Vec<u64> {
        let mut ids = self.done.ids.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the byte of a later call is not read here.
        let _ = (&self.reader).read(&mut [0; 8]);
        mem::take(&mut *ids)
    }
}
