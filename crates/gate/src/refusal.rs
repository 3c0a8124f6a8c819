//! [`Refusal`]: renders refusals and outages in the protocol of their request; no other file of the
//! gate does.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{self, HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use gatekey_authn::{bearer, rate_limit};
use gatekey_core::{
    api_key::{Rate, Remaining},
    token::Limited,
};
use gatekey_telemetry::Record;
use hyper::body::Frame;
use serde_json::json;

use crate::{
    decide::Denial,
    limits::{Unreadable, projects::ProjectDenial},
    path::InvalidPath,
    protocol::Protocol,
    reason::{self, Reason},
};

/// How a request is refused, or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Malformed, or readable in several ways.
    Invalid,
    /// More than one credential, which may contradict each other.
    SeveralCredentials,
    /// No valid credential. Without one that was `sent`, the challenge names no error.
    Unauthenticated { sent: bool },
    /// A valid key that may not do this.
    Forbidden,
    /// A protocol or method that the gate does not pass on.
    NotSupported,
    /// `Expect` names something other than `100-continue`.
    ExpectationFailed,
    /// Larger than a limit.
    TooLarge,
    /// Too often; see [`Refusal::retry_after`].
    Throttled,
    /// The upstream or the gate is temporarily unavailable.
    Unavailable,
    /// The upstream ended the connection before it answered.
    Lost,
    /// The caller's deadline has passed.
    DeadlineExceeded,
    /// A fault of the gate.
    Internal,
}

impl Kind {
    /// Returns the status in HTTP.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Invalid | Self::SeveralCredentials => StatusCode::BAD_REQUEST,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Self::ExpectationFailed => StatusCode::EXPECTATION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Throttled => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Lost => StatusCode::BAD_GATEWAY,
            Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the code in gRPC, and its name in Connect.
    pub fn code(self) -> (u32, &'static str) {
        match self {
            Self::Invalid | Self::SeveralCredentials | Self::ExpectationFailed => {
                (3, "invalid_argument")
            }
            Self::Unauthenticated { .. } => (16, "unauthenticated"),
            Self::Forbidden => (7, "permission_denied"),
            Self::NotSupported => (12, "unimplemented"),
            Self::TooLarge | Self::Throttled => (8, "resource_exhausted"),
            Self::Unavailable | Self::Lost => (14, "unavailable"),
            Self::DeadlineExceeded => (4, "deadline_exceeded"),
            Self::Internal => (13, "internal"),
        }
    }
}

impl Kind {
    /// Returns the challenge (RFC 6750 section 3).
    fn challenge(self) -> Option<HeaderValue> {
        match self {
            Self::Unauthenticated { sent: false } => Some(bearer::CHALLENGE),
            Self::Unauthenticated { sent: true } => Some(CHALLENGE_INVALID_TOKEN),
            Self::SeveralCredentials => Some(CHALLENGE_INVALID_REQUEST),
            Self::Invalid
            | Self::Forbidden
            | Self::NotSupported
            | Self::ExpectationFailed
            | Self::TooLarge
            | Self::Throttled
            | Self::Unavailable
            | Self::Lost
            | Self::DeadlineExceeded
            | Self::Internal => None,
        }
    }
}

/// A request that is refused, or that failed at the gate.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub kind: Kind,
    pub reason: Reason,
    /// Message for the caller: the problem and its fix.
    pub message: Cow<'static, str>,
    /// When the same request may succeed.
    pub retry_after: Option<Duration>,
    /// Further headers, such as rate limits.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The rate that is used up, for a problem's details.
    violated_policy: Option<&'static str>,
}

/// The challenge to a request with an invalid credential (RFC 6750 section 3.1).
const CHALLENGE_INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="gatekey", error="invalid_token""#);
/// The challenge to several credentials (RFC 6750 section 3.1), for proxies that know no status
/// 400.
const CHALLENGE_INVALID_REQUEST: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="gatekey", error="invalid_request""#);
/// The challenge to a valid credential that does not suffice (RFC 6750 section 3.1).
pub const CHALLENGE_INSUFFICIENT_SCOPE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="gatekey", error="insufficient_scope""#);
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The flag of the last envelope of a stream of Connect.
const END_STREAM: u8 = 0x02;
/// Seconds after which an outage may have ended.
const OUTAGE: Duration = Duration::from_secs(1);

impl Refusal {
    pub fn new(kind: Kind, reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = (kind == Kind::Unavailable).then_some(OUTAGE);
        Self {
            kind,
            reason,
            message: message.into(),
            retry_after,
            headers: Vec::new(),
            violated_policy: None,
        }
    }

