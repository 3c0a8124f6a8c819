//! [`Listing`]: keys page by page.

use std::sync::Arc;

use gatekey_client::ApiKey;
use pyo3::prelude::*;
use tokio::sync::Mutex;

use crate::{
    call::Call,
    client::{Key, key},
};

/// The keys that a listing has not given yet; nothing is fetched before it is asked for.
#[pyclass(frozen, module = "gatekey._native")]
pub(crate) struct Listing(Arc<Mutex<gatekey_client::Listing<ApiKey>>>);

impl Listing {
    pub(crate) fn new(listing: gatekey_client::Listing<ApiKey>) -> Self {
        Self(Arc::new(Mutex::new(listing)))
    }
}

#[pymethods]
impl Listing {
    /// The next page, which may be empty; `None` at the end. Pages asked for at once come one after the other.
    fn next_page(&self) -> PyResult<Call> {
        let listing = Arc::clone(&self.0);
        let next = async move { listing.lock().await.next_page().await.transpose() };
        Call::start(next, |page| -> Option<Vec<Key>> { page.map(|keys| keys.iter().map(key).collect()) })
    }
}
