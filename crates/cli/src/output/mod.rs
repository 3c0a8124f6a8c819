//! The output of commands: text, JSON, YAML, or lines for a shell.

mod credentials;
mod error;
mod notation;
mod text;

pub(crate) use self::{
    credentials::{Credentials, bare_host, port_of},
    error::{is_closed_pipe, print_error},
    notation::Notation,
    text::{
        bold, date, dim, done_mark, failure_mark, note_word, printable, shell_quoted, table,
        warning_mark, warning_word,
    },
};
