//! JSON and YAML on standard output.

use std::io::{Write as _, stdout};

use futures::{Stream, TryStreamExt as _};
use gatekey_client::Error;
use serde::Serialize;

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

    /// Returns a value without a final newline.
    fn text(self, value: &impl Serialize) -> anyhow::Result<String> {
        Ok(match self {
            Self::Json => serde_json::to_string_pretty(value)?,
            Self::Yaml => {
                let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
                serde_saphyr::to_string_with_options(value, options)?
                    .trim_end_matches('\n')
                    .to_owned()
            }
        })
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
