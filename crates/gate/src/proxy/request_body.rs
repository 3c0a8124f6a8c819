//! [`RequestBody`]: the body of a request on its way to the upstream.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

use crate::gate::Gate;

/// The body of a request. Trailers that the upstream must not get from a client are removed.
pub(super) struct RequestBody {
    body: Body,
    gate: Arc<Gate>,
    cut: Arc<Cut>,
}

/// Cuts the body of a request off, when its call may not go on. The response, which decides that,
/// may have ended, or nobody may read it.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// Whether nothing more is passed on.
    done: AtomicBool,
    /// Whether the body has ended, or nobody wants it.
    is_over: AtomicBool,
    /// The task that waits for a part of the body.
    waiting: Mutex<Option<Waker>>,
}

impl Cut {
    /// Nothing more of the body is passed on.
    pub(super) fn cut(&self) {
        self.done.store(true, Ordering::Release);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn is_cut(&self) -> bool {
        self.done.load(Ordering::Acquire)
    }

    /// Has the task woken when the body is cut off.
    fn wait(&self, context: &Context<'_>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *waiting {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waiting = Some(context.waker().clone()),
        }
    }
}

impl RequestBody {
    pub(super) fn new(body: Body, gate: Arc<Gate>, cut: Arc<Cut>) -> Self {
        Self { body, gate, cut }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.cut.is_over.store(true, Ordering::Release);
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_pending() {
            self.cut.wait(context);
        }
        if self.cut.is_cut() {
            return Poll::Ready(Some(Err(axum::Error::new("the call may not go on"))));
        }
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            self.gate.identity_headers.remove_from_trailers(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
