//! [`WholeBody`]: a body that is read before it is passed on, with its trailers.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    http::HeaderMap,
};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of all bodies that are read at the same time.
const MAX_TOTAL: usize = 64 << 20;

/// Reads bodies, within one limit for all of them.
pub(crate) struct Bodies(Arc<Semaphore>);

/// A body that was read.
pub(crate) struct WholeBody {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    /// Its share of the limit, until it is passed on.
    share: Option<OwnedSemaphorePermit>,
}

/// Why a body could not be read.
pub(crate) enum NotWhole {
    TooLarge,
    /// Other bodies take all of the limit.
    Busy,
    Lost(axum::Error),
}

impl Default for Bodies {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_TOTAL)))
    }
}

impl Bodies {
    /// Reads a body of at most `most` bytes.
    pub(crate) async fn read(&self, mut body: Body, most: usize) -> Result<WholeBody, NotWhole> {
        let (mut bytes, mut trailers) = (Vec::new(), None);
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            match frame.map_err(NotWhole::Lost)?.into_data() {
                Ok(data) => {
                    if bytes.len() + data.len() > most {
                        return Err(NotWhole::TooLarge);
                    }
                    let length = u32::try_from(data.len()).map_err(|_| NotWhole::TooLarge)?;
                    let more = self.0.clone().try_acquire_many_owned(length);
                    let more = more.map_err(|_| NotWhole::Busy)?;
                    match &mut share {
                        Some(share) => share.merge(more),
                        None => share = Some(more),
                    }
                    bytes.extend_from_slice(&data);
                }
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Ok(WholeBody { bytes: bytes.into(), trailers, share })
    }
}

impl WholeBody {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the body as it was.
    pub(super) fn into_body(self) -> Body {
        let Self { bytes, trailers, share } = self;
        let body = Full::new(bytes);
        match trailers {
            None => Body::new(Shared { body, _share: share }),
            Some(trailers) => {
                let body = body.with_trailers(async { Some(Ok(trailers)) });
                Body::new(Shared { body: Box::pin(body), _share: share })
            }
        }
    }
}

/// A body with its share of the limit.
struct Shared<B> {
    body: B,
    _share: Option<OwnedSemaphorePermit>,
}

impl<B: HttpBody + Unpin> HttpBody for Shared<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_MESSAGE;

    #[tokio::test]
    async fn bodies_share_one_limit() {
        let bodies = Bodies::default();
        let mut held = Vec::new();
        let body = || Body::from(vec![0; MAX_MESSAGE]);
        while let Ok(whole) = bodies.read(body(), MAX_MESSAGE).await {
            held.push(whole);
        }
        assert_eq!(held.len(), MAX_TOTAL / MAX_MESSAGE);
        assert!(matches!(
            bodies.read(Body::from("x".repeat(MAX_TOTAL % MAX_MESSAGE + 1)), MAX_MESSAGE).await,
            Err(NotWhole::Busy)
        ));
        drop(held.pop().map(WholeBody::into_body));
        assert!(bodies.read(body(), MAX_MESSAGE).await.is_ok());
    }
}