    /// Refuses a credential, or a request that lacks one.
    pub fn of_credential(refusal: Option<gatekey_authn::Refusal>) -> Self {
        use gatekey_authn::Refusal as Credential;
        match refusal {
            None => {
                let message =
                    "no credential was sent; send an API key's access token as a Bearer token";
                Self::new(Kind::Unauthenticated { sent: false }, Reason::Credential, message)
            }
            Some(several @ Credential::Several) => {
                Self::new(Kind::SeveralCredentials, Reason::Credentials, several.to_string())
            }
            Some(throttled @ Credential::TooManyFailures { retry_after }) => {
                Self::new(Kind::Throttled, Reason::Failures, throttled.to_string())
                    .with_retry_after(retry_after)
            }
            Some(outage @ Credential::Unavailable) => {
                Self::new(Kind::Unavailable, Reason::Unavailable, outage.to_string())
            }
            Some(refusal) => {
                let kind = Kind::Unauthenticated { sent: true };
                Self::new(kind, Reason::Credential, refusal.to_string())
            }
        }
    }

    /// Sets the time after which the caller can retry.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Adds the rest of the caller's rate to the headers.
    #[must_use]
    pub(crate) fn with_rate(mut self, rate: Option<(Rate, Remaining)>) -> Self {
        if let Some((rate, remaining)) = rate {
            self.headers.extend(rate_limit::headers_of_use(rate, &remaining));
        }
        self
    }

    /// Responds in the protocol of the request.
    pub fn respond(self, record: &Record, protocol: &Protocol) -> Response {
        record.set_grpc_status(self.kind.code().0);
        let status = self.kind.status();
        let response = match protocol {
            Protocol::Grpc(content_type) | Protocol::GrpcWeb(content_type) => {
                self.respond_in_headers(StatusCode::OK, content_type)
            }
            Protocol::ConnectStream(content_type) => {
                let end = self.end_of_connect_stream();
                self.respond_with(StatusCode::OK, content_type.clone(), end)
            }
            Protocol::ConnectUnary => self.respond_as_connect(status),
            Protocol::Http => self.respond_as_problem(status),
        };
        response.map(Body::from)
    }

    /// Returns the last part of a response that has begun; `None` if the protocol has no way to say
    /// that the call failed, other than to break the connection off.
    pub fn end_of_stream(&self, protocol: &Protocol) -> Option<Frame<Bytes>> {
        match protocol {
            Protocol::Grpc(_) => {
                let mut trailers = HeaderMap::with_capacity(3);
                trailers.insert(reason::HEADER, self.reason.header());
                trailers.insert(GRPC_STATUS, self.kind.code().0.into());
                if let Ok(message) = HeaderValue::from_str(&percent_encoded(&self.message)) {
                    trailers.insert(GRPC_MESSAGE, message);
                }
                Some(Frame::trailers(trailers))
            }
            Protocol::ConnectStream(_) => Some(Frame::data(self.end_of_connect_stream().into())),
            Protocol::GrpcWeb(_) | Protocol::ConnectUnary | Protocol::Http => None,
        }
    }

    /// Returns the response to a proxy that asks whether a request may pass. The status is the
    /// decision, and the rest is for the client, to which most proxies pass it on.
    ///
    /// `status` is the one that the proxy understands; see [`Kind::status`].
    pub fn for_proxy(self, status: StatusCode, protocol: &Protocol) -> http::Response<Bytes> {
        match protocol {
            Protocol::Grpc(content_type) | Protocol::GrpcWeb(content_type) => {
                self.respond_in_headers(status, content_type)
            }
            Protocol::ConnectUnary | Protocol::ConnectStream(_) => self.respond_as_connect(status),
            Protocol::Http => self.respond_as_problem(status),
        }
    }

    /// Responds with the status of gRPC in the headers, without a body ("Trailers-Only").
    fn respond_in_headers(
        self,
        status: StatusCode,
        content_type: &HeaderValue,
    ) -> http::Response<Bytes> {
        let (code, message) = (self.kind.code().0, percent_encoded(&self.message));
        let mut response = self.respond_with(status, content_type.clone(), Bytes::new());
        let headers = response.headers_mut();
        headers.insert(GRPC_STATUS, code.into());
        if let Ok(message) = HeaderValue::from_str(&message) {
            headers.insert(GRPC_MESSAGE, message);
        }
        response
    }

    fn respond_as_connect(self, status: StatusCode) -> http::Response<Bytes> {
        let body = self.connect_error().to_string();
        self.respond_with(status, HeaderValue::from_static("application/json"), body)
    }

    /// Responds as RFC 9457 has it.
    fn respond_as_problem(self, status: StatusCode) -> http::Response<Bytes> {
        let true_status = self.kind.status();
        let mut body = json!({
            "type": "about:blank",
            "title": true_status.canonical_reason().unwrap_or_default(),
            "status": true_status.as_u16(),
            "detail": self.message,
        });
        if let Some(policy) = self.violated_policy {
            body["type"] = rate_limit::QUOTA_EXCEEDED.into();
            body["violated-policies"] = json!([policy]);
        }
        let content_type = HeaderValue::from_static("application/problem+json");
        self.respond_with(status, content_type, body.to_string())
    }

