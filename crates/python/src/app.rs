//! [`App`]: the message of a key, which works without protobuf's Python library.

use buffa::Message;
use gatekey_client::{ApiKey, json};
use pyo3::{exceptions::PyValueError, prelude::*, types::PyBytes};
use zeroize::Zeroize;

use crate::{error, json as python_json};

/// A `cloudidl.identity.App`. Dropping it zeroizes the secret.
#[pyclass(frozen, eq, module = "gatekey._native")]
#[derive(PartialEq)]
pub(crate) struct App(gatekey_client::App);

/// The arguments of Python's `ApiKey`: message, organization, encoded credentials.
pub(crate) type Key = (App, Option<String>, Option<String>);

pub(crate) fn key(key: &ApiKey) -> Key {
    (
        App::from(key),
        key.organization().map(str::to_owned),
        key.encoded_credentials().map(str::to_owned),
    )
}

impl From<&ApiKey> for App {
    fn from(key: &ApiKey) -> Self {
        Self(key.pb2().clone())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.0.client_secret.zeroize();
    }
}

#[pymethods]
impl App {
    #[staticmethod]
    fn from_wire(wire: &[u8]) -> PyResult<Self> {
        let app = gatekey_client::App::decode_from_slice(wire);
        app.map(Self).map_err(|error| {
            PyValueError::new_err(format!("not a serialized cloudidl.identity.App: {error}"))
        })
    }

    fn wire<'py>(&self, python: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(python, &self.0.encode_to_vec())
    }

    #[getter]
    fn client_id(&self) -> &str {
        &self.0.client_id
    }

    #[getter]
    fn client_name(&self) -> &str {
        &self.0.client_name
    }

    #[getter]
    fn client_secret(&self) -> &str {
        &self.0.client_secret
    }

    /// Returns the same as protobuf's `MessageToDict`.
    fn to_dict<'py>(&self, python: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // From the text, which has the members in the order of their field numbers, as the
        // original.
        python_json::loads(python, &self.to_json(python)?)
    }

    /// Returns the same as protobuf's `MessageToJson`.
    fn to_json(&self, python: Python<'_>) -> PyResult<String> {
        json::to_json(&self.0).map_err(|error| error::exception(python, &error))
    }

    fn __repr__(&self) -> String {
        format!("App(client_id={:?})", self.0.client_id)
    }
}
