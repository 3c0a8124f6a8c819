//! What the exit codes mean; `gatekey --help` lists them.

use gatekey_client::Error;

/// Done.
pub(crate) const SUCCESS: u8 = 0;
/// Anything without a code of its own.
pub(crate) const FAILURE: u8 = 1;
/// A flag, a setting or a field is wrong. Also clap's code for flags.
pub(crate) const USAGE: u8 = 2;
/// The key does not exist.
pub(crate) const NOT_FOUND: u8 = 3;
/// The key exists already.
pub(crate) const ALREADY_EXISTS: u8 = 4;
/// The server refuses the credentials or the role.
pub(crate) const REFUSED: u8 = 5;
/// The server cannot be reached or does not answer now.
pub(crate) const UNAVAILABLE: u8 = 6;
/// Another process uses the data directory.
pub(crate) const IN_USE: u8 = 7;
/// What was checked does not hold.
pub(crate) const UNSOUND: u8 = 8;

/// For `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  a flag, a setting or a field is wrong
  3  the key does not exist
  4  the key exists already
  5  the server refuses the credentials or the role
  6  the server cannot be reached or does not answer now
  7  another process uses the data directory
  8  what was checked does not hold: a ledger is broken, a backup is damaged, a check failed

Clients find server and credentials in --endpoint and --ca-file, then GATEKEY_API_KEY (may hold
a port), FLYTE_API_KEY or UNION_API_KEY and GATEKEY_CA_FILE, then Flyte's config.yaml files.";

/// An error with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) message: String,
}

/// An error about a flag or setting.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Coded { code: USAGE, message: message.into() }.into()
}

/// The exit code of an error.
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
