//! Renders OAuth errors; no other file does. Always JSON, never cached (RFC 6749 section 5.2).

use std::error::Error as _;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gatekey_authn::{bearer, rate_limit};
use gatekey_core::{
    feed::Unavailable,
    token::{Limited, TokenError},
};
use schemars::JsonSchema;
use serde::Serialize;

/// An error of an OAuth endpoint.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// An error with a name in RFC 6749 section 5.2.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The key failed to authenticate, and its client id is a port: Flyte's tools split an encoded
    /// key at each colon.
    #[error(
        "{cause}; the client id {port} is a port, because Flyte's tools cut the key at the colon before it: use \
         a key without a port together with --endpoint HOST:{port}, or serve on port 443"
    )]
    ClientIdIsPort {
        #[source]
        cause: TokenError,
        port: u16,
    },
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// A body is compressed.
    #[error("the request body has a content-encoding; send it without one")]
    Encoded,
    /// The limits of a Bearer token's key do not permit its use. RFC 6750 has no error for this.
    #[error(transparent)]
    Limited(Limited),
    /// A valid Bearer token is required (RFC 6750 section 3.1).
    #[error("{reason}")]
    Bearer {
        /// Why there is none, as a clause.
        reason: String,
        /// Whether a credential was sent. Without one, the challenge names no error.
        sent: bool,
    },
}

impl OAuthError {
    /// Returns `invalid_request` with a description.
    pub fn invalid_request(description: impl Into<String>) -> Self {
        Self::Token(TokenError::InvalidRequest(description.into()))
    }
}

/// The body of an error (RFC 6749 section 5.2).
#[derive(Serialize, JsonSchema)]
pub struct ErrorResponse {
    /// The name of the error.
    error: &'static str,
    /// For the developer of the client.
    error_description: String,
}

const CHALLENGE_BASIC: HeaderValue =
    HeaderValue::from_static(r#"Basic realm="gatekey", charset="UTF-8""#);
const CHALLENGE_INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="gatekey", error="invalid_token""#);

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Token(error) | Self::ClientIdIsPort { cause: error, .. } => match error {
                TokenError::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
                TokenError::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
                // The RFC has no error for this, and the status 401 only for invalid_client. Of the
                // registered errors, `slow_down` (RFC 8628 section 3.5) tells the client what to
                // do; `temporarily_unavailable` would suggest that the same request may succeed.
                TokenError::TooManyFailures { .. }
                | TokenError::TooManyChanges { .. }
                | TokenError::Limited(Limited::Rate { .. }) => {
                    (StatusCode::TOO_MANY_REQUESTS, "slow_down")
                }
                TokenError::UnauthorizedClient(_) | TokenError::Limited(Limited::Network) => {
                    (StatusCode::BAD_REQUEST, "unauthorized_client")
                }
                TokenError::UnsupportedGrantType => {
                    (StatusCode::BAD_REQUEST, "unsupported_grant_type")
                }
                TokenError::InvalidScope(_) => (StatusCode::BAD_REQUEST, "invalid_scope"),
                TokenError::InvalidTarget(_) => (StatusCode::BAD_REQUEST, "invalid_target"),
                // RFC 6749 section 4.1.2.1 has it for the status 503. Never `invalid_client`, for
                // which clients drop their credentials.
                TokenError::CannotDecide => {
                    (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
                }
                TokenError::Unavailable(cause) => {
                    tracing::error!(%cause, source = cause.source().map(tracing::field::display), "the store is unavailable");
                    (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
                }
                TokenError::Internal(cause) => {
                    tracing::error!(%cause, "an OAuth request failed");
                    (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
                }
            },
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"),
            Self::Encoded => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request"),
            Self::Bearer { .. } => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::Limited(Limited::Network) => (StatusCode::FORBIDDEN, "access_denied"),
            Self::Limited(Limited::Rate { .. }) => (StatusCode::TOO_MANY_REQUESTS, "slow_down"),
        };
        let limited = match &self {
            Self::Limited(limited) | Self::Token(TokenError::Limited(limited)) => Some(*limited),
            _ => None,
        };
        let challenge = match &self {
            Self::Bearer { sent: false, .. } => Some(bearer::CHALLENGE),
            Self::Bearer { sent: true, .. } => Some(CHALLENGE_INVALID_TOKEN),
            Self::Token(_)
            | Self::ClientIdIsPort { .. }
            | Self::TooLarge(_)
            | Self::Limited(_)
            | Self::Encoded => (status == StatusCode::UNAUTHORIZED).then_some(CHALLENGE_BASIC),
        };
        let retry_after = match &self {
            Self::Token(
                TokenError::TooManyFailures { retry_after, .. }
                | TokenError::TooManyChanges { retry_after },
            )
            | Self::ClientIdIsPort {
                cause: TokenError::TooManyFailures { retry_after, .. }, ..
            } => Some(retry_after.as_secs()),
            Self::Token(TokenError::CannotDecide) => Some(Unavailable::RETRY_AFTER.as_secs()),
            Self::Token(_)
            | Self::ClientIdIsPort { .. }
            | Self::TooLarge(_)
            | Self::Limited(_)
            | Self::Encoded
            | Self::Bearer { .. } => {
                limited.and_then(|limited| limited.retry_after()).map(|after| after.as_secs())
            }
        };
        let body = ErrorResponse { error: code, error_description: self.to_string() };
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if matches!(self, Self::Encoded) {
            // RFC 9110 section 15.5.16.
            response
                .headers_mut()
                .insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(limited) = &limited {
            response.headers_mut().extend(rate_limit::headers(limited));
        }
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub async fn only_post() -> Response {
    method_not_allowed("POST", "only POST is allowed")
}

pub async fn only_get() -> Response {
    method_not_allowed("GET, HEAD", "only GET and HEAD are allowed")
}

/// The methods of the user info endpoint (OpenID Connect Core section 5.3.1).
pub async fn only_get_and_post() -> Response {
    method_not_allowed("GET, HEAD, POST", "only GET, HEAD and POST are allowed")
}

fn method_not_allowed(allowed: &'static str, description: &str) -> Response {
    let body =
        ErrorResponse { error: "invalid_request", error_description: description.to_owned() };
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)], Json(body)).into_response()
}
