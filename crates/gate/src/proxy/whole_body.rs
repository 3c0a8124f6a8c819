//! [`WholeBody`]: a body that is read before it is passed on, with its trailers.

use axum::{
    body::{Body, Bytes},
    http::HeaderMap,
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};

use crate::limits::MAX_MESSAGE;

/// A body that was read.
pub(super) struct WholeBody {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
}

/// Why a body could not be read.
pub(super) enum NotWhole {
    TooLarge,
    Lost(Box<dyn std::error::Error + Send + Sync>),
}

/// Reads a body of at most [`MAX_MESSAGE`] bytes, and what frames them.
pub(super) async fn read(body: Body) -> Result<WholeBody, NotWhole> {
    let collected = Limited::new(body, MAX_MESSAGE).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { NotWhole::TooLarge } else { NotWhole::Lost(error) }
    })?;
    let trailers = collected.trailers().cloned();
    Ok(WholeBody { bytes: collected.to_bytes(), trailers })
}

impl WholeBody {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the body as it was.
    pub(super) fn into_body(self) -> Body {
        let body = Full::new(self.bytes);
        match self.trailers {
            None => Body::new(body),
            Some(trailers) => Body::new(body.with_trailers(async { Some(Ok(trailers)) })),
        }
    }
}
