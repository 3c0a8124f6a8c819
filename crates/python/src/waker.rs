//! [`Waker`]: notifies an event loop of calls that are done, by a file descriptor.

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

/// The writing half, which calls hold.
pub(crate) struct Done {
    ids: Mutex<Vec<u64>>,
    writer: UnixStream,
}

impl Done {
    /// Reports the end of a call.
    ///
    /// The background thread never enters Python: it would wait for the GIL and delay all other
    /// calls, and the interpreter may have exited.
    pub(crate) fn push(&self, id: u64) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.push(id);
        if ids.len() == 1 {
            // One byte wakes the loop for all ids that it finds. Writing fails only if the reading
            // half is closed, and then no task waits.
            let _ = (&self.writer).write(&[1]);
        }
    }
}

/// The reading half, one for each event loop.
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

    /// Returns a file descriptor that is readable when calls are done.
    fn fileno(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Returns the ids of the calls that are done since the last time.
    fn take_done(&self) -> Vec<u64> {
        let mut ids = self.done.ids.lock().unwrap_or_else(PoisonError::into_inner);
        // While the lock is held, so that it does not read the byte of a later call.
        let _ = (&self.reader).read(&mut [0; 8]);
        mem::take(&mut *ids)
    }
}
