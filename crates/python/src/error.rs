//! Converts errors to exceptions, whose classes are in `gatekey/errors.py`.

use gatekey_client::Error;
use pyo3::{prelude::*, sync::PyOnceLock};

/// Converts an error of the client to a `gatekey.Error`, of the subclass for its code.
pub(crate) fn exception(python: Python<'_>, error: &Error) -> PyErr {
    of_code(python, error.code(), &error.to_string(), error.request_id(), error.is_retryable())
}

/// Returns the error of an operation that a parent process started, whose connections are the
/// parent's.
pub(crate) fn forked(python: Python<'_>, what: &str) -> PyErr {
    let message =
        format!("the process forked during this {what}; start a new one in the child process");
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
    let exception = of_code
        .and_then(|of_code| of_code.call1(python, (code, message, request_id, is_retryable)));
    match exception {
        Ok(exception) => PyErr::from_value(exception.into_bound(python)),
        Err(failure) => failure,
    }
}
