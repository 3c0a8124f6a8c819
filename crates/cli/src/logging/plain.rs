//! Lines of commands that people run: like the command line's other warnings.

use std::fmt;

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::output::{error_word, note_word, printable, warning_word};

/// Formats an event as `warning: MESSAGE (FIELD: VALUE, ...)`.
pub(super) struct Plain;

impl<S, F> FormatEvent<S, F> for Plain
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    F: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, F>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let word = match *event.metadata().level() {
            Level::ERROR => error_word(),
            Level::WARN => warning_word(),
            Level::INFO | Level::DEBUG | Level::TRACE => note_word(),
        };
        let mut texts = Texts::default();
        event.record(&mut texts);
        let Texts { message, fields } = texts;
        write!(writer, "{word} {}", printable(&message))?;
        if !fields.is_empty() {
            write!(writer, " ({})", printable(&fields.join(", ")))?;
        }
        writeln!(writer)
    }
}

/// The texts of an event.
#[derive(Default)]
struct Texts {
    message: String,
    fields: Vec<String>,
}

impl Visit for Texts {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push(format!("{}: {value:?}", name.replace('_', " "))),
        }
    }
}
