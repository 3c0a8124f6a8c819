//! The present instant as the standard library has it: for dates relative to it, and for log lines.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatekey_core::{Env, Timestamp};

/// The present instant.
pub(crate) fn now() -> SystemTime {
    instant(Env::system().now())
}

/// An instant of the domain.
pub(crate) fn instant(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or_default())
}

/// An instant of the domain, to the microsecond, as RFC 3339 writes it.
pub(crate) fn rfc_3339(at: Timestamp) -> String {
    humantime::format_rfc3339_micros(instant(at.min(Timestamp::MAX))).to_string()
}
