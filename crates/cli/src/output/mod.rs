//! The output of commands: text, JSON, YAML, or lines for a shell.

mod confirm;
mod credentials;
mod error;
mod key;
mod notation;
mod secret;
mod stdout;
mod table;
mod text;

#[cfg(test)]
pub(crate) use self::credentials::WithSecret;
pub(crate) use self::{
    confirm::confirm,
    credentials::{Credentials, bare_host, flyte_flags},
    error::{is_closed_pipe, print_error},
    key::Key,
    notation::{Notation, json_line},
    secret::{check_stdout, print_once},
    stdout::stdout,
    table::table,
    text::{
        bold, color_on_stderr, date, dim, done_mark, error_word, failure_mark, note, note_word,
        printable, shell_quoted, warning_mark, warning_word,
    },
};
