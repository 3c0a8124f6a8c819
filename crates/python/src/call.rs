//! [`Call`]: an operation that is under way, to be waited for or awaited.

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

/// How often a waiting thread looks whether Python has a signal for it, such as Ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);

/// Makes the answer a Python object, once there is a thread that holds the GIL.
type Answer = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

enum State {
    UnderWay {
        /// Whom to tell when the call is done, and what.
        wake: Option<(Arc<Done>, u64)>,
    },
    Done(Result<Answer, Error>),
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

    fn settle(&self, outcome: Result<Answer, Error>) {
        let before = std::mem::replace(&mut *self.state(), State::Done(outcome));
        self.done.notify_all();
        if let State::UnderWay { wake: Some((waker, id)) } = before {
            waker.push(id);
        }
    }
}

/// An operation that is under way on the background thread since it was made.
#[pyclass(frozen, module = "gatekey._native")]
pub(crate) struct Call {
    shared: Arc<Shared>,
    task: AbortHandle,
    process: u32,
}

impl Call {
    /// Starts an operation; `into_python` makes its answer a Python object.
    pub(crate) fn start<T, P>(
        operation: impl Future<Output = Result<T, Error>> + Send + 'static,
        into_python: impl FnOnce(T) -> P + Send + 'static,
    ) -> PyResult<Self>
    where
        T: Send + 'static,
        P: for<'py> IntoPyObject<'py>,
    {
        let shared =
            Arc::new(Shared { state: Mutex::new(State::UnderWay { wake: None }), done: Condvar::new() });
        let settled = Arc::clone(&shared);
        let task = runtime::handle()?.spawn(async move {
            let outcome = operation.await;
            settled.settle(outcome.map(|answer| {
                Box::new(move |python: Python<'_>| into_python(answer).into_py_any(python)) as Answer
            }));
        });
        Ok(Self { shared, task: task.abort_handle(), process: process::id() })
    }

    /// The outcome, if the call is done and nobody took it yet.
    fn take(&self) -> PyResult<Option<Result<Answer, Error>>> {
        let mut state = self.shared.state();
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(outcome) => Ok(Some(outcome)),
            State::Taken => Err(PyRuntimeError::new_err("the answer to this call was taken already")),
            under_way @ State::UnderWay { .. } => {
                *state = under_way;
                Ok(None)
            }
        }
    }

    fn pause(&self) {
        let state = self.shared.state();
        if matches!(*state, State::UnderWay { .. }) {
            drop(self.shared.done.wait_timeout(state, SIGNAL_CHECK).unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[pymethods]
impl Call {
    /// Waits for the answer with the GIL released. A signal handler that raises, as Ctrl-C's does,
    /// ends the wait and drops the call.
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

    /// Has the waker say `id` once the call is done, or at once when it is done already.
    fn wake(&self, waker: &Waker, id: u64) {
        let mut state = self.shared.state();
        if let State::UnderWay { wake } = &mut *state {
            *wake = Some((Arc::clone(&waker.done), id));
        } else {
            drop(state);
            waker.done.push(id);
        }
    }

    /// The answer of a call that is done.
    fn result(&self, python: Python<'_>) -> PyResult<Py<PyAny>> {
        match self.take()? {
            Some(outcome) => outcome.map_err(|error| error::exception(python, &error))?(python),
            None => Err(PyRuntimeError::new_err("the call is still under way")),
        }
    }

    /// Drops a call that is under way; the server may have done its work all the same.
    fn cancel(&self) {
        self.task.abort();
    }
}
