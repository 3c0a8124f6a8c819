//! [`Failed`]: a request that got no response.

use std::{error::Error as StdError, fmt};

use hyper_util::client::legacy;

/// A failed request and its context, for the error message.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) source: legacy::Error,
    pub(crate) trusted: Vec<String>,
}

impl fmt::Display for Failed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(formatter)
    }
}

impl StdError for Failed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}
