//! [`ResponseBody`]: the body of a response on its way to the client.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};

use super::{metrics::Call, upstream::Lease, watch::Watch};
use crate::{protocol::Protocol, refusal::Refusal};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response.
pub(super) struct ResponseBody {
    /// `None` once the call has been ended.
    body: Option<Incoming>,
    /// `None` for a connection that no other call can use.
    lease: Option<Lease>,
    watch: Watch,
    protocol: Protocol,
    /// The call, which is in progress until the response is dropped.
    _call: Call,
}

impl ResponseBody {
    pub(super) fn new(
        body: Incoming,
        lease: Option<Lease>,
        watch: Watch,
        protocol: Protocol,
        call: Call,
    ) -> Self {
        Self { body: Some(body), lease, watch, protocol, _call: call }
    }

    fn give_back(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.give_back();
        }
    }

    /// Ends a call that may not go on, in its protocol where that can say why.
    fn end(&mut self, refusal: &Refusal) -> Result<Frame<Bytes>, BoxError> {
        tracing::debug!(reason = %refusal.message, "ended a call in progress");
        self.body = None;
        refusal.end_of_stream(&self.protocol).ok_or_else(|| refusal.message.clone().into())
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        match Pin::new(body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if frame.is_trailers() {
                    self.give_back();
                } else if let Some(refusal) = self.watch.check_if_due() {
                    return Poll::Ready(Some(self.end(&refusal)));
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "the upstream ended a response early");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                self.give_back();
                Poll::Ready(None)
            }
            Poll::Pending => match self.watch.poll(context) {
                Poll::Ready(refusal) => Poll::Ready(Some(self.end(&refusal))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        // hyper drops a body without a last poll when it knows that nothing follows.
        if self.body.as_ref().is_some_and(Incoming::is_end_stream) {
            self.give_back();
        }
    }
}
