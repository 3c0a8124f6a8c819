//! [`ResponseBody`]: the body of a response on its way to the client.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use super::ongoing::{Calls, Ongoing, Registration};
use crate::{protocol::Protocol, refusal::Refusal};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response. The call is in progress until it is dropped.
pub(super) struct ResponseBody {
    call: Arc<Ongoing>,
    protocol: Protocol,
    /// `None` for a call that has ended already.
    registration: Option<Registration>,
}

impl ResponseBody {
    pub(super) fn new(call: Ongoing, calls: &Calls, protocol: Protocol) -> Self {
        let call = Arc::new(call);
        let registration = call.is_open().then(|| calls.register(call.clone()));
        Self { call, protocol, registration }
    }

    /// Tells the client why its call was ended, where the protocol can say it.
    fn last(&self, refusal: &Refusal) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let end = refusal.end_of_stream(&self.protocol);
        Poll::Ready(Some(end.ok_or_else(|| refusal.message.clone().into())))
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut state = self.call.lock();
        if let Some(refusal) = state.refusal.take() {
            return self.last(&refusal);
        }
        let Some(passed) = &mut state.passed else { return Poll::Ready(None) };
        match Pin::new(&mut passed.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                if frame.is_trailers() {
                    passed.end();
                } else if let Some(refusal) = state.watch.check_if_due() {
                    self.call.end(&mut state, &refusal);
                    return self.last(&refusal);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "the upstream ended a response early");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                passed.end();
                Poll::Ready(None)
            }
            Poll::Pending => match state.watch.poll(context) {
                Poll::Ready(refusal) => {
                    self.call.end(&mut state, &refusal);
                    self.last(&refusal)
                }
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = self.call.lock();
        state.refusal.is_none() && state.passed.as_ref().is_none_or(|one| one.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.call.lock();
        match &state.passed {
            Some(passed) => passed.body.size_hint(),
            None if state.refusal.is_some() => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.call.end_response(self.registration.take());
    }
}
