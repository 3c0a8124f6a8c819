//! [`LateStatus`]: a body that reports the gRPC status at its end.
//!
//! gRPC has the status in trailers, gRPC-Web in a last frame of the body with the same text, and a
//! stream of Connect in a last frame with JSON. The headers of such a response say nothing but 200.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    Error,
    body::{Body, Bytes, HttpBody},
    http::{HeaderMap, header},
};
use hyper::body::{Frame, SizeHint};

use crate::outcome::GrpcStatus;

/// The flag of a last frame of gRPC-Web, which contains trailers as text.
const TRAILERS: u8 = 0x80;
/// The flag of a last frame of a stream of Connect.
const END_STREAM: u8 = 0x02;
/// The length of a frame's header: its flags and the length of its message.
const FRAME_HEADER: usize = 5;
/// The most bytes of a last frame that are searched for a status.
const MAX_LAST_FRAME: usize = 64 * 1024;

/// Whether a response can have its gRPC status at the end of its body.
pub(super) fn has_late_status(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|content_type| {
        content_type.starts_with("application/grpc")
            || content_type.starts_with("application/connect+")
    })
}

/// A body that reports the gRPC status at its end, once: `None` if the body ends without one, and
/// CANCELED if the client leaves first.
pub(super) struct LateStatus<F: FnOnce(Option<GrpcStatus>)> {
    body: Body,
    report: Option<F>,
}

impl<F: FnOnce(Option<GrpcStatus>)> LateStatus<F> {
    pub(super) fn new(body: Body, report: F) -> Self {
        Self { body, report: Some(report) }
    }

    fn report(&mut self, status: Option<GrpcStatus>) {
        if let Some(report) = self.report.take() {
            report(status);
        }
    }
}

impl<F: FnOnce(Option<GrpcStatus>) + Unpin> HttpBody for LateStatus<F> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = &polled {
            match frame {
                None => self.report(None),
                Some(Err(_)) => self.report(Some(GrpcStatus::INTERNAL)),
                Some(Ok(frame)) => {
                    let status = match (frame.trailers_ref(), frame.data_ref()) {
                        (Some(trailers), _) => GrpcStatus::of_headers(trailers),
                        (None, Some(data)) => in_last_frame(data),
                        (None, None) => None,
                    };
                    if status.is_some() {
                        self.report(status);
                    }
                }
            }
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

impl<F: FnOnce(Option<GrpcStatus>)> Drop for LateStatus<F> {
    fn drop(&mut self) {
        let ended = self.body.is_end_stream();
        self.report((!ended).then_some(GrpcStatus::CANCELED));
    }
}

/// The status in the last frame of a message stream, if these bytes contain it whole.
fn in_last_frame(mut bytes: &[u8]) -> Option<GrpcStatus> {
    loop {
        let (header, rest) = bytes.split_at_checked(FRAME_HEADER)?;
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let (message, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        let is_searched = message.len() <= MAX_LAST_FRAME;
        match header[0] {
            flags if flags & TRAILERS != 0 && is_searched => return in_trailers(message),
            flags if flags & END_STREAM != 0 && is_searched => return in_end_of_stream(message),
            _ => bytes = rest,
        }
    }
}

fn in_trailers(message: &[u8]) -> Option<GrpcStatus> {
    let lines = std::str::from_utf8(message).ok()?.lines();
    lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("grpc-status"))
        .and_then(|(_, status)| GrpcStatus::of_code(status.trim().parse().ok()?))
}

/// The JSON of the last frame names a code only if there is an error, and first.
fn in_end_of_stream(message: &[u8]) -> Option<GrpcStatus> {
    let text = std::str::from_utf8(message).ok()?;
    let Some((_, error)) = text.split_once("\"error\"") else { return Some(GrpcStatus::OK) };
    let code = error.split_once("\"code\"").and_then(|(_, code)| code.split('"').nth(1));
    code.and_then(GrpcStatus::named)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(flags: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&[flags][..], &length, message].concat()
    }

    #[test]
    fn the_last_frame_has_the_status() {
        let message = frame(0, b"\x0a\x02ok");
        for (last, status) in [
            (frame(0x80, b"grpc-status: 7\r\ngrpc-message: no\r\n"), Some("PERMISSION_DENIED")),
            (frame(0x80, b"Grpc-Status:0\r\n"), Some("OK")),
            (frame(0x80, b"grpc-message: no\r\n"), None),
            (frame(0x02, b"{}"), Some("OK")),
            (frame(0x02, br#"{"error":{"code":"not_found","message":"x"}}"#), Some("NOT_FOUND")),
            (frame(0x02, br#"{"error":{"code":"canceled"}}"#), Some("CANCELED")),
            (frame(0, b"grpc-status: 7"), None),
        ] {
            for bytes in [last.clone(), [message.clone(), last].concat()] {
                assert_eq!(in_last_frame(&bytes).map(GrpcStatus::name), status);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_searched(bytes: Vec<u8>, flags: u8, message: Vec<u8>) {
            let _ = in_last_frame(&bytes);
            let _ = in_last_frame(&frame(flags, &message));
        }
    }
}
