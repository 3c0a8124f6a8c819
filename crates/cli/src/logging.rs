//! Writes log lines to standard error, as text or JSON.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _, Write as _, stderr},
    panic::{self, PanicHookInfo},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use gatekey_telemetry::{RequestLine, RequestLog};
use http::Version;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

pub(crate) use gatekey_server::config::log::LogFormat;

/// The longest time that a line waits for others to be written with it.
const MAX_DELAY: Duration = Duration::from_millis(100);
/// The number of waiting bytes that are written at once.
const MAX_WAITING_BYTES: usize = 64 * 1024;

pub(crate) const FILTER_VARIABLE: &str = "GATEKEY_LOG";

/// Starts logging, filtered by `GATEKEY_LOG` or by `default_level`. Dropping the guard writes the
/// lines that still wait.
pub(crate) fn start(format: LogFormat, default_level: &str) -> Guard {
    let filter =
        EnvFilter::try_from_env(FILTER_VARIABLE).unwrap_or_else(|_| EnvFilter::new(default_level));
    let lines = Lines::default();
    let (background, guarded) = (lines.clone(), lines.clone());
    // Without the thread, lines are written once there are many of them, and when the guard is
    // dropped.
    let _ = std::thread::Builder::new()
        .name("gatekey-log".to_owned())
        .spawn(move || background.write_forever());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines);
    let text = match format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    // Fails when logging was started before, as by another test of this process.
    let _ = if text {
        builder.with_ansi(stderr().is_terminal()).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init()
    };
    Guard { lines: guarded, text }
}

/// Logs every panic of the process as one line with credentials redacted. Rust's own hook would
/// print the message as it is.
pub(crate) fn report_panics() {
    panic::set_hook(Box::new(report));
}

fn report(panic: &PanicHookInfo<'_>) {
    let message = gatekey_core::panic_message(panic.payload());
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
    if tracing::dispatcher::has_been_set() {
        let backtrace = backtrace.as_ref().map(tracing::field::display);
        tracing::error!(panic = message, at, backtrace, "a thread panicked");
    } else {
        let backtrace = backtrace.map(|backtrace| format!("\n{backtrace}")).unwrap_or_default();
        eprintln!("panicked at {at}: {message}{backtrace}");
    }
}

/// Writes the waiting lines when dropped.
pub(crate) struct Guard {
    lines: Lines,
    text: bool,
}

impl Guard {
    /// The log of requests, in the same format as other lines.
    pub(crate) fn request_log(&self) -> Arc<dyn RequestLog> {
        if self.text { Arc::new(AsEvents) } else { Arc::new(AsJson(self.lines.clone())) }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.lines.flush_all();
    }
}

/// Logs requests as events, for text.
struct AsEvents;

impl RequestLog for AsEvents {
    fn log(&self, line: &RequestLine<'_>) {
        tracing::info!(
            target: "gatekey::request",
            request_id = line.request_id,
            method = line.method,
            path = line.path,
            version = ?line.version,
            status = line.status,
            grpc_status = line.grpc_status,
            client_id = line.client_id,
            peer = line.peer.map(tracing::field::display),
            duration_us = line.duration_us,
            "request"
        );
    }
}

/// Logs requests as JSON lines with the fields of an event.
///
/// The general formatter of `tracing` is a measurable part of the cost of a token.
struct AsJson(Lines);

impl RequestLog for AsJson {
    fn log(&self, line: &RequestLine<'_>) {
        if !tracing::enabled!(target: "gatekey::request", tracing::Level::INFO) {
            return;
        }
        // Before the lock is taken: logging a panic inside it would deadlock.
        let timestamp = humantime::format_rfc3339_micros(crate::clock::now()).to_string();
        self.0.append(|lines| {
            // Writing to a vector cannot fail.
            let _ = write_line(lines, &timestamp, line);
        });
    }
}

