//! JSON and YAML on standard output.

use std::{fmt::Write as _, io::Write as _};

use futures::{Stream, TryStreamExt as _};
use gatekey_client::Error;
use gatekey_credentials::text::{deceptive_character, deceptive_characters};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;
use serde_saphyr::DoubleQuoted;

use super::stdout::stdout;
use crate::args::Format;

/// A notation for programs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Notation {
    /// Indented by two spaces.
    Json,
    /// One document with one line per scalar. A string is quoted if any YAML reader could take it
    /// for another type.
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

    /// Prints values as one list, each as it arrives, so that memory use does not grow with the
    /// list.
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

    /// Returns a value without a final newline. Characters of strings that could control a terminal
    /// are escaped, so that they do not have to be taken out.
    pub(crate) fn text(self, value: &impl Serialize) -> anyhow::Result<String> {
        Ok(match self {
            Self::Json => escaped(&serde_json::to_string_pretty(value)?, json_escape),
            Self::Yaml => {
                let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
                let mut text = serde_saphyr::to_string_with_options(value, options.clone())?;
                if deceptive_characters(&text).any(|(_, character)| character != '\n') {
                    let value = serde_json::to_value(value)?;
                    text = if has_deceptive_name(&value) {
                        // Names have no style of their own; JSON is YAML with all strings quoted.
                        serde_json::to_string_pretty(&value)?
                    } else {
                        serde_saphyr::to_string_with_options(&Escapable(&value), options)?
                    };
                }
                escaped(text.trim_end_matches('\n'), yaml_escape)
            }
        })
    }
}

/// Returns a value as one line of JSON.
pub(crate) fn json_line(value: &Value) -> String {
    escaped(&value.to_string(), json_escape)
}

/// Escapes deceptive characters within strings. Between strings, there are only line breaks.
fn escaped(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = 0;
    for (at, character) in deceptive_characters(text).filter(|(_, character)| *character != '\n') {
        escaped.push_str(&text[rest..at]);
        escaped.push_str(&escape(character));
        rest = at + character.len_utf8();
    }
    escaped.push_str(&text[rest..]);
    escaped
}

/// RFC 8259 section 7: outside the basic plane, a surrogate pair.
fn json_escape(character: char) -> String {
    let mut escape = String::new();
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a string does not fail.
        let _ = write!(escape, "\\u{unit:04x}");
    }
    escape
}

/// YAML 1.2.2 section 5.7.
fn yaml_escape(character: char) -> String {
    format!("\\U{:08X}", u32::from(character))
}

/// A value whose strings are in double quotes, the only ones with escapes, where they need them.
struct Escapable<'a>(&'a Value);

impl Serialize for Escapable<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if deceptive_character(text).is_some() => {
                DoubleQuoted(text).serialize(serializer)
            }
            Value::Array(values) => serializer.collect_seq(values.iter().map(Escapable)),
            Value::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, &Escapable(value))?;
                }
                map.end()
            }
            other => other.serialize(serializer),
        }
    }
}

/// Whether the name of a member needs escapes.
fn has_deceptive_name(value: &Value) -> bool {
    match value {
        Value::Array(values) => values.iter().any(has_deceptive_name),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| deceptive_character(name).is_some() || has_deceptive_name(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

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
        fn printed_strings_have_nothing_deceptive(name in any::<String>(), text in odd_text()) {
            let value = json!({ name: [&text], "b": { "c": text } });
            for (notation, written) in [Notation::Json, Notation::Yaml].map(|n| (n, n.text(&value).unwrap())) {
                let deceptive = deceptive_character(&written.replace('\n', ""));
                prop_assert_eq!(deceptive, None, "{:?} {}", notation, written);
                let read: Value = match notation {
                    Notation::Json => serde_json::from_str(&written).unwrap(),
                    Notation::Yaml => serde_saphyr::from_str(&written).unwrap(),
                };
                prop_assert_eq!(&read, &value);
            }
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
            assert!(
                written == format!("a: '{text}'") || written == format!("a: \"{text}\""),
                "{written}"
            );
        }
    }
}
