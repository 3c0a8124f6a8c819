//! The bodies of a request and its response, which note who has to act next.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{Version, header, request::Parts},
};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::timeout;

use crate::activity::Activity;

/// Bytes of a response that are handed to HTTP/2 at a time. It buffers what the client does not
/// accept, and the response counts as sent.
const PIECE: usize = 16 * 1024;

/// Bytes of the unread rest of a body that are read and dropped.
const MAX_REST: u64 = 1024 * 1024;
/// How long the rest may take to arrive.
const REST_TIMEOUT: Duration = Duration::from_secs(2);

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

    /// Returns the mark that lets the request wait for its body while the server stops.
    pub(crate) fn lasting(&self) -> Lasting {
        Lasting { activity: self.activity.clone(), id: self.id }
    }

    /// Returns the request's body.
    pub(crate) fn request_body(&self, body: Incoming) -> RequestBody {
        let activity = self.activity.clone();
        RequestBody { body: Some(body), activity, id: self.id, awaited: false }
    }

    /// Reads and drops what the handler left of the request's body, if that is short and the client
    /// sends it whatever the response is.
    ///
    /// A response before the end of the request resets the stream over HTTP/2, which some versions
    /// of curl report instead of the response; HTTP/1.1 has to close the connection.
    pub(crate) async fn drop_rest(&self, is_sent_whole: bool) {
        let Some(rest) = self.activity.take_rest(self.id) else { return };
        if !is_sent_whole || rest.size_hint().lower() > MAX_REST {
            return;
        }
        let mut rest = self.request_body(rest);
        let read = async {
            let mut left = MAX_REST;
            while let Some(Ok(frame)) =
                poll_fn(|context| Pin::new(&mut rest).poll_frame(context)).await
            {
                let length = frame.data_ref().map_or(0, Bytes::len);
                match left.checked_sub(length as u64) {
                    Some(less) => left = less,
                    None => break,
                }
            }
        };
        let _ = timeout(REST_TIMEOUT, read).await;
        rest.body = None;
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

/// In the extensions of a request: lets it wait for its body while the server stops.
///
/// A stream in both directions waits for its client and for the upstream at once, and its handler
/// ends it in time. Whatever else waits for a client delays a stop only for seconds.
#[derive(Debug, Clone)]
pub struct Lasting {
    activity: Arc<Activity>,
    id: u64,
}

impl Lasting {
    pub fn set(&self) {
        self.activity.lasts(self.id);
    }
}

/// Returns whether a client sends the whole body whatever the response is. A client that waits for
/// `100 Continue` does not, nor does one that waits for messages before it sends the next.
pub(crate) fn sends_whole_body(request: &Parts) -> bool {
    if request.version < Version::HTTP_2 {
        return !request.headers.contains_key(header::EXPECT);
    }
    let content_type =
        request.headers.get(header::CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    let streams = ["application/grpc", "application/connect+"];
    request.headers.contains_key(header::CONTENT_LENGTH)
        || !streams.iter().any(|start| content_type.starts_with(start.as_bytes()))
}

/// The body of a request.
#[derive(Debug)]
pub(crate) struct RequestBody {
    /// `None` once it has ended.
    body: Option<Incoming>,
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
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        self.set_awaited(polled.is_pending());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.set_awaited(false);
        if let Some(rest) = self.body.take().filter(|body| !body.is_end_stream()) {
            self.activity.keep_rest(self.id, rest);
        }
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
