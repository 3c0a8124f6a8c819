//! [`Listing`]: keys, page by page.

use std::{process, sync::Arc};

use gatekey_client::ApiKey;
use pyo3::prelude::*;
use tokio::sync::Mutex;

use crate::{
    app::{Key, key},
    call::Call,
    error,
};

/// A listing, which fetches each page when it is needed.
#[pyclass(frozen, module = "gatekey._native")]
pub(crate) struct Listing {
    keys: Arc<Mutex<gatekey_client::Listing<ApiKey>>>,
    /// The process that owns the connections.
    process: u32,
}

impl Listing {
    pub(crate) fn new(listing: gatekey_client::Listing<ApiKey>) -> Self {
        Self { keys: Arc::new(Mutex::new(listing)), process: process::id() }
    }
}

#[pymethods]
impl Listing {
    /// Fetches the next page, which may be empty; `None` at the end. Concurrent calls get
    /// consecutive pages.
    fn next_page(&self, python: Python<'_>) -> PyResult<Call> {
        if self.process != process::id() {
            return Err(error::forked(python, "listing"));
        }
        let keys = Arc::clone(&self.keys);
        let next = async move { keys.lock().await.next_page().await.transpose() };
        Call::start(next, |page| -> Option<Vec<Key>> {
            page.map(|keys| keys.iter().map(key).collect())
        })
    }
}
