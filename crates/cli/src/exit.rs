//! Exit codes.

use gatekey_client::Error;

pub(crate) const SUCCESS: u8 = 0;
/// Any failure without a code of its own.
pub(crate) const FAILURE: u8 = 1;
/// An invalid flag, setting or field. Also clap's code for flags.
pub(crate) const USAGE: u8 = 2;
pub(crate) const NOT_FOUND: u8 = 3;
pub(crate) const ALREADY_EXISTS: u8 = 4;
/// The credentials are invalid, or permission is denied.
pub(crate) const REFUSED: u8 = 5;
pub(crate) const UNAVAILABLE: u8 = 6;
/// Another process uses the data directory.
pub(crate) const IN_USE: u8 = 7;
/// A check failed.
pub(crate) const UNSOUND: u8 = 8;
/// Output that is shown only once cannot be printed.
pub(crate) const NOT_PRINTED: u8 = 9;

/// The codes and their meaning, a line each.
pub(crate) const HELP: &str = "  0  success
  1  any other failure
  2  a flag, setting or field is invalid
  3  the key does not exist
  4  the key already exists
  5  the credentials are invalid, or permission is denied
  6  the server cannot be reached, or is unavailable
  7  another process uses the data directory
  8  a check failed: a broken ledger, a damaged backup, a failed step of doctor
  9  standard output cannot be written, so that a secret or a token is not shown";

/// An error with its own exit code.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) message: String,
}

/// Returns an error about a flag or setting.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Coded { code: USAGE, message: message.into() }.into()
}

pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if let Some(coded) = error.downcast_ref::<Coded>() {
        return coded.code;
    }
    let Some(error) = error.downcast_ref::<Error>() else { return FAILURE };
    if error.is_not_found() {
        NOT_FOUND
    } else if error.is_already_exists() {
        ALREADY_EXISTS
    } else if error.is_unauthenticated() || error.is_permission_denied() {
        REFUSED
    } else if error.is_unavailable() || error.is_timeout() {
        UNAVAILABLE
    } else if error.is_configuration() || error.is_invalid_argument() {
        USAGE
    } else {
        FAILURE
    }
}
