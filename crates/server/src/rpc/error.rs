//! Renders RPC errors; no other file does.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use connectrpc::{ConnectError, ErrorCode};
use gatekey_authn::rate_limit;
use gatekey_core::{
    Error,
    feed::Unavailable,
    token::{Limited, TokenError},
};
use gatekey_telemetry::Record;

/// UNAUTHENTICATED, which makes public clients log in and call again.
pub fn unauthenticated(reason: impl std::fmt::Display) -> ConnectError {
    ConnectError::unauthenticated(format!("unauthenticated: {reason}"))
}

/// UNAVAILABLE: whether the credential is valid cannot be decided now. Never UNAUTHENTICATED, for
/// which clients fetch another token.
pub fn cannot_decide() -> ConnectError {
    let mut error = ConnectError::unavailable(TokenError::CannotDecide.to_string());
    let seconds = Unavailable::RETRY_AFTER.as_secs();
    error.response_headers_mut().insert(header::RETRY_AFTER, seconds.into());
    error
}

/// Renders the error of a use case. Its private cause goes only to the log.
pub fn render(error: Error) -> ConnectError {
    let message = without_login_words(error.to_string());
    match error {
        Error::Invalid(_) => ConnectError::invalid_argument(message),
        Error::NotFound { .. } => ConnectError::not_found(message),
        Error::AlreadyExists(_) => ConnectError::already_exists(message),
        Error::Precondition(_) => ConnectError::failed_precondition(message),
        Error::Forbidden(_) => ConnectError::permission_denied(message),
        Error::TooManyRequests { retry_after, .. } => {
            let mut error = ConnectError::resource_exhausted(message);
            error.response_headers_mut().insert(header::RETRY_AFTER, retry_after.as_secs().into());
            error
        }
        Error::Unavailable(cause) => {
            let cause: Arc<dyn std::error::Error + Send + Sync> = Arc::new(cause);
            tracing::error!(%cause, source = cause.source().map(tracing::field::display), "the store is unavailable");
            ConnectError::unavailable(message)
        }
        Error::Tampered(what) => {
            tracing::error!(error = %what, "the store does not match its seal");
            ConnectError::data_loss(message)
        }
        Error::Internal(cause) => {
            tracing::error!(%cause, source = cause.source().map(tracing::field::display), "a call failed");
            ConnectError::internal(message)
        }
    }
}

/// The refusal of a key by its limits.
pub fn limited(limited: &Limited) -> ConnectError {
    match limited {
        Limited::Network => ConnectError::permission_denied(limited.to_string()),
        Limited::Rate { .. } => {
            let mut error = ConnectError::resource_exhausted(limited.to_string());
            let headers = error.response_headers_mut();
            headers.extend(rate_limit::headers(limited));
            if let Some(retry_after) = limited.retry_after() {
                headers.insert(header::RETRY_AFTER, retry_after.as_secs().into());
            }
            error
        }
    }
}

/// Returns the error for a method that a plain HTTP path does not support.
pub fn method_not_allowed(message: impl Into<String>) -> ConnectError {
    ConnectError::unimplemented(message).with_http_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// Returns the error for a plain HTTP body that is not JSON.
pub fn unsupported_media_type(message: impl Into<String>) -> ConnectError {
    ConnectError::invalid_argument(message).with_http_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// Maximum characters of a message: gRPC sends it in a header.
const MAX_MESSAGE: usize = 2000;

/// Applies the same rules to connectrpc's own errors: the error for a message that cannot be
/// decoded repeats its bytes.
pub fn sanitize(mut error: ConnectError) -> ConnectError {
    if error.code != ErrorCode::Unauthenticated {
        let bounded = |message: String| message.chars().take(MAX_MESSAGE).collect::<String>();
        error.message = error.message.map(bounded).map(without_login_words);
    }
    error
}

/// Hyphenates two words that make flyte 2.12 log in again regardless of the code, even inside
/// echoed names.
fn without_login_words(mut message: String) -> String {
    let lower = message.to_ascii_lowercase();
    let mut cuts: Vec<usize> = ["unauthorized", "unauthenticated"]
        .iter()
        .flat_map(|word| lower.match_indices(word).map(|(at, _)| at + "un".len()))
        .collect();
    cuts.sort_unstable();
    for cut in cuts.into_iter().rev() {
        message.insert(cut, '-');
    }
    message
}

/// Responds with an error in the format of the protocol that the request speaks.
pub fn respond(error: ConnectError, headers: &HeaderMap) -> Response {
    error.into_http_response(headers).map(Body::new).into_response()
}

/// The refusal of a request that a proxy or an endpoint should have sent to Flyte.
pub const FOR_FLYTE: &str = "this is Gatekey, which serves keys; send this to Flyte: see \
                             docs/guides/flyte.md, Connect it to Flyte";

/// Responds to a call of a method that is not served.
pub fn unimplemented(record: Option<&Record>, path: &str, headers: &HeaderMap) -> Response {
    let message = if is_for_flyte(path) { FOR_FLYTE } else { "this method is not served here" };
    let error = ConnectError::unimplemented(message);
    if let Some(record) = record {
        record.set_grpc_status(error.code.grpc_code());
    }
    respond(error, headers)
}

/// Whether a path belongs to Flyte: its RPC services, and the plain HTTP of flyteadmin.
pub fn is_for_flyte(path: &str) -> bool {
    const PREFIXES: [&str; 7] = [
        "/flyteidl",
        "/flyteplugins",
        "/cloudidl.",
        "/datacatalog.",
        "/cacheservice.",
        "/api/v1/",
        "/data/",
    ];
    PREFIXES.iter().any(|prefix| path.starts_with(prefix))
        && !path.starts_with("/cloudidl.identity.")
        && !path.starts_with("/cloudidl.authorizer.")
}

/// Returns whether a request to an unknown path looks like RPC, and so needs an RPC error.
pub fn is_rpc(method: &Method, headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    *method == Method::POST
        && (content_type.starts_with("application/grpc")
            || content_type.starts_with("application/proto")
            || content_type.starts_with("application/connect+")
            || headers.contains_key("connect-protocol-version"))
}

#[cfg(test)]
mod tests {
    use gatekey_core::error::Kind;

    use super::*;

    #[test]
    fn only_unauthenticated_contains_words_that_start_logins() {
        let rendered =
            render(Error::not_found(Kind::ApiKey, &"my-Unauthorized-unauthenticated-key"));
        let message = rendered.message.clone().unwrap_or_default().to_lowercase();
        assert!(
            !message.contains("unauthorized") && !message.contains("unauthenticated"),
            "{message}"
        );
    }

    #[test]
    fn an_internal_cause_is_not_returned() {
        let rendered = render(Error::Internal("disk /dev/sda1 is on fire".into()));
        assert_eq!(rendered.message.as_deref(), Some("internal error"));
    }
}