    fn end_of_connect_stream(&self) -> Vec<u8> {
        let metadata = json!({ reason::HEADER.as_str(): [self.reason.as_str()] });
        let end = json!({ "error": self.connect_error(), "metadata": metadata }).to_string();
        let length = u32::try_from(end.len()).unwrap_or_default();
        let mut envelope = Vec::with_capacity(5 + end.len());
        envelope.push(END_STREAM);
        envelope.extend_from_slice(&length.to_be_bytes());
        envelope.extend_from_slice(end.as_bytes());
        envelope
    }

    fn connect_error(&self) -> serde_json::Value {
        json!({ "code": self.kind.code().1, "message": self.message })
    }

    fn respond_with(
        self,
        status: StatusCode,
        content_type: HeaderValue,
        body: impl Into<Bytes>,
    ) -> http::Response<Bytes> {
        let mut response = http::Response::new(body.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(reason::HEADER, self.reason.header());
        if let Some(challenge) = self.kind.challenge() {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(retry_after) = self.retry_after {
            headers.insert(header::RETRY_AFTER, whole_seconds(retry_after).into());
        }
        headers.extend(self.headers);
        response
    }
}

impl From<Denial> for Refusal {
    fn from(denial: Denial) -> Self {
        match denial {
            Denial::Unauthenticated => Self::of_credential(None),
            Denial::Scope(_) => {
                let mut refusal = Self::new(Kind::Forbidden, denial.reason(), denial.to_string());
                refusal.headers.push((header::WWW_AUTHENTICATE, CHALLENGE_INSUFFICIENT_SCOPE));
                refusal
            }
            Denial::Role(_) | Denial::Method | Denial::NotAllowed => {
                Self::new(Kind::Forbidden, denial.reason(), denial.to_string())
            }
        }
    }
}

impl From<Limited> for Refusal {
    fn from(limited: Limited) -> Self {
        let (kind, reason) = match limited {
            Limited::Network => (Kind::Forbidden, Reason::Network),
            Limited::Rate { .. } => (Kind::Throttled, Reason::Rate),
        };
        let mut refusal = Self::new(kind, reason, limited.to_string());
        refusal.retry_after = limited.retry_after();
        refusal.headers = rate_limit::headers(&limited);
        refusal.violated_policy = limited.retry_after().map(|_| rate_limit::POLICY);
        refusal
    }
}

impl From<ProjectDenial> for Refusal {
    fn from(denial: ProjectDenial) -> Self {
        let kind = match denial {
            ProjectDenial::Unreadable(Unreadable::TooLarge) => Kind::TooLarge,
            ProjectDenial::Project
            | ProjectDenial::Domain
            | ProjectDenial::Unnamed
            | ProjectDenial::Unseen
            | ProjectDenial::Unreadable(_) => Kind::Forbidden,
        };
        Self::new(kind, denial.reason(), denial.to_string())
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        ProjectDenial::from(unreadable).into()
    }
}

impl From<InvalidPath> for Refusal {
    fn from(invalid: InvalidPath) -> Self {
        Self::new(Kind::Invalid, invalid.reason(), invalid.to_string())
    }
}

/// Rounds up, to at least one second.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}

/// Encodes a message for `grpc-message`: everything but printable ASCII, and the percent sign.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use gatekey_core::token::TokenRefusal;

    use super::*;
    use crate::access::Access;

    /// The words start a login in Flyte's clients, whatever the code.
    #[test]
    fn no_message_contains_words_that_start_logins() {
        let credentials = [
            None,
            Some(gatekey_authn::Refusal::Several),
            Some(gatekey_authn::Refusal::NotBearer),
            Some(TokenRefusal::Revoked.into()),
        ]
        .map(Refusal::of_credential);
        let denials = [
            Denial::Unauthenticated,
            Denial::Role(Access::Write),
            Denial::Scope(Access::Read),
            Denial::Method,
            Denial::NotAllowed,
        ]
        .map(Refusal::from);
        for refusal in credentials.into_iter().chain(denials) {
            let message = refusal.message.to_lowercase();
            assert!(!message.contains("unauthorized"), "{message}");
            assert!(!message.contains("unauthenticated"), "{message}");
        }
    }

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(percent_encoded("role 100% \u{e9}\n"), "role 100%25 %C3%A9%0A");
    }

    #[test]
    fn a_wait_is_at_least_one_second() {
        for (milliseconds, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(milliseconds)), seconds);
        }
    }
}
