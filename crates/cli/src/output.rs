//! What is printed: for people on a terminal, and for programs.

use std::{
    io::{self, IsTerminal as _, Write as _, stderr, stdout},
    path::Path,
    time::SystemTime,
};

use clap::builder::styling::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use futures::{Stream, TryStreamExt as _};
use gatekey_client::{EncodedCredentials, Error, KeyDetails, PlainSecret};
use serde::Serialize;
use serde_json::json;

use crate::args::Format;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

fn paint(style: Style, text: &str, colour: bool) -> String {
    if colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

fn colour_on_stdout() -> bool {
    stdout().is_terminal()
}

/// Bold, on a terminal.
pub(crate) fn bold(text: &str) -> String {
    paint(BOLD, text, colour_on_stdout())
}

/// Faint, on a terminal.
pub(crate) fn dim(text: &str) -> String {
    paint(DIM, text, colour_on_stdout())
}

/// A mark for what went well.
pub(crate) fn done_mark() -> String {
    paint(GOOD, "ok", colour_on_stdout())
}

/// A mark for what will trouble somebody.
pub(crate) fn warning_mark() -> String {
    paint(WARNING, "warning", colour_on_stdout())
}

/// A mark for what does not work.
pub(crate) fn failure_mark() -> String {
    paint(BAD, "FAILED", colour_on_stdout())
}

/// A warning's first word, for standard error.
pub(crate) fn warning_word() -> String {
    paint(WARNING, "warning:", stderr().is_terminal())
}

/// How programs are told.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notation {
    /// Two blanks of indentation.
    Json,
    /// One document, a line for each scalar; a string that any reader would take for something else is quoted.
    Yaml,
}

impl Format {
    /// How programs are told; `None` where people or a shell read.
    pub(crate) fn notation(self) -> Option<Notation> {
        match self {
            Self::Json => Some(Notation::Json),
            Self::Yaml => Some(Notation::Yaml),
            Self::Text | Self::Env => None,
        }
    }
}

impl Notation {
    /// Prints a value.
    pub(crate) fn print(self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(say!("{}", self.text(value)?)?)
    }

    /// Prints values as one list, each as it comes, so that a million need no memory.
    pub(crate) async fn print_list<T: Serialize>(
        self,
        values: impl Stream<Item = Result<T, Error>>,
    ) -> anyhow::Result<()> {
        let mut values = std::pin::pin!(values);
        let mut before = "[";
        while let Some(value) = values.try_next().await? {
            match self {
                Self::Json => {
                    let value = self.text(&value)?.replace('\n', "\n  ");
                    write!(stdout(), "{before}\n  {value}")?;
                }
                // Lists of one are one list when they follow one another.
                Self::Yaml => self.print(&[value])?,
            }
            before = ",";
        }
        match (before, self) {
            ("[", _) => say!("[]")?,
            (_, Self::Json) => say!("\n]")?,
            (_, Self::Yaml) => {}
        }
        Ok(())
    }

    /// A value without the end of its last line.
    fn text(self, value: &impl Serialize) -> anyhow::Result<String> {
        Ok(match self {
            Self::Json => serde_json::to_string_pretty(value)?,
            Self::Yaml => {
                let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
                serde_saphyr::to_string_with_options(value, options)?.trim_end_matches('\n').to_owned()
            }
        })
    }
}

/// Whether an error is that standard output was closed by its reader.
pub(crate) fn nobody_reads(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// An error with its causes, and what to do about it.
pub(crate) fn print_error(error: &anyhow::Error) {
    let mut text = error.to_string();
    let mut hint = None;
    for cause in error.chain() {
        if let Some(client) = cause.downcast_ref::<Error>() {
            hint = client.hint();
            break;
        }
    }
    // A client's error says everything in one sentence; its own causes are for programmers.
    if hint.is_none() && error.downcast_ref::<Error>().is_none() {
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
    }
    eprintln!("{} {text}", paint(BAD, "error:", stderr().is_terminal()));
    if let Some(hint) = hint.filter(|hint| !text.contains(hint)) {
        eprintln!("{} {hint}", paint(WARNING, "hint:", stderr().is_terminal()));
    }
    if let Some(id) = error.downcast_ref::<Error>().and_then(Error::request_id) {
        eprintln!("{}", paint(DIM, &format!("request id: {id}"), stderr().is_terminal()));
    }
}

/// A key with its secret, which is shown this once.
pub(crate) struct Credentials<'a> {
    /// Host, and port unless it is 443.
    pub(crate) endpoint: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
    pub(crate) organization: &'a str,
    pub(crate) ca_file: Option<&'a Path>,
}

