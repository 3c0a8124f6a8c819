//! Parsers of values.

use std::{net::SocketAddr, time::Duration};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use gatekey_client::{PlainSecret, Role};

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
            Role::Admin => "Manages all keys",
            Role::Contributor => "Reads and writes behind a proxy that checks roles",
            Role::Viewer => "Reads behind a proxy that checks roles",
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
        for text in ["", "keys.example.com:443", "99999", "127.0.0.1"] {
            assert_eq!(address_hint(text), "", "{text}");
        }
    }
}
