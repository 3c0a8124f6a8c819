//! Writes log lines to standard error, as text or JSON.
//!
//! # Layout
//! - [`filter`]: the filter in `GATEKEY_LOG`.
//! - [`requests`]: the lines of requests.
//! - [`plain`]: the lines of commands that people run.
//! - [`repeats`]: one line with a count instead of many.
//! - [`queue`]: the lines that wait for the thread that writes them.

pub(crate) mod filter;
mod plain;
mod queue;
mod repeats;
mod requests;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fs::File,
    io::{IsTerminal as _, Write, stderr},
    os::fd::AsFd as _,
    panic::{self, PanicHookInfo},
    sync::Arc,
};

use gatekey_telemetry::RequestLog;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use self::{
    filter::Malformed,
    plain::Plain,
    queue::Queue,
    repeats::{Events, Limited, PERIOD, Strangers, Unlogged},
    requests::Requests,
};
use crate::output::color_on_stderr;

pub(crate) use gatekey_server::config::log::LogFormat;

/// Starts logging, filtered by `GATEKEY_LOG` or by a default level. Dropping the guard writes the
/// lines that still wait.
pub(crate) fn start(format: LogFormat, default_level: LevelFilter) -> Guard {
    let lines = match format {
        LogFormat::Auto if stderr().is_terminal() => Lines::Text,
        LogFormat::Text => Lines::Text,
        LogFormat::Auto | LogFormat::Json => Lines::Json,
    };
    start_with(lines, default_level)
}

/// Starts logging as a command that people run: its lines look like its other warnings.
pub(crate) fn start_plain(default_level: LevelFilter) -> Guard {
    start_with(Lines::Plain, default_level)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lines {
    Text,
    Json,
    Plain,
}

fn start_with(form: Lines, default_level: LevelFilter) -> Guard {
    let (filter, malformed) = match read_filter(default_level) {
        Ok(filter) => (filter, None),
        Err(malformed) => (
            tracing_subscriber::filter::Targets::new().with_default(default_level),
            Some(malformed),
        ),
    };
    let queue = Queue::default();
    let unlogged = Unreported::default();
    let (background, reported) = (queue.clone(), unlogged.clone());
    // Without the thread, lines are never written; a process that cannot start it has worse
    // problems.
    let _ = std::thread::Builder::new().name("gatekey-log".to_owned()).spawn(move || {
        background.write_forever(standard_error(), PERIOD, || reported.report());
    });
    let lines = tracing_subscriber::fmt::layer().with_writer(queue.clone());
    let lines = match form {
        Lines::Text => lines.with_ansi(color_on_stderr()).boxed(),
        Lines::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
        }
        Lines::Plain => lines.event_format(Plain).boxed(),
    };
    let limited = Limited(unlogged.events.clone());
    // Fails when logging was started before, as by another test of this process.
    let _ = tracing_subscriber::registry().with(filter).with(limited).with(lines).try_init();
    if let Some(malformed) = malformed {
        report_malformed(&malformed, default_level);
    }
    Guard { queue, text: form != Lines::Json, unlogged }
}

/// Reads the filter.
///
/// # Errors
/// When it is malformed; the default level then applies.
pub(crate) fn read_filter(
    default_level: LevelFilter,
) -> Result<tracing_subscriber::filter::Targets, Malformed> {
    #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
    let variable = std::env::var_os(filter::VARIABLE);
    filter::parse(variable.as_deref(), default_level)
}

fn report_malformed(malformed: &Malformed, level: LevelFilter) {
    let Malformed(found) = malformed;
    if level < LevelFilter::WARN {
        eprintln!("warning: {} is malformed at {found:?}, and ignored", filter::VARIABLE);
        return;
    }
    tracing::warn!(
        found,
        expected = filter::FORM,
        default_level = %level,
        "GATEKEY_LOG is malformed and ignored; the default level applies"
    );
}

/// Standard error, without the lock of the standard library: when the reader stalls, only the
/// thread that writes waits for it.
fn standard_error() -> Box<dyn Write> {
    match stderr().as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(stderr()),
    }
}

/// Lines that were not logged, and have not been reported.
#[derive(Clone, Default)]
struct Unreported {
    strangers: Arc<Strangers>,
    events: Arc<Events>,
}

impl Unreported {
    /// Logs one line for many.
    fn report(&self) {
        for Unlogged { network, requests } in self.strangers.take() {
            tracing::info!(
                target: filter::REQUESTS,
                peer = network.map(tracing::field::display),
                requests,
                "further requests without a key"
            );
        }
        for (message, lines) in self.events.take() {
            tracing::warn!(like = message, lines, "dropped repeated log lines");
        }
    }
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
    queue: Queue,
    text: bool,
    unlogged: Unreported,
}

impl Guard {
    /// The log of requests, in the same format as other lines.
    pub(crate) fn request_log(&self) -> Arc<dyn RequestLog> {
        // Who debugs wants every line.
        let debugs = tracing::enabled!(target: filter::REQUESTS, tracing::Level::DEBUG);
        let strangers = (!debugs).then(|| self.unlogged.strangers.clone());
        Arc::new(Requests { queue: self.queue.clone(), text: self.text, strangers })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.unlogged.report();
        self.queue.finish();
    }
}

#[cfg(test)]
mod tests {
    use gatekey_credentials::{Secret, detection::holds_credential};

    use super::*;

    #[test]
    fn a_panic_is_one_line_without_credentials() {
        let lines = Queue::default();
        let subscriber = tracing_subscriber::fmt().json().with_writer(lines.clone()).finish();
        let secret = Secret::from_random(&[7; 23]);
        report_panics();
        let caught = tracing::subscriber::with_default(subscriber, || {
            panic::catch_unwind(|| panic!("a fault near {:?}", secret.expose()))
        });
        let _ = panic::take_hook();
        assert!(caught.is_err());
        let logged = lines.waiting();
        assert_eq!(logged.lines().count(), 1, "{logged}");
        assert!(logged.contains("[credential]") && logged.contains("logging"), "{logged}");
        assert!(!holds_credential(&logged), "{logged}");
    }
}
