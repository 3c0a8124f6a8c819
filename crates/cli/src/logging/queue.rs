//! [`Queue`]: the lines that wait for the thread that writes them.
//!
//! Writing each line by itself would cost every request a system call and a wake-up of the reader,
//! so lines wait up to [`MAX_DELAY`] for others. Only the thread waits for the reader of standard
//! error: when too many lines wait, further ones are dropped and counted.

use std::{
    io::{self, ErrorKind, Write},
    mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// The longest time that a line waits for others to be written with it.
const MAX_DELAY: Duration = Duration::from_millis(100);
/// The number of waiting bytes that are written at once.
const BATCH: usize = 64 * 1024;
/// Bytes that may wait. The same number may be in the middle of being written.
const MAX_WAITING: usize = 4 * 1024 * 1024;
/// The pause before a descriptor in nonblocking mode is tried again.
const RETRY: Duration = Duration::from_millis(20);
/// The longest time that [`Queue::finish`] waits for the reader.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Lines that wait to be written.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified of the first waiting line, of a full batch, and of the end.
    filled: Condvar,
    /// Notified when a batch has been written.
    written: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Whether a batch is being written.
    writing: bool,
    /// Dropped lines that no line has reported.
    unreported: u64,
    ending: bool,
}

impl Queue {
    /// Appends a line in place, without an allocation per line.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let before = state.waiting.len();
        write(&mut state.waiting);
        if state.waiting.len() > MAX_WAITING {
            state.waiting.truncate(before);
            self.count_dropped(&mut state, 1);
        } else if before == 0 || state.waiting.len() >= BATCH {
            // The thread waits only for the first line, and then for a full batch.
            self.0.filled.notify_one();
        }
    }

    /// The number of lines that were dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Writes lines as they arrive, until [`Self::finish`]. Calls `tick` about once a `period`.
    pub(super) fn write_forever(
        &self,
        mut out: impl Write,
        period: Duration,
        mut tick: impl FnMut(),
    ) {
        let mut batch = Vec::new();
        let mut ticked = Instant::now();
        loop {
            if ticked.elapsed() >= period {
                tick();
                ticked = Instant::now();
            }
            let nothing = |state: &mut State| state.waiting.is_empty() && !state.ending;
            let few = |state: &mut State| state.waiting.len() < BATCH && !state.ending;
            let left = period.saturating_sub(ticked.elapsed());
            let waited = self.0.filled.wait_timeout_while(self.lock(), left, nothing);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                if state.ending {
                    return;
                }
                continue;
            }
            let waited = self.0.filled.wait_timeout_while(state, MAX_DELAY, few);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            mem::swap(&mut state.waiting, &mut batch);
            state.writing = true;
            let unreported = mem::take(&mut state.unreported);
            drop(state);
            // Now there is room for it.
            if unreported > 0 {
                tracing::warn!(
                    lines = unreported,
                    "dropped log lines: standard error accepted them too slowly"
                );
            }
            let lost = write_lines(&mut out, &batch);
            batch.clear();
            batch.shrink_to(BATCH);
            let mut state = self.lock();
            state.writing = false;
            self.count_dropped(&mut state, lost);
            self.0.written.notify_all();
        }
    }

    /// Waits until everything is written, for at most [`FINISH_TIMEOUT`].
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        state.ending = true;
        self.0.filled.notify_one();
        let pending = |state: &mut State| state.writing || !state.waiting.is_empty();
        drop(self.0.written.wait_timeout_while(state, FINISH_TIMEOUT, pending));
    }

    /// The lines that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> String {
        String::from_utf8(self.lock().waiting.clone()).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count_dropped(&self, state: &mut State, lines: u64) {
        state.unreported += lines;
        self.0.dropped.fetch_add(lines, Ordering::Relaxed);
    }
}

/// Writes lines, and returns how many were lost because the descriptor does not accept them.
fn write_lines(out: &mut impl Write, mut lines: &[u8]) -> u64 {
    while !lines.is_empty() {
        match out.write(lines) {
            Ok(0) => break,
            Ok(written) => lines = &lines[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::park_timeout(RETRY),
            Err(_) => break,
        }
    }
    lines.split_inclusive(|byte| *byte == b'\n').count() as u64
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(|lines| lines.extend_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader that reads nothing until it is released.
    struct Stalled(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Stalled {
        fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            self.1.send(lines.to_vec()).unwrap();
            Ok(lines.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stalled_reader_costs_lines_but_no_time() {
        let queue = Queue::default();
        let ((go, gone), (sender, received)) = (mpsc::channel(), mpsc::channel());
        let writing = queue.clone();
        let thread = std::thread::spawn(move || {
            writing.write_forever(Stalled(gone, sender), MAX_DELAY, || {});
        });
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<_>>();
        let appended = 3 * MAX_WAITING / line.len();
        for _ in 0..appended {
            queue.append(|lines| lines.extend_from_slice(&line));
        }
        let dropped = usize::try_from(queue.dropped()).unwrap();
        assert!(dropped >= appended / 3, "{dropped} of {appended}");
        drop(go);
        queue.finish();
        thread.join().unwrap();
        let written: Vec<u8> = received.try_iter().flatten().collect();
        assert_eq!(written.len() / line.len(), appended - dropped);
        assert!(written.chunks(line.len()).all(|written| written == line));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
                match self.0 {
                    0 => Err(ErrorKind::StorageFull.into()),
                    left => {
                        self.0 = 0;
                        Ok(left.min(lines.len()))
                    }
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(write_lines(&mut Full(0), b"a\nb\nc\n"), 3);
        assert_eq!(write_lines(&mut Full(3), b"a\nb\nc\n"), 2);
        assert_eq!(write_lines(&mut Full(6), b"a\nb\nc\n"), 0);
    }
}
