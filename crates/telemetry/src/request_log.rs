//! [`RequestLog`]: receives a line for each request.

use std::net::IpAddr;

use axum::http::{Method, Version};

use crate::{outcome::Outcome, record::Failure};

/// The log line of a request, known once it is answered.
#[derive(Debug, Clone)]
pub struct RequestLine<'r> {
    pub request_id: &'r str,
    /// `GET`, `POST`, ...; `_OTHER` for a method that HTTP does not define.
    pub method: &'static str,
    /// The path, without the query and without credentials: at most 256 characters, or 32 of a path
    /// that is not served, if no key called.
    pub path: &'r str,
    pub version: Version,
    pub status: u16,
    /// The name of the gRPC status of a call, over any protocol.
    pub grpc_status: Option<&'static str>,
    pub outcome: Outcome,
    /// The API key that called, or the subject of another issuer; empty when none did.
    pub client_id: &'r str,
    /// The failed authentication, if there was one.
    pub failure: Option<&'r Failure>,
    pub peer: Option<IpAddr>,
    /// Microseconds until the response's headers.
    pub duration_us: u64,
}

/// Receives a line for each request.
///
/// Not a `tracing` event: formatting a dozen fields in its general way is a notable part of the
/// cost of a token.
pub trait RequestLog: Send + Sync {
    /// Takes one line. Must not block for long.
    fn log(&self, line: &RequestLine<'_>);

    /// The number of lines that were dropped because the log accepts them too slowly.
    fn dropped(&self) -> u64 {
        0
    }
}

/// Discards every line.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRequestLog;

impl RequestLog for NoRequestLog {
    fn log(&self, _line: &RequestLine<'_>) {}
}

/// Returns a method that HTTP defines. Any other is text from outside, and may be a credential.
pub(super) fn known_method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] =
        ["GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}
