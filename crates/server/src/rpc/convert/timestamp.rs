//! `google.protobuf.Timestamp` and `Duration`.

use std::time::Duration;

use buffa_types::google::protobuf;
use gatekey_core::{Error, Timestamp};

/// Converts to a message.
pub fn to_wire(instant: Timestamp) -> protobuf::Timestamp {
    let nanos = instant.as_micros().rem_euclid(1_000_000) * 1000;
    let nanos = i32::try_from(nanos).expect("below a second");
    protobuf::Timestamp { seconds: instant.as_seconds(), nanos, ..Default::default() }
}

/// Converts from a message.
///
/// # Errors
/// [`Error::Invalid`] after the year 9999 or before the year 1, or with invalid nanoseconds.
pub fn from_wire(field: &'static str, wire: &protobuf::Timestamp) -> Result<Timestamp, Error> {
    const YEAR_ONE: i64 = -62_135_596_800;
    let in_range = (YEAR_ONE..=Timestamp::MAX.as_seconds()).contains(&wire.seconds);
    if !in_range || !(0..1_000_000_000).contains(&wire.nanos) {
        return Err(Error::invalid(field, "must be a time between the years 1 and 9999"));
    }
    Ok(Timestamp::from_micros(wire.seconds * 1_000_000 + i64::from(wire.nanos) / 1000))
}

/// Converts a duration from a message.
///
/// # Errors
/// [`Error::Invalid`] for a negative or malformed duration.
pub fn duration_from_wire(
    field: &'static str,
    wire: &protobuf::Duration,
) -> Result<Duration, Error> {
    match (u64::try_from(wire.seconds), u32::try_from(wire.nanos)) {
        (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Ok(Duration::new(seconds, nanos)),
        (Ok(_) | Err(_), Ok(_) | Err(_)) => Err(Error::invalid(field, "must not be negative")),
    }
}
