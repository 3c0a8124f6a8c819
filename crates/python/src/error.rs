//! Errors as exceptions: the classes are Python's, in `gatekey/errors.py`.

use gatekey_client::Error;
use pyo3::{prelude::*, sync::PyOnceLock};

/// The exception for an error of the client: a `gatekey.Error` of the class that its code names.
pub(crate) fn exception(python: Python<'_>, error: &Error) -> PyErr {
    of_code(python, error.code(), &error.to_string(), error.request_id(), error.is_retryable())
}

/// The exception in a child process for what its parent was about: the connections are the
/// parent's.
pub(crate) fn forked(python: Python<'_>, what: &str) -> PyErr {
    let message = format!("the process forked while this {what} was under way; begin it anew");
    of_code(python, "canceled", &message, None, true)
}

fn of_code(
    python: Python<'_>,
    code: &str,
    message: &str,
    request_id: Option<&str>,
    is_retryable: bool,
) -> PyErr {
    static OF_CODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let of_code = OF_CODE.get_or_try_init(python, || {
        python.import("gatekey.errors")?.getattr("error_of_code").map(Bound::unbind)
    });
    let made = of_code.and_then(|of_code| of_code.call1(python, (code, message, request_id, is_retryable)));
    match made {
        Ok(made) => PyErr::from_value(made.into_bound(python)),
        Err(failure) => failure,
    }
}
