//! The present instant as the standard library has it: for dates relative to it, and for log lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatekey_core::Env;

/// The present instant.
pub(crate) fn now() -> SystemTime {
    let micros = Env::system().now().as_micros();
    UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
