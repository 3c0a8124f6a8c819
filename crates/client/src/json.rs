//! Proto3 JSON as the protobuf library for Python writes it.

use std::io;

use gatekey_proto::cloudidl::identity::App;
use serde_json::{
    Map, Value,
    ser::{Formatter, PrettyFormatter},
};

use crate::{Error, error::Kind};

/// What protobuf's `MessageToDict` gives for a message: names in camelCase, unset fields left out.
///
/// # Errors
/// [`is_invalid_argument`](Error::is_invalid_argument) when a date is before the year 1 or after 9999, which
/// JSON cannot say (`google.protobuf.Timestamp`).
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

/// What protobuf's `MessageToJson` prints for a message: two blanks of indentation, fields in the order of
/// their numbers, everything but printable ASCII escaped.
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
    serde::Serialize::serialize(app, &mut serde_json::Serializer::with_formatter(&mut text, formatter))
        .map_err(date_out_of_range)?;
    Ok(String::from_utf8(text).expect("every byte written is ASCII"))
}

fn date_out_of_range(error: serde_json::Error) -> Error {
    Error::new(Kind::InvalidArgument, "the API key has a date that JSON cannot say").caused_by(error)
}

/// Pretty-prints, and escapes as Python's `json.dumps` does by default.
struct AsciiFormatter(PrettyFormatter<'static>);

impl Formatter for AsciiFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut units = [0; 2];
        for character in text.chars() {
            if matches!(character, ' '..='~') {
                writer.write_all(&[character as u8])?;
            } else {
                // Beyond the basic plane JSON has two escapes, a surrogate pair (RFC 8259 section 7).
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

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
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

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}