/// Writes a line without a serializer, which would check every byte for characters to escape. Only
/// three texts can contain some.
fn write_line(lines: &mut Vec<u8>, timestamp: &str, line: &RequestLine<'_>) -> io::Result<()> {
    lines.extend_from_slice(br#"{"timestamp":""#);
    lines.extend_from_slice(timestamp.as_bytes());
    lines.extend_from_slice(br#"","level":"INFO","message":"request","request_id":"#);
    serde_json::to_writer(&mut *lines, line.request_id)?;
    lines.extend_from_slice(br#","method":""#);
    lines.extend_from_slice(line.method.as_bytes());
    lines.extend_from_slice(br#"","path":"#);
    serde_json::to_writer(&mut *lines, line.path)?;
    lines.extend_from_slice(br#","version":""#);
    lines.extend_from_slice(version(line.version).as_bytes());
    lines.extend_from_slice(br#"","status":"#);
    serde_json::to_writer(&mut *lines, &line.status)?;
    if let Some(grpc_status) = line.grpc_status {
        lines.extend_from_slice(br#","grpc_status":"#);
        serde_json::to_writer(&mut *lines, grpc_status)?;
    }
    lines.extend_from_slice(br#","client_id":""#);
    lines.extend_from_slice(line.client_id.as_bytes());
    if let Some(peer) = line.peer {
        write!(lines, r#"","peer":"{peer}"#)?;
    }
    lines.extend_from_slice(br#"","duration_us":"#);
    serde_json::to_writer(&mut *lines, &line.duration_us)?;
    lines.extend_from_slice(br#","target":"gatekey::request"}"#);
    lines.push(b'\n');
    Ok(())
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Lines that wait to be written to standard error. Writing each line by itself would cost every
/// request a system call and a wake-up of the reader, so lines wait up to [`MAX_DELAY`] for others.
#[derive(Clone, Default)]
struct Lines(Arc<(Mutex<Vec<u8>>, Condvar)>);

impl Lines {
    /// Writes lines as they arrive, until the process ends.
    fn write_forever(&self) {
        let (waiting, some) = &*self.0;
        loop {
            let waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let first = some.wait_while(waiting, |waiting| waiting.is_empty());
            let first = first.unwrap_or_else(PoisonError::into_inner);
            drop(
                some.wait_timeout_while(first, MAX_DELAY, |waiting| {
                    waiting.len() < MAX_WAITING_BYTES
                }),
            );
            self.flush_all();
        }
    }

    fn flush_all(&self) {
        let mut waiting = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing under the lock keeps lines in order. If the reader is slow, requests wait instead
        // of filling the memory.
        let _ = stderr().write_all(&waiting);
        waiting.clear();
    }

    /// Appends a line in place, without an allocation per line.
    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let (waiting, some) = &*self.0;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let before = waiting.len();
        write(&mut waiting);
        // The thread waits only for the first line, and then for a full batch.
        if before == 0 || waiting.len() >= MAX_WAITING_BYTES {
            some.notify_one();
        }
    }
}

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(|lines| lines.extend_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use gatekey_credentials::{Secret, detection::holds_credential};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    proptest! {
        #[test]
        fn a_request_line_is_always_one_json_line(
            request_id in "\\PC{0,20}", path in ".{0,20}", grpc_status in proptest::option::of(".{0,5}"), peer: Option<std::net::IpAddr>,
        ) {
            let line = RequestLine {
                request_id: &request_id,
                method: "POST",
                path: &path,
                version: Version::HTTP_2,
                status: 200,
                grpc_status: grpc_status.as_deref(),
                client_id: "ci",
                peer,
                duration_us: 7,
            };
            let mut lines = Vec::new();
            write_line(&mut lines, "now", &line).unwrap();
            prop_assert_eq!(lines.iter().position(|byte| *byte == b'\n'), Some(lines.len() - 1));
            let mut expected = json!({
                "timestamp": "now", "level": "INFO", "message": "request", "request_id": request_id,
                "method": "POST", "path": path, "version": "HTTP/2.0", "status": 200, "client_id": "ci",
                "duration_us": 7, "target": "gatekey::request",
            });
            for (name, value) in [("grpc_status", grpc_status), ("peer", peer.map(|peer| peer.to_string()))] {
                if let Some(value) = value {
                    expected[name] = value.into();
                }
            }
            prop_assert_eq!(serde_json::from_slice::<Value>(&lines).unwrap(), expected);
        }
    }

    #[test]
    fn a_panic_is_one_line_without_credentials() {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
        let secret = Secret::from_random(&[7; 23]);
        report_panics();
        let caught = tracing::subscriber::with_default(subscriber, || {
            panic::catch_unwind(|| panic!("a fault near {:?}", secret.expose()))
        });
        let _ = panic::take_hook();
        assert!(caught.is_err());
        let logged = String::from_utf8(lines.0.0.lock().unwrap().clone()).unwrap();
        assert_eq!(logged.lines().count(), 1, "{logged}");
        assert!(logged.contains("[credential]") && logged.contains("logging.rs"), "{logged}");
        assert!(!holds_credential(&logged), "{logged}");
    }
}
