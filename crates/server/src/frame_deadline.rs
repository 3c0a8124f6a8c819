//! [`FrameDeadline`]: what is begun in HTTP/2 must be ended in time.
//!
//! hyper has a limit for how long the headers of HTTP/1.1 may take and none for those of HTTP/2; h2 waits for the rest of
//! a header block, or for the preface, as long as the connection is there. So the heads of frames are looked at on
//! their way in. Data may be slow here: the body of a request has its own limit.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// A stream of HTTP/2 whose reads fail once something took too long: its preface, a frame that is not data, or a header
/// block from its first byte to its last.
pub(crate) struct FrameDeadline<S> {
    stream: S,
    limit: Duration,
    reading: Reading,
    /// While something is begun and not ended.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> FrameDeadline<S> {
    /// Of a connection that was just made, and has yet to send its preface.
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, reading: Reading::default(), until: Some(Box::pin(sleep(limit))) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameDeadline<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if matches!(read, Poll::Ready(Ok(()))) {
            let ended = this.reading.take(&buffer.filled()[before..]);
            if !this.reading.is_within() {
                this.until = None;
            } else if ended || this.until.is_none() {
                this.until = Some(Box::pin(sleep(this.limit)));
            }
        }
        if let Some(until) = &mut this.until
            && until.as_mut().poll(context).is_ready()
        {
            let begun = "a frame or a header block was begun and not ended in time";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, begun)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameDeadline<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// What a client sends first (RFC 9113 section 3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Length, type, flags and stream (RFC 9113 section 4.1).
const HEAD: usize = 9;
// Types of frames (RFC 9113 section 6), and the flag that ends a header block.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// How far into a client's bytes one is. Whether they make sense is h2's to say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reading {
    part: Part,
    /// Whether a header block was begun whose last frame is not there.
    in_block: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Preface { left: usize },
    Head { bytes: [u8; HEAD], arrived: usize },
    Payload { left: usize, kind: u8, flags: u8 },
}

impl Default for Reading {
    fn default() -> Self {
        Self { part: Part::Preface { left: PREFACE }, in_block: false }
    }
}

impl Reading {
    /// Goes on by these bytes, and tells whether there was a moment within them when nothing was begun.
    fn take(&mut self, mut bytes: &[u8]) -> bool {
        let mut was_without = false;
        while !bytes.is_empty() {
            bytes = match &mut self.part {
                Part::Preface { left } => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    if *left == 0 {
                        self.part = Part::BETWEEN;
                    }
                    &bytes[taken..]
                }
                Part::Head { bytes: head, arrived } => {
                    let taken = bytes.len().min(HEAD - *arrived);
                    head[*arrived..*arrived + taken].copy_from_slice(&bytes[..taken]);
                    *arrived += taken;
                    if *arrived == HEAD {
                        let [high, middle, low, kind, flags, ..] = *head;
                        let left = u32::from_be_bytes([0, high, middle, low]) as usize;
                        self.part = Part::Payload { left, kind, flags };
                    }
                    &bytes[taken..]
                }
                Part::Payload { left, .. } => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    &bytes[taken..]
                }
            };
            if let Part::Payload { left: 0, kind, flags } = self.part {
                if matches!(kind, HEADERS | CONTINUATION) {
                    self.in_block = flags & END_HEADERS == 0;
                }
                self.part = Part::BETWEEN;
            }
            was_without |= !self.is_within();
        }
        was_without
    }

    /// Whether something is begun that must be ended in time.
    fn is_within(&self) -> bool {
        self.in_block
            || match self.part {
                Part::Preface { .. } => true,
                Part::Head { arrived, .. } => arrived > 0,
                Part::Payload { kind, .. } => kind != DATA,
            }
    }
}

impl Part {
    const BETWEEN: Self = Self::Head { bytes: [0; HEAD], arrived: 0 };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn after(bytes: &[u8]) -> Reading {
        let mut reading = Reading::default();
        reading.take(bytes);
        reading
    }

    fn is_within(frames: &[Vec<u8>]) -> bool {
        after(&[PREFACE, &frames.concat()].concat()).is_within()
    }

    #[test]
    fn what_is_begun_and_not_ended_is_known() {
        assert!(after(b"").is_within() && after(&PREFACE[..23]).is_within() && !after(PREFACE).is_within());
        let (open, last) = (frame(HEADERS, 0, b"a"), frame(CONTINUATION, END_HEADERS, b""));
        assert!(is_within(std::slice::from_ref(&open)));
        assert!(is_within(&[open.clone(), frame(CONTINUATION, 0, b""), frame(CONTINUATION, 0, b"bc")]));
        assert!(is_within(&[open.clone(), last[..8].to_vec()]));
        assert!(!is_within(&[open, last]));
        let (settings, data) = (frame(4, 0, b"123456"), frame(DATA, 0, b"1234"));
        assert!(is_within(&[settings[..10].to_vec()]) && is_within(&[data[..8].to_vec()]));
        assert!(!is_within(&[data[..11].to_vec()]), "a body may be slow");
        assert!(!is_within(&[settings, data, frame(HEADERS, END_HEADERS | 1, b"abc")]));
    }

    #[test]
    fn a_block_that_ends_and_the_next_that_begins_are_two() {
        let mut reading = after(PREFACE);
        let (whole, open) = (frame(HEADERS, END_HEADERS, b"a"), frame(HEADERS, 0, b"b"));
        assert!(reading.take(&[whole, open].concat()) && reading.is_within());
        assert!(!reading.take(&frame(CONTINUATION, 0, b"c")) && reading.is_within());
    }

    proptest! {
        #[test]
        fn bytes_mean_the_same_in_whatever_pieces_they_arrive(
            bytes: Vec<u8>,
            kinds in proptest::collection::vec((0..10_u8, 0..8_u8, 0..20_usize), 0..8),
            cuts in proptest::collection::vec(0..40_usize, 0..20),
        ) {
            let frames: Vec<_> = kinds.iter().map(|(kind, flags, size)| frame(*kind, *flags, &vec![7; *size])).collect();
            let all = [PREFACE, &frames.concat(), &bytes].concat();
            let (mut reading, mut rest, mut was_without) = (Reading::default(), &all[..], false);
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                was_without |= reading.take(piece);
                rest = behind;
            }
            was_without |= reading.take(rest);
            let mut whole = Reading::default();
            prop_assert_eq!(whole.take(&all), was_without);
            prop_assert_eq!(whole, reading);
        }
    }
}
