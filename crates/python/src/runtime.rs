//! The one runtime of this process, on which every call runs.

use std::{
    process, ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use pyo3::{PyResult, exceptions::PyOSError};
use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime, and the process that it was made in.
struct Owned {
    process: u32,
    runtime: Runtime,
}

/// Swapped and never locked: a lock that another thread holds while the process forks stays held in
/// the child.
static CURRENT: AtomicPtr<Owned> = AtomicPtr::new(ptr::null_mut());

/// The runtime of this process, made at the first call.
///
/// A process that forked has none of its parent's threads, so it gets a runtime of its own. The
/// parent's copy is left alone: to drop it would wait for threads that are not there. No runtime is
/// ever dropped, because Python threads may be using it while the interpreter shuts down.
///
/// # Errors
/// When the operating system refuses another thread.
pub(crate) fn handle() -> PyResult<&'static Handle> {
    let mut seen = CURRENT.load(Ordering::Acquire);
    loop {
        // SAFETY: what CURRENT points to was leaked by this function, so it lives and is never
        // changed.
        #[expect(unsafe_code, reason = "a pointer instead of a lock, which fork would leave locked")]
        if let Some(current) = unsafe { seen.as_ref() }
            && current.process == process::id()
        {
            return Ok(current.runtime.handle());
        }
        let made = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("gatekey")
            .enable_all()
            .build()
            .map_err(|error| {
                PyOSError::new_err(format!("the background thread cannot be started: {error}"))
            })?;
        let made = Box::into_raw(Box::new(Owned { process: process::id(), runtime: made }));
        match CURRENT.compare_exchange(seen, made, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => seen = made,
            Err(other) => {
                // SAFETY: made here, and nobody else saw it.
                #[expect(unsafe_code, reason = "takes back what was not published")]
                let unused = unsafe { Box::from_raw(made) };
                unused.runtime.shutdown_background();
                seen = other;
            }
        }
    }
}
