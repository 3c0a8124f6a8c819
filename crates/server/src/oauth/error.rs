//! The one renderer of OAuth errors: RFC 6749 section 5.2, always JSON, never cached.

use std::error::Error as _;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use gatekey_authn::bearer;
use gatekey_core::token::TokenError;
use schemars::JsonSchema;
use serde::Serialize;

/// An error on its way to the caller.
#[derive(Debug, thiserror::Error)]
pub enum OAuthError {
    /// By the names of RFC 6749 section 5.2.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The request body is larger than an endpoint of OAuth needs.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// A Bearer token is needed and none in force was sent (RFC 6750 section 3.1).
    #[error("{reason}")]
    Bearer {
        /// Why, as a clause for the caller.
        reason: String,
        /// Whether any credential was sent: who sent none is told of no error in the challenge.
        sent: bool,
    },
}

impl OAuthError {
    /// `invalid_request` with what is wrong.
    pub fn invalid_request(description: impl Into<String>) -> Self {
        Self::Token(TokenError::InvalidRequest(description.into()))
    }
}

/// RFC 6749 section 5.2.
#[derive(Serialize, JsonSchema)]
pub struct ErrorResponse {
    /// The error's name in its specification.
    error: &'static str,
    /// For people.
    error_description: String,
}

const CHALLENGE_BASIC: HeaderValue = HeaderValue::from_static(r#"Basic realm="gatekey", charset="UTF-8""#);
const CHALLENGE_INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="gatekey", error="invalid_token""#);

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let (status, code) = match &self {
            Self::Token(error) => match error {
                TokenError::InvalidRequest(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
                TokenError::InvalidClient => (StatusCode::UNAUTHORIZED, "invalid_client"),
                // The RFC has a status of 401 alone for invalid_client, and no error for this. Of the registered
                // ones `slow_down` (RFC 8628 section 3.5) says what to do; `temporarily_unavailable` would say that
                // trying the same again may help.
                TokenError::TooManyFailures { .. } => (StatusCode::TOO_MANY_REQUESTS, "slow_down"),
                TokenError::UnauthorizedClient(_) => (StatusCode::BAD_REQUEST, "unauthorized_client"),
                TokenError::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
                TokenError::InvalidScope(_) => (StatusCode::BAD_REQUEST, "invalid_scope"),
                TokenError::InvalidTarget(_) => (StatusCode::BAD_REQUEST, "invalid_target"),
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
            Self::Bearer { .. } => (StatusCode::UNAUTHORIZED, "invalid_token"),
        };
        let challenge = match &self {
            Self::Bearer { sent: false, .. } => Some(bearer::CHALLENGE),
            Self::Bearer { sent: true, .. } => Some(CHALLENGE_INVALID_TOKEN),
            Self::Token(_) | Self::TooLarge(_) => {
                (status == StatusCode::UNAUTHORIZED).then_some(CHALLENGE_BASIC)
            }
        };
        let retry_after = match &self {
            Self::Token(TokenError::TooManyFailures { retry_after, .. }) => Some(retry_after.as_secs()),
            Self::Token(_) | Self::TooLarge(_) | Self::Bearer { .. } => None,
        };
        let body = ErrorResponse { error: code, error_description: self.to_string() };
        let mut response = (status, Json(body)).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = challenge {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// A method that an endpoint of POST does not have.
pub async fn only_post() -> Response {
    method_not_allowed("POST")
}

/// A method that an endpoint of GET does not have.
pub async fn only_get() -> Response {
    method_not_allowed("GET, HEAD")
}

/// A method that the user info endpoint does not have (OpenID Connect Core section 5.3.1).
pub async fn only_get_and_post() -> Response {
    method_not_allowed("GET, HEAD, POST")
}

fn method_not_allowed(allowed: &'static str) -> Response {
    let description = format!("this endpoint takes {allowed} alone");
    let body = ErrorResponse { error: "invalid_request", error_description: description };
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, allowed)], Json(body)).into_response()
}
