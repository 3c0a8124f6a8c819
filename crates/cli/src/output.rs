//! Prints results and errors: as text, JSON, YAML or lines for a shell.

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

/// Bold on a terminal.
pub(crate) fn bold(text: &str) -> String {
    paint(BOLD, text, colour_on_stdout())
}

/// Faint on a terminal.
pub(crate) fn dim(text: &str) -> String {
    paint(DIM, text, colour_on_stdout())
}

pub(crate) fn done_mark() -> String {
    paint(GOOD, "ok", colour_on_stdout())
}

pub(crate) fn warning_mark() -> String {
    paint(WARNING, "warning", colour_on_stdout())
}

pub(crate) fn failure_mark() -> String {
    paint(BAD, "FAILED", colour_on_stdout())
}

/// The first word of a warning on standard error.
pub(crate) fn warning_word() -> String {
    paint(WARNING, "warning:", stderr().is_terminal())
}

/// A notation for programs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notation {
    /// Indented by two spaces.
    Json,
    /// One document with one line per scalar. A string is quoted if any YAML reader could take it for
    /// another type.
    Yaml,
}

impl Format {
    /// The notation for programs; `None` for text and lines for a shell.
    pub(crate) fn notation(self) -> Option<Notation> {
        match self {
            Self::Json => Some(Notation::Json),
            Self::Yaml => Some(Notation::Yaml),
            Self::Text | Self::Env => None,
        }
    }
}

impl Notation {
    pub(crate) fn print(self, value: &impl Serialize) -> anyhow::Result<()> {
        Ok(say!("{}", self.text(value)?)?)
    }

    /// Prints values as one list, each as it arrives, so that memory use does not grow with the list.
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
                // Consecutive YAML lists of one element are one list.
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

    /// Returns a value without a final newline.
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

/// Whether the reader of standard output closed it.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints an error with its causes and a hint how to fix it.
pub(crate) fn print_error(error: &anyhow::Error) {
    let mut text = error.to_string();
    let mut hint = None;
    for cause in error.chain() {
        if let Some(client) = cause.downcast_ref::<Error>() {
            hint = client.hint();
            break;
        }
    }
    // The message of a client's error is complete; its causes are for debugging.
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

/// A key with its secret, which is shown only once.
pub(crate) struct Credentials<'a> {
    /// The host, with the port unless it is 443.
    pub(crate) endpoint: &'a str,
    pub(crate) client_id: &'a str,
    pub(crate) client_secret: &'a str,
    pub(crate) organization: &'a str,
    pub(crate) ca_file: Option<&'a Path>,
}

impl Credentials<'_> {
    /// Encodes the credentials for Gatekey's own tools: the endpoint may have a port.
    pub(crate) fn encoded(&self) -> anyhow::Result<PlainSecret> {
        self.encoded_for(self.endpoint)
    }

    /// Encodes the credentials for Flyte's tools, which cannot decode an endpoint with a port.
    pub(crate) fn encoded_for_flyte(&self) -> anyhow::Result<PlainSecret> {
        self.encoded_for(bare_host(self.endpoint))
    }

    fn encoded_for(&self, endpoint: &str) -> anyhow::Result<PlainSecret> {
        let secret = PlainSecret::new(self.client_secret);
        Ok(EncodedCredentials::new(endpoint, self.client_id, secret, self.organization)?.encode())
    }

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
                    "# Flyte's tools drop the port {port} from a key: use them with --endpoint {}",
                    self.endpoint
                )?;
            }
            say!("export FLYTE_API_KEY={}", self.encoded_for_flyte()?.expose())?;
            if let Some(ca_file) = self.ca_file {
                say!("export GATEKEY_CA_FILE={}", shell_quoted(&ca_file.display().to_string()))?;
            }
            return Ok(());
        }
        eprintln!("{} the secret is shown only once, and cannot be retrieved later", warning_word());
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

/// The port of an endpoint without a scheme; `None` for an IPv6 address without a port.
pub(crate) fn port_of(endpoint: &str) -> Option<&str> {
    let (_, port) = endpoint.rsplit_once(':')?;
    (!port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

/// Quotes text as one word of a shell, where it needs quotes.
pub(crate) fn shell_quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'=');
    if !text.is_empty() && text.bytes().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A date in text output.
pub(crate) fn date(instant: Option<SystemTime>, otherwise: &str) -> String {
    instant.map_or_else(|| otherwise.to_owned(), |at| humantime::format_rfc3339_seconds(at).to_string())
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
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

pub(crate) fn role(key: &KeyDetails) -> String {
    key.role.map_or_else(|| "none".to_owned(), |role| role.to_string())
}

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

    /// Any text, including text that resembles a number, date, boolean, reference or list.
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
        fn any_text_survives_a_round_trip_through_yaml(name in odd_text(), texts in prop::collection::vec(odd_text(), 0..4)) {
            let value = json!({ name: texts, "deeper": [{ "a": texts, "b": { "c": texts.first() } }] });
            let written = yaml(&value);
            let read: Value = serde_saphyr::from_str(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
            prop_assert_eq!(read, value, "{}", written);
        }

        #[test]
        fn text_without_line_breaks_takes_one_line(text in "[^\\p{C}\u{2028}\u{2029}]{0,300}") {
            prop_assert_eq!(yaml(&json!({ "a": text })).lines().count(), 1);
        }
    }

    /// Libraries for Python and Go still read YAML 1.1, which has more implicit types than 1.2.
    #[test]
    fn ambiguous_text_is_quoted() {
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
