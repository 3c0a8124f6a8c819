//! The time that a client gives a call, in the headers of gRPC and Connect.

use std::time::Duration;

use axum::http::HeaderMap;
use tokio::time::Instant;

/// How long the upstream, which has the same deadline, may take longer to answer that it passed.
const GRACE: Duration = Duration::from_millis(250);

/// Returns when a call must have ended; `None` if its client set no limit.
pub(super) fn of(headers: &HeaderMap) -> Option<Instant> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let timeout = text("grpc-timeout")
        .and_then(grpc)
        .or_else(|| text("connect-timeout-ms").and_then(connect));
    Instant::now().checked_add(timeout? + GRACE)
}

/// Reads `TimeoutValue TimeoutUnit` (gRPC over HTTP/2, "Requests"): at most 8 digits.
fn grpc(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let value = whole_number(digits, 8)?;
    Some(match unit {
        "H" => Duration::from_secs(value * 60 * 60),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

/// Reads milliseconds: at most 10 digits (Connect protocol, "Timeout").
fn connect(text: &str) -> Option<Duration> {
    whole_number(text, 10).map(Duration::from_millis)
}

fn whole_number(digits: &str, most: usize) -> Option<u64> {
    let is_number =
        (1..=most).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timeouts_are_read_as_specified() {
        for (text, micros) in [
            ("1H", Some(3_600_000_000)),
            ("2M", Some(120_000_000)),
            ("3S", Some(3_000_000)),
            ("4m", Some(4_000)),
            ("5u", Some(5)),
            ("99999000n", Some(99_999)),
            ("100000000n", None),
            ("1", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("1\u{e9}", None),
            ("1s", None),
        ] {
            assert_eq!(grpc(text), micros.map(Duration::from_micros), "{text}");
        }
        assert_eq!(connect("1500"), Some(Duration::from_millis(1500)));
        for text in ["", "12345678901", "1.5", "-1", "1ms"] {
            assert_eq!(connect(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_timeout_panics(text: String, headers in "[0-9]{0,12}[HMSmunx]?") {
            let _ = (grpc(&text), connect(&text));
            let mut map = HeaderMap::new();
            map.insert("grpc-timeout", headers.parse().unwrap());
            let _ = of(&map);
        }
    }
}
