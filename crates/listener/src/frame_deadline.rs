//! [`FrameDeadline`]: times out an unfinished HTTP/2 preface, frame or header block.
//!
//! hyper limits how long the headers of HTTP/1.1 may take, but not those of HTTP/2: h2 waits for
//! the preface, or for the rest of a header block, as long as the connection is open. So this
//! stream reads the frame headers that pass through it. Data frames may be slow: the body of a
//! request has a limit of its own.

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

/// An HTTP/2 stream whose reads fail once its preface, a frame other than data, or a header block
/// takes longer than the limit.
pub(crate) struct FrameDeadline<S> {
    stream: S,
    limit: Duration,
    progress: Progress,
    /// Set while something is unfinished.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> FrameDeadline<S> {
    /// Wraps a new connection, whose preface is due.
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            progress: Progress::default(),
            deadline: Some(Box::pin(sleep(limit))),
        }
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
            let finished = this.progress.advance(&buffer.filled()[before..]);
            if !this.progress.is_unfinished() {
                this.deadline = None;
            } else if finished || this.deadline.is_none() {
                this.deadline = Some(Box::pin(sleep(this.limit)));
            }
        }
        if let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(context).is_ready()
        {
            let unfinished = "timed out in an unfinished frame or header block";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, unfinished)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameDeadline<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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

/// Bytes of the preface (RFC 9113 section 3.4).
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();
/// Bytes of a frame header: length, type, flags and stream (RFC 9113 section 4.1).
const FRAME_HEADER: usize = 9;
// Frame types (RFC 9113 section 6), and the flag that ends a header block.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// The position in a client's bytes. Whether they are valid HTTP/2 is up to h2.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Progress {
    part: Part,
    /// Whether a header block has begun whose last frame has not arrived.
    in_header_block: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Preface { left: usize },
    FrameHeader { bytes: [u8; FRAME_HEADER], arrived: usize },
    Payload { left: usize, kind: u8, flags: u8 },
}

impl Default for Progress {
    fn default() -> Self {
        Self { part: Part::Preface { left: PREFACE }, in_header_block: false }
    }
}

impl Progress {
    /// Advances by `bytes`. Returns whether everything was finished at some point within them.
    fn advance(&mut self, mut bytes: &[u8]) -> bool {
        let mut finished = false;
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
                Part::FrameHeader { bytes: header, arrived } => {
                    let taken = bytes.len().min(FRAME_HEADER - *arrived);
                    header[*arrived..*arrived + taken].copy_from_slice(&bytes[..taken]);
                    *arrived += taken;
                    if *arrived == FRAME_HEADER {
                        let [high, middle, low, kind, flags, ..] = *header;
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
                    self.in_header_block = flags & END_HEADERS == 0;
                }
                self.part = Part::BETWEEN;
            }
            finished |= !self.is_unfinished();
        }
        finished
    }

    /// Whether something has begun that must end in time.
    fn is_unfinished(&self) -> bool {
        self.in_header_block
            || match self.part {
                Part::Preface { .. } => true,
                Part::FrameHeader { arrived, .. } => arrived > 0,
                Part::Payload { kind, .. } => kind != DATA,
            }
    }
}

impl Part {
    const BETWEEN: Self = Self::FrameHeader { bytes: [0; FRAME_HEADER], arrived: 0 };
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

    fn after(bytes: &[u8]) -> Progress {
        let mut progress = Progress::default();
        progress.advance(bytes);
        progress
    }

    fn is_unfinished(frames: &[Vec<u8>]) -> bool {
        after(&[PREFACE, &frames.concat()].concat()).is_unfinished()
    }

    #[test]
    fn unfinished_parts_are_recognized() {
        assert!(
            after(b"").is_unfinished()
                && after(&PREFACE[..23]).is_unfinished()
                && !after(PREFACE).is_unfinished()
        );
        let (open, last) = (frame(HEADERS, 0, b"a"), frame(CONTINUATION, END_HEADERS, b""));
        assert!(is_unfinished(std::slice::from_ref(&open)));
        assert!(is_unfinished(&[
            open.clone(),
            frame(CONTINUATION, 0, b""),
            frame(CONTINUATION, 0, b"bc")
        ]));
        assert!(is_unfinished(&[open.clone(), last[..8].to_vec()]));
        assert!(!is_unfinished(&[open, last]));
        let (settings, data) = (frame(4, 0, b"123456"), frame(DATA, 0, b"1234"));
        assert!(is_unfinished(&[settings[..10].to_vec()]) && is_unfinished(&[data[..8].to_vec()]));
        assert!(!is_unfinished(&[data[..11].to_vec()]), "a body may be slow");
        assert!(!is_unfinished(&[settings, data, frame(HEADERS, END_HEADERS | 1, b"abc")]));
    }

    #[test]
    fn a_following_block_hides_no_end() {
        let mut progress = after(PREFACE);
        let (whole, open) = (frame(HEADERS, END_HEADERS, b"a"), frame(HEADERS, 0, b"b"));
        assert!(progress.advance(&[whole, open].concat()) && progress.is_unfinished());
        assert!(!progress.advance(&frame(CONTINUATION, 0, b"c")) && progress.is_unfinished());
    }

    proptest! {
        #[test]
        fn the_split_of_the_bytes_does_not_matter(
            bytes: Vec<u8>,
            kinds in proptest::collection::vec((0..10_u8, 0..8_u8, 0..20_usize), 0..8),
            cuts in proptest::collection::vec(0..40_usize, 0..20),
        ) {
            let frames: Vec<_> = kinds.iter().map(|(kind, flags, size)| frame(*kind, *flags, &vec![7; *size])).collect();
            let all = [PREFACE, &frames.concat(), &bytes].concat();
            let (mut progress, mut rest, mut finished) = (Progress::default(), &all[..], false);
            for cut in cuts {
                let (piece, behind) = rest.split_at(cut.min(rest.len()));
                finished |= progress.advance(piece);
                rest = behind;
            }
            finished |= progress.advance(rest);
            let mut whole = Progress::default();
            prop_assert_eq!(whole.advance(&all), finished);
            prop_assert_eq!(whole, progress);
        }
    }
}
