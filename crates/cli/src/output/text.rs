//! Text for a terminal: styles, dates and quoting.

use std::{
    borrow::Cow,
    io::{IsTerminal as _, Write as _, stderr, stdout},
    time::SystemTime,
};

use anstream::{AutoStream, ColorChoice, stream::RawStream};
use clap::builder::styling::{AnsiColor, Style};
use gatekey_credentials::text;
use rustix::termios::tcgetwinsize;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

fn paint(style: Style, text: &str, color: bool) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// Whether a stream takes colors: it is a terminal, and neither `NO_COLOR` nor `TERM=dumb` forbids
/// them. Decides as clap does for the help.
fn takes_color(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

fn color_on_stdout() -> bool {
    takes_color(&stdout())
}

/// Whether standard error takes colors.
pub(crate) fn color_on_stderr() -> bool {
    takes_color(&stderr())
}

/// The width of the terminal on standard output; `None` if there is none, or its width is unknown.
pub(crate) fn terminal_width() -> Option<usize> {
    if !stdout().is_terminal() {
        return None;
    }
    let columns = tcgetwinsize(stdout()).ok()?.ws_col;
    Some(usize::from(columns)).filter(|columns| *columns > 0)
}

/// Bold on a terminal.
pub(crate) fn bold(text: &str) -> String {
    paint(BOLD, text, color_on_stdout())
}

/// Faint on a terminal.
pub(crate) fn dim(text: &str) -> String {
    paint(DIM, text, color_on_stdout())
}

pub(crate) fn done_mark() -> String {
    paint(GOOD, "ok", color_on_stdout())
}

pub(crate) fn warning_mark() -> String {
    paint(WARNING, "warning", color_on_stdout())
}

pub(crate) fn failure_mark() -> String {
    paint(BAD, "FAILED", color_on_stdout())
}

/// The first word of an error on standard error.
pub(crate) fn error_word() -> String {
    paint(BAD, "error:", color_on_stderr())
}

/// The first word of a warning on standard error.
pub(crate) fn warning_word() -> String {
    paint(WARNING, "warning:", color_on_stderr())
}

/// The first word of a note on standard error.
pub(crate) fn note_word() -> String {
    paint(BOLD, "note:", color_on_stderr())
}

/// The first word of a hint on standard error.
pub(crate) fn hint_word() -> String {
    paint(WARNING, "hint:", color_on_stderr())
}

/// Faint on a terminal, for standard error.
pub(crate) fn dim_on_stderr(text: &str) -> String {
    paint(DIM, text, color_on_stderr())
}

/// Prints a line to standard error. A line that cannot be printed must not stop a command.
pub(crate) fn note(text: &str) {
    let _ = writeln!(stderr(), "{text}");
}

/// Quotes text as one word of a shell, where it needs quotes.
pub(crate) fn shell_quoted(text: &str) -> String {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'=');
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A date in text output.
pub(crate) fn date(instant: Option<SystemTime>, otherwise: &str) -> String {
    instant.map_or_else(|| otherwise.to_owned(), |at| rfc_3339(at, false))
}

/// Formats an instant in RFC 3339, with or without the fraction of a second.
///
/// A server may send instants that RFC 3339 lacks: they become the nearest one that it has.
pub(crate) fn rfc_3339(at: SystemTime, fraction: bool) -> String {
    let last = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(253_402_300_799);
    let at = at.clamp(SystemTime::UNIX_EPOCH, last);
    if fraction {
        humantime::format_rfc3339_micros(at).to_string()
    } else {
        humantime::format_rfc3339_seconds(at).to_string()
    }
}

/// Escapes everything in text from elsewhere that could control the terminal, or that shows as
/// something other than it is. The result is one line.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    text::printable(text)
}

/// As [`printable`], but keeps line breaks: for text of our own that quotes text from elsewhere.
pub(crate) fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}
