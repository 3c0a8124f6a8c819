//! The bodies of a request and its response, which note who has to act next.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::activity::Activity;

/// Bytes of a response that are handed to HTTP/2 at a time. It buffers what the client does not
/// accept, and the response counts as sent.
const PIECE: usize = 16 * 1024;

/// A request in progress, until its response has ended.
#[derive(Debug)]
pub(crate) struct InProgress {
    activity: Arc<Activity>,
    id: u64,
}

impl InProgress {
    pub(crate) fn begin(activity: &Arc<Activity>) -> Self {
        Self { activity: activity.clone(), id: activity.begin_request() }
    }

    /// Returns the request's body.
    pub(crate) fn request_body(&self, body: Incoming) -> RequestBody {
        RequestBody { body, activity: self.activity.clone(), id: self.id, awaited: false }
    }

    /// Returns the response's body, with which the request ends.
    pub(crate) fn response_body(self, body: Body) -> ResponseBody {
        self.activity.unread(self.id, true);
        ResponseBody { body, rest: Bytes::new(), request: self }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.activity.end_request(self.id);
    }
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct RequestBody {
    body: Incoming,
    activity: Arc<Activity>,
    id: u64,
    /// Whether the handler waits for it.
    awaited: bool,
}

impl RequestBody {
    fn set_awaited(&mut self, awaited: bool) {
        if self.awaited != awaited {
            self.awaited = awaited;
            self.activity.awaits_body(self.id, awaited);
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.set_awaited(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.set_awaited(false);
    }
}

/// The body of a response. It is asked for a part when the client has accepted the last one.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    body: Body,
    /// The rest of the last part.
    rest: Bytes,
    request: InProgress,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let mut polled = if this.rest.is_empty() {
            Pin::new(&mut this.body).poll_frame(context)
        } else {
            Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut this.rest)))))
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(data) = frame.data_mut()
            && data.len() > PIECE
        {
            this.rest = data.split_off(PIECE);
        }
        this.request.activity.unread(this.request.id, polled.is_ready());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut whole = SizeHint::new();
        whole.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            whole.set_upper(upper + rest);
        }
        whole
    }
}
