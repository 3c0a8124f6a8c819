//! API keys as proto3 JSON, identical to the output of protobuf for Python.

use std::io;

use gatekey_proto::cloudidl::identity::App;
use serde_json::{
    Map, Value,
    ser::{Formatter, PrettyFormatter},
};

use crate::{Error, error::Kind};

/// Converts a message to JSON as protobuf's `MessageToDict` does: with names in camelCase, and
/// without unset fields.
///
/// # Errors
/// [`is_invalid_argument`](Error::is_invalid_argument) if a date is before the year 1 or after
/// 9999, the range of `google.protobuf.Timestamp` in JSON.
///
/// ```
/// let app = gatekey_client::App { client_id: "ci".into(), ..Default::default() };
/// assert_eq!(gatekey_client::json::to_dict(&app)?["clientId"], "ci");
/// # Ok::<(), gatekey_client::Error>(())
/// ```
pub fn to_dict(app: &App) -> Result<Map<String, Value>, Error> {
    match serde_json::to_value(app).map_err(date_out_of_range)? {
        Value::Object(fields) => Ok(fields),
        other => unreachable!("a message is an object, not {other}"),
    }
}

/// Prints a message as protobuf's `MessageToJson` does: indented by two spaces, with fields in the
/// order of their numbers, and with all but printable ASCII escaped.
///
/// # Errors
/// As [`to_dict`].
///
/// ```
/// let app = gatekey_client::App { client_id: "ci".into(), ..Default::default() };
/// assert_eq!(gatekey_client::json::to_json(&app)?, "{\n  \"clientId\": \"ci\"\n}");
/// # Ok::<(), gatekey_client::Error>(())
/// ```
pub fn to_json(app: &App) -> Result<String, Error> {
    let mut text = Vec::new();
    let formatter = AsciiFormatter(PrettyFormatter::with_indent(b"  "));
    serde::Serialize::serialize(
        app,
        &mut serde_json::Serializer::with_formatter(&mut text, formatter),
    )
    .map_err(date_out_of_range)?;
    Ok(String::from_utf8(text).expect("every byte written is ASCII"))
}

fn date_out_of_range(error: serde_json::Error) -> Error {
    let message = "the API key has a date outside the years 1 to 9999, which JSON cannot represent";
    Error::new(Kind::InvalidArgument, message).caused_by(error)
}

/// Indents and escapes as Python's `json.dumps` does by default.
struct AsciiFormatter(PrettyFormatter<'static>);

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        text: &str,
    ) -> io::Result<()> {
        let mut units = [0; 2];
        for character in text.chars() {
            if matches!(character, ' '..='~') {
                writer.write_all(&[character as u8])?;
            } else {
                // Outside the basic plane, JSON escapes a surrogate pair (RFC 8259 section 7).
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}
