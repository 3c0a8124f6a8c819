//! The runtime of this process, which runs every call.

use std::{
    process, ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{PyResult, exceptions::PyOSError};
use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime, and the process that created it.
struct Owned {
    process: u32,
    runtime: Runtime,
}

/// Swapped, never locked: a lock that another thread holds during a fork stays locked in the child.
static CURRENT: AtomicPtr<Owned> = AtomicPtr::new(ptr::null_mut());

/// Returns the runtime of this process, which the first call creates.
///
/// A forked process lacks its parent's threads, so it creates a new runtime. It does not drop its
/// copy of the parent's, because that would wait for the missing threads. No runtime is ever
/// dropped, because Python threads may use it while the interpreter exits.
///
/// # Errors
/// If the operating system refuses another thread.
pub(crate) fn handle() -> PyResult<&'static Handle> {
    let mut seen = CURRENT.load(Ordering::Acquire);
    loop {
        // SAFETY: this function leaked the value that CURRENT points to, so it lives and never
        // changes.
        #[expect(unsafe_code, reason = "a pointer, because a fork could leave a lock locked")]
        if let Some(current) = unsafe { seen.as_ref() }
            && current.process == process::id()
        {
            return Ok(current.runtime.handle());
        }
        let created = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("gatekey")
            .enable_all()
            .build()
            .map_err(|error| {
                PyOSError::new_err(format!("cannot start the background thread: {error}"))
            })?;
        let created = Box::into_raw(Box::new(Owned { process: process::id(), runtime: created }));
        match CURRENT.compare_exchange(seen, created, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => seen = created,
            Err(other) => {
                // SAFETY: created above, and not published.
                #[expect(unsafe_code, reason = "takes back the unpublished runtime")]
                let unused = unsafe { Box::from_raw(created) };
                unused.runtime.shutdown_background();
                seen = other;
            }
        }
    }
}
