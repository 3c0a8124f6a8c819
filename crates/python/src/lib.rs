//! `gatekey._native`: the Rust client as Python sees it.
//!
//! Nothing here is public to users: `python/gatekey` wraps it in the documented class. Every method
//! that talks to a server starts a `call::Call` and returns at once; Python waits for it with the
//! GIL released, or awaits it.
//!
//! # Layout
//! - `client`: a server and credentials, and the operations on keys.
//! - `call`: an operation under way; `runtime` is where it runs, `waker` tells an event loop that
//!   it is done.
//! - `listing`: keys page by page.
//! - `app`, `details`: what the answers are made of; `json` makes Python's types of JSON.
//! - `error`: errors as exceptions.

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

/// The module; it needs no GIL of its own, since every class is frozen or locks.
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

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        // What protobuf's library for Python needs to know of the message, for those who ask for
        // one.
        module.add("DESCRIPTOR_SET", PyBytes::new(module.py(), gatekey_proto::DESCRIPTOR_SET))
    }
}
