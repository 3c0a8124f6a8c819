//! Conversions between the domain's instants and those of the standard library.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gatekey_core::{
    Timestamp,
    env::{Clock as _, SystemClock},
};

pub(crate) fn now() -> SystemTime {
    system_time(SystemClock.now())
}

pub(crate) fn system_time(at: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.as_micros()).unwrap_or_default())
}

/// Formats an instant in RFC 3339 with microseconds.
pub(crate) fn rfc_3339(at: Timestamp) -> String {
    humantime::format_rfc3339_micros(system_time(at.min(Timestamp::MAX))).to_string()
}
