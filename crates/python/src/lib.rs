//! `gatekey._native`: Python bindings of the Rust client.
//!
//! The module is private: the package in `python/gatekey` wraps it in the documented class. A
//! method that calls a server starts a `call::Call` and returns at once. Python then waits for it
//! with the GIL released, or awaits it.
//!
//! # Overview
//! - `client`: a client of one server, and the operations on keys.
//! - `call`: a running operation. `runtime` runs it, and `waker` notifies an event loop of its end.
//! - `listing`: keys, page by page.
//! - `app`, `details`: the types of results. `json` converts JSON to Python objects.
//! - `error`: converts errors to exceptions.

mod app;
mod call;
mod client;
mod details;
mod error;
mod json;
mod listing;
mod runtime;
mod waker;

use pyo3::pymodule;

/// The module. It supports Python without the GIL: every class is frozen, or locks its state.
#[pymodule(gil_used = false)]
mod _native {
    use pyo3::{prelude::*, types::PyBytes};

    #[pymodule_export]
    use crate::{
        app::App,
        call::Call,
        client::Client,
        details::{KeyDetails, SecretDetails},
        listing::Listing,
        waker::Waker,
    };

    /// Escapes characters that control a terminal, are invisible, or change the direction of text.
    #[pyfunction]
    fn printable(text: &str) -> String {
        gatekey_client::printable(text).into_owned()
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // For `ApiKey.pb2`: protobuf's Python library builds the message class from it.
        module.add("DESCRIPTOR_SET", PyBytes::new(module.py(), gatekey_proto::DESCRIPTOR_SET))
    }
}
