//! Parsers of values.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use gatekey_client::{PlainSecret, Role};
use gatekey_core::Timestamp;

use crate::settings::address_hint;

/// Parses `90d`, `24h`, `15m`, `30s` or `0`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let duration = humantime::parse_duration(text)
        .map_err(|_| "expected a number and a unit, such as 90d, 24h or 15m".to_owned())?;
    if duration > MAX_DURATION {
        return Err("longer than a thousand years; omit the flag for no limit".to_owned());
    }
    Ok(duration)
}

/// Short enough to be added to the present instant.
const MAX_DURATION: Duration = Duration::from_hours(1000 * 366 * 24);

/// An instant, as a time or as an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimeOrAge {
    At(Timestamp),
    /// This long before now.
    Ago(Duration),
}

impl TimeOrAge {
    /// The instant, if the age is counted from `now`.
    pub(crate) fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(instant) => instant,
            Self::Ago(age) => now.before(age),
        }
    }
}

/// Parses an age such as `90d`, a date, or a time in RFC 3339.
pub(super) fn time_or_age(text: &str) -> Result<TimeOrAge, String> {
    if let Ok(age) = duration(text) {
        return Ok(TimeOrAge::Ago(age));
    }
    let parsed = humantime::parse_rfc3339(text)
        .or_else(|_| humantime::parse_rfc3339(&format!("{text}T00:00:00Z")));
    let micros = parsed.ok().and_then(micros);
    micros.map(|micros| TimeOrAge::At(Timestamp::from_micros(micros))).ok_or_else(|| {
        "expected an age such as 90d, a date such as 2026-10-01, or a time such as \
         2026-10-01T12:00:00Z"
            .to_owned()
    })
}

fn micros(time: SystemTime) -> Option<i64> {
    time.duration_since(UNIX_EPOCH).ok()?.as_micros().try_into().ok()
}

/// Parses the name of a file to write. `-` means standard output to most programs, and here too
/// only where a command says so.
pub(super) fn new_file(name: OsString) -> Result<PathBuf, &'static str> {
    if name == "-" {
        return Err("standard output is not supported; name a file, or ./- for a file named -");
    }
    Ok(name.into())
}

/// Parses a number of things.
pub(super) fn count(text: &str) -> Result<usize, &'static str> {
    text.parse().map_err(|_| "expected a whole number, such as 100")
}

/// Parses the number of a version.
pub(super) fn version(text: &str) -> Result<u32, &'static str> {
    text.parse().map_err(|_| "expected the number of a version, such as 2")
}

pub(super) fn role() -> impl TypedValueParser<Value = Role> {
    let names = Role::ALL.map(|role| {
        PossibleValue::new(role.as_str()).help(match role {
            Role::Admin => "Manages all keys, and Flyte's projects and settings",
            Role::Contributor => "Reads and writes in Flyte, through the gate",
            Role::Viewer => "Reads in Flyte, through the gate",
            Role::Verifier => "Introspects the tokens of all keys",
        })
    });
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Role>())
}

#[expect(clippy::unnecessary_wraps, reason = "the signature that clap asks for")]
pub(super) fn plain_secret(text: &str) -> Result<PlainSecret, std::convert::Infallible> {
    Ok(PlainSecret::new(text))
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("expected an IP address and a port, such as 127.0.0.1:8443{}", address_hint(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_port_is_explained() {
        for text in ["8443", ":8443", "*:8443"] {
            let error = socket_address(text).unwrap_err();
            assert!(error.contains("127.0.0.1:8443, or 0.0.0.0:8443"), "{error}");
        }
        let error = socket_address("localhost:9").unwrap_err();
        assert!(error.ends_with("write 127.0.0.1:9"), "{error}");
        for text in ["keys.example.com:443", "keys.example.com", "99999"] {
            assert_eq!(address_hint(text), "", "{text}");
        }
    }

    #[test]
    fn an_instant_is_an_age_or_a_time() {
        let at = |seconds| Ok(TimeOrAge::At(Timestamp::from_seconds(seconds)));
        assert_eq!(time_or_age("90d"), Ok(TimeOrAge::Ago(Duration::from_hours(90 * 24))));
        assert_eq!(time_or_age("2026-01-01"), at(1_767_225_600));
        assert_eq!(time_or_age("2026-01-01T00:00:09Z"), at(1_767_225_609));
        for junk in ["", "2026", "2026-01", "2026-13-01", "yesterday", "1969-12-31", "-1d"] {
            assert!(time_or_age(junk).is_err(), "{junk}");
        }
    }

    #[test]
    fn a_missing_port_is_explained() {
        for (text, written) in [
            ("", "127.0.0.1:8443"),
            ("localhost", "127.0.0.1:8443"),
            ("localhost:", "127.0.0.1:8443"),
            ("0.0.0.0", "0.0.0.0:8443"),
            ("0.0.0.0:", "0.0.0.0:8443"),
            ("::1", "[::1]:8443"),
            ("[::]", "[::]:8443"),
        ] {
            assert_eq!(address_hint(text), format!("; write {written}"), "{text}");
        }
    }
}
