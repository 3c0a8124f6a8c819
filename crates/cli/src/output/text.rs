//! Text for a terminal: styles, tables, dates and quoting.

use std::{
    io::{IsTerminal as _, stderr, stdout},
    time::SystemTime,
};

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

fn paint(style: Style, text: &str, color: bool) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

fn color_on_stdout() -> bool {
    stdout().is_terminal()
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
    paint(BAD, "error:", stderr().is_terminal())
}

/// The first word of a warning on standard error.
pub(crate) fn warning_word() -> String {
    paint(WARNING, "warning:", stderr().is_terminal())
}

/// The first word of a note on standard error.
pub(crate) fn note_word() -> String {
    paint(BOLD, "note:", stderr().is_terminal())
}

/// The first word of a hint on standard error.
pub(crate) fn hint_word() -> String {
    paint(WARNING, "hint:", stderr().is_terminal())
}

/// Faint on a terminal, for standard error.
pub(crate) fn dim_on_stderr(text: &str) -> String {
    paint(DIM, text, stderr().is_terminal())
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
    instant.map_or_else(
        || otherwise.to_owned(),
        |at| humantime::format_rfc3339_seconds(at).to_string(),
    )
}

/// A table without borders.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|title| bold(title)));
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// Escapes control characters, so that foreign text cannot control the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}
