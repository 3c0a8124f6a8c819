//! The headers that belong to one connection, and the headers that describe a client's
//! connection to the upstream.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};

use crate::{
    reason::Reason,
    refusal::{Kind, Refusal},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Returns whether a header belongs to one connection (RFC 9110 section 7.6.1), or to an upgrade to
/// HTTP/2 (RFC 7540 section 3.2.1).
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Removes the headers that belong to one connection, with those that `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let lines = headers.get_all(header::CONNECTION).iter();
        let names: Vec<_> = lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            .collect();
        for name in names {
            headers.remove(name);
        }
    }
    // Most messages have none, and a look at each name costs less than a look-up of each of these.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
}

/// Returns whether the client reads trailers (RFC 9110 section 10.1.4).
pub(super) fn accepts_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter();
    let mut codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Checks `Expect`. The listener answers `100-continue` when the body is read.
///
/// # Errors
/// For every other expectation (RFC 9110 section 10.1.1).
pub(super) fn expectation(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut values = headers.get_all(header::EXPECT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(()),
        (Some(value), None) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        (Some(_), _) => Err(Refusal::new(
            Kind::ExpectationFailed,
            Reason::Expectation,
            "the only expectation that can be met is 100-continue",
        )),
    }
}

/// Returns the host that the client named, with its port. The target overrides the header (RFC
/// 9112 section 3.2.2); the listener refuses a request in which both differ over HTTP/2.
pub(super) fn host(head: &Parts) -> Option<HeaderValue> {
    match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => head.headers.get(header::HOST).cloned(),
    }
}

/// Sets the client's address, and how it reached the server.
pub(super) fn set(
    headers: &mut HeaderMap,
    peer: Option<IpAddr>,
    scheme: &HeaderValue,
    host: &HeaderValue,
) {
    if let Some(peer) = peer.and_then(|peer| HeaderValue::from_str(&peer.to_string()).ok()) {
        headers.insert(X_FORWARDED_FOR, peer);
    }
    headers.insert(X_FORWARDED_PROTO, scheme.clone());
    headers.insert(X_FORWARDED_HOST, host.clone());
}
