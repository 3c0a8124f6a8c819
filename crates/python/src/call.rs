//! [`Call`]: a running operation, to wait for or to await.

use std::{
    process,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use gatekey_client::Error;
use pyo3::{IntoPyObjectExt, exceptions::PyRuntimeError, prelude::*};
use tokio::task::AbortHandle;

use crate::{
    error, runtime,
    waker::{Done, Waker},
};

/// How often a waiting thread checks for a signal, such as Ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// Converts the result to a Python object, in a thread that holds the GIL.
type Convert = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

enum State {
    Running {
        /// The event loop to notify of the end, and the id to send it.
        wake: Option<(Arc<Done>, u64)>,
    },
    Done(Result<Convert, Error>),
    Taken,
}

struct Shared {
    state: Mutex<State>,
    done: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self, outcome: Result<Convert, Error>) {
        let before = std::mem::replace(&mut *self.state(), State::Done(outcome));
        self.done.notify_all();
        if let State::Running { wake: Some((waker, id)) } = before {
            waker.push(id);
        }
    }
}

/// An operation that runs on the background thread, and has been running since its creation.
#[pyclass(frozen, module = "gatekey._native")]
pub(crate) struct Call {
    shared: Arc<Shared>,
    task: AbortHandle,
    process: u32,
}

impl Call {
    /// Starts an operation; `into_python` converts its result.
    pub(crate) fn start<T, P>(
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
        into_python: impl FnOnce(T) -> P + Send + 'static,
    ) -> PyResult<Self>
    where
        T: Send + 'static,
        P: for<'py> IntoPyObject<'py>,
    {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::Running { wake: None }),
            done: Condvar::new(),
        });
        let finished = Arc::clone(&shared);
        let task = runtime::handle()?.spawn(async move {
            let outcome = operation.await;
            finished.finish(outcome.map(|result| {
                Box::new(move |python: Python<'_>| into_python(result).into_py_any(python))
                    as Convert
            }));
        });
        Ok(Self { shared, task: task.abort_handle(), process: process::id() })
    }

    /// Takes the outcome, or returns `None` while the call is running.
    fn take(&self) -> PyResult<Option<Result<Convert, Error>>> {
        let mut state = self.shared.state();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(outcome) => Ok(Some(outcome)),
            State::Taken => {
                Err(PyRuntimeError::new_err("the result of this call was already taken"))
            }
            running @ State::Running { .. } => {
                *state = running;
                Ok(None)
            }
        }
    }

    fn pause(&self) {
        let state = self.shared.state();
        if matches!(*state, State::Running { .. }) {
            drop(
                self.shared
                    .done
                    .wait_timeout(state, SIGNAL_CHECK)
                    .unwrap_or_else(PoisonError::into_inner),
            );
        }
    }
}

#[pymethods]
impl Call {
    /// Waits for the result with the GIL released. If a signal handler raises, as for Ctrl-C, the
    /// call is cancelled.
    fn wait(&self, python: Python<'_>) -> PyResult<Py<PyAny>> {
        loop {
            python.detach(|| self.pause());
            if let Some(outcome) = self.take()? {
                return outcome.map_err(|error| error::exception(python, &error))?(python);
            }
            if self.process != process::id() {
                return Err(error::forked(python, "call"));
            }
            if let Err(raised) = python.check_signals() {
                self.task.abort();
                return Err(raised);
            }
        }
    }

    /// Sends `id` to the waker when the call is done, or at once if it is done.
    fn wake(&self, waker: &Waker, id: u64) {
        let mut state = self.shared.state();
        if let State::Running { wake } = &mut *state {
            *wake = Some((Arc::clone(&waker.done), id));
        } else {
            drop(state);
            waker.done.push(id);
        }
    }

    /// Returns the result of a call that is done.
    fn result(&self, python: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.take()? {
            Some(outcome) => outcome.map_err(|error| error::exception(python, &error))?(python),
            None => Err(PyRuntimeError::new_err("the call is still running")),
        }
    }

    /// Cancels the call, if it is still running. The server may execute it nevertheless.
    fn cancel(&self) {
        self.task.abort();
    }
}
