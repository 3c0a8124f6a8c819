//! Errors on standard error.

use std::io::{self, Write as _, stderr};

use gatekey_client::Error;

use super::text::{dim_on_stderr, error_word, hint_word, printable, printable_lines};

/// Whether the reader of standard output closed it.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// Prints an error with its causes and a hint how to fix it.
pub(crate) fn print_error(error: &anyhow::Error) {
    let mut message = error.to_string();
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
            if !message.contains(&cause) {
                message = format!("{message}: {cause}");
            }
        }
    }
    // An error that cannot be printed leaves the exit code.
    let mut stderr = stderr().lock();
    let _ = writeln!(stderr, "{} {}", error_word(), printable_lines(&message));
    if let Some(hint) = hint.filter(|hint| !message.contains(hint)) {
        let _ = writeln!(stderr, "{} {}", hint_word(), printable_lines(hint));
    }
    if let Some(id) = error.downcast_ref::<Error>().and_then(Error::request_id) {
        let _ = writeln!(stderr, "{}", dim_on_stderr(&format!("request id: {}", printable(id))));
    }
}
