//! OpenTelemetry's environment variables that are not settings: headers, which contain credentials,
//! and attributes.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use gatekey_outbound::Proxies;
use percent_encoding::percent_decode_str;

/// The values of `OTEL_EXPORTER_OTLP_HEADERS` and `OTEL_RESOURCE_ATTRIBUTES`.
#[derive(Clone, Default)]
pub struct Variables {
    /// Sent with every batch. Marked as sensitive, and never printed.
    pub headers: HeaderMap,
    /// Attributes of the server.
    pub attributes: Vec<(String, String)>,
    /// The proxies that lead to the collector.
    pub proxies: Proxies,
}

/// A value that is not a list of pairs. The message does not repeat it: it may contain a
/// credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidVariable {
    #[error("must be NAME=VALUE pairs separated by commas, with percent-encoded values")]
    Pairs,
    #[error("must name headers, with values that a header may have")]
    Header,
}

impl fmt::Debug for Variables {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Variables")
    }
}

/// Parses headers.
///
/// # Errors
/// When they are not pairs, or not valid in HTTP.
///
/// ```
/// use gatekey_telemetry::traces::variables::headers;
///
/// let headers = headers("authorization=Bearer%20secret,x-tenant=a").unwrap();
/// assert_eq!(headers["authorization"], "Bearer secret");
/// assert!(!format!("{headers:?}").contains("secret"));
/// ```
pub fn headers(text: &str) -> Result<HeaderMap, InvalidVariable> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(text)? {
        let name = HeaderName::try_from(name).map_err(|_| InvalidVariable::Header)?;
        let mut value = HeaderValue::try_from(value).map_err(|_| InvalidVariable::Header)?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Parses pairs in the format of W3C Baggage, without properties (OTLP exporter specification,
/// "Specifying headers").
///
/// # Errors
/// When they are not pairs.
///
/// ```
/// use gatekey_telemetry::traces::variables::pairs;
///
/// let expected = [("a".to_owned(), "1,2".to_owned()), ("b".to_owned(), String::new())];
/// assert_eq!(pairs(" a = 1%2C2, b=,").unwrap(), expected);
/// assert!(pairs("a").is_err() && pairs("=a").is_err() && pairs("a=%ff").is_err());
/// ```
pub fn pairs(text: &str) -> Result<Vec<(String, String)>, InvalidVariable> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let name = name.trim();
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        (!name.is_empty()).then(|| (name.to_owned(), value.into_owned()))
    });
    pairs.collect::<Option<_>>().ok_or(InvalidVariable::Pairs)
}