impl Credentials<'_> {
    /// Everything in one string, for our own tools: the endpoint may have a port.
    pub(crate) fn encoded(&self) -> anyhow::Result<PlainSecret> {
        self.encoded_for(self.endpoint)
    }

    /// Everything in one string for Flyte's tools, which lose everything behind a port: for the bare host.
    pub(crate) fn encoded_for_flyte(&self) -> anyhow::Result<PlainSecret> {
        self.encoded_for(bare_host(self.endpoint))
    }

    fn encoded_for(&self, endpoint: &str) -> anyhow::Result<PlainSecret> {
        let secret = PlainSecret::new(self.client_secret);
        Ok(EncodedCredentials::new(endpoint, self.client_id, secret, self.organization)?.encode())
    }

    /// Prints them.
    pub(crate) fn print(&self, format: Format) -> anyhow::Result<()> {
        let encoded = self.encoded()?;
        if let Some(notation) = format.notation() {
            return notation.print(&json!({
                "endpoint": self.endpoint,
                "client_id": self.client_id,
                "client_secret": self.client_secret,
                "encoded_credentials": encoded.expose(),
                "ca_file": self.ca_file,
            }));
        }
        if format == Format::Env {
            say!("export GATEKEY_API_KEY={}", encoded.expose())?;
            if let Some(port) = port_of(self.endpoint) {
                say!(
                    "# Flyte's tools lose the port {port} in a key: use --endpoint {} with it.",
                    self.endpoint
                )?;
            }
            say!("export FLYTE_API_KEY={}", self.encoded_for_flyte()?.expose())?;
            if let Some(ca_file) = self.ca_file {
                say!("export GATEKEY_CA_FILE={}", shell_quoted(&ca_file.display().to_string()))?;
            }
            return Ok(());
        }
        eprintln!("{} the secret is shown this once; nobody can show it again.", warning_word());
        say!("{}  {}", dim("client id          "), bold(self.client_id))?;
        say!("{}  {}", dim("client secret      "), self.client_secret)?;
        say!("{}  {}", dim("endpoint           "), self.endpoint)?;
        say!("{}  {}", dim("encoded credentials"), encoded.expose())?;
        if let Some(ca_file) = self.ca_file {
            say!("{}  {}", dim("CA certificate     "), ca_file.display())?;
        }
        Ok(())
    }
}

/// The endpoint without its port.
pub(crate) fn bare_host(endpoint: &str) -> &str {
    match port_of(endpoint) {
        Some(port) => endpoint.strip_suffix(port).and_then(|rest| rest.strip_suffix(':')).unwrap_or(endpoint),
        None => endpoint,
    }
}

/// The port in an endpoint without a scheme; none for an IPv6 address without one.
pub(crate) fn port_of(endpoint: &str) -> Option<&str> {
    let (_, port) = endpoint.rsplit_once(':')?;
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

/// A word that a shell takes as it is.
pub(crate) fn shell_quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'=');
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A date for people.
pub(crate) fn date(instant: Option<SystemTime>, otherwise: &str) -> String {
    instant.map_or_else(|| otherwise.to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string())
}

/// A table without frames.
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

/// Text of others with control characters made visible, so that it cannot steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// What a key may do.
pub(crate) fn role(key: &KeyDetails) -> String {
    key.role.map_or_else(|| "none".to_owned(), |role| role.to_string())
}

/// Whether a key can be used.
pub(crate) fn state(key: &KeyDetails, now: SystemTime) -> &'static str {
    if key.disabled_at.is_some() {
        "disabled"
    } else if key.expires_at.is_some_and(|at| at <= now) {
        "expired"
    } else {
        "enabled"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn yaml(value: &Value) -> String {
        Notation::Yaml.text(value).unwrap()
    }

    /// Any text at all, and texts that are nearly a number, a date, a truth, a reference or a list.
    fn odd_text() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            "[-+.0-9_:eExobXOBn]{1,10}",
            "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ][0-9]{1,2}:[0-9]{2}:[0-9]{2}(\\.[0-9]*)?Z?)?",
            "(?i)yes|no|on|off|y|n|true|false|null|~|\\.nan|[-+]?\\.inf|<<|=|",
            "[-?:,\\[\\]{}#&*!|>'\"%@` \\n\\r\\ta\\\\\u{0}\u{7f}\u{85}\u{a0}\u{2028}\u{feff}]{0,8}",
            "(---|\\.\\.\\.)[ \\n]?a?",
        ]
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_yaml_as_it_was(name in odd_text(), texts in prop::collection::vec(odd_text(), 0..4)) {
            let value = json!({ name: texts, "deeper": [{ "a": texts, "b": { "c": texts.first() } }] });
            let written = yaml(&value);
            let read: Value = serde_saphyr::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
            prop_assert_eq!(read, value, "{}", written);
        }

        #[test]
        fn a_text_without_breaks_is_on_one_line(text in "[^\\p{C}\u{2028}\u{2029}]{0,300}") {
            prop_assert_eq!(yaml(&json!({ "a": text })).lines().count(), 1);
        }
    }

    /// What YAML 1.1 takes for something else, as libraries for Python and Go do, whatever 1.2 says.
    #[test]
    fn a_text_that_any_reader_takes_for_something_else_is_quoted() {
        for text in [
            "yes",
            "No",
            "on",
            "y",
            "null",
            "~",
            "",
            "true",
            "1e3",
            "0123",
            "0o17",
            "0x1f",
            "1_000",
            "1.5",
            "12:30:45",
            ".inf",
            "2026-11-24",
            "2026-11-24T14:00:00Z",
            "<<",
            "=",
            "- a",
            "a: b",
            "a #b",
            "*a",
            "&a",
            "!a",
            "---",
        ] {
            let written = yaml(&json!({ "a": text }));
            assert!(written == format!("a: '{text}'") || written == format!("a: \"{text}\""), "{written}");
        }
    }
}
