//! The one renderer of RPC errors.

use std::sync::Arc;

use axum::http::StatusCode;
use connectrpc::{ConnectError, ErrorCode};
use gatekey_core::Error;

/// UNAUTHENTICATED: what makes public clients log in and call again.
pub fn unauthenticated(reason: impl std::fmt::Display) -> ConnectError {
    ConnectError::unauthenticated(format!("unauthenticated: {reason}"))
}

/// A use case's error on its way to the caller; the private cause goes to the log alone.
pub fn render(error: Error) -> ConnectError {
    let message = without_login_words(error.to_string());
    match error {
        Error::Invalid(_) => ConnectError::invalid_argument(message),
        Error::NotFound(_) | Error::SecretNotFound { .. } | Error::UnknownOrganization(_) => {
            ConnectError::not_found(message)
        }
        Error::AlreadyExists(_) => ConnectError::already_exists(message),
        Error::Precondition(_) => ConnectError::failed_precondition(message),
        Error::Forbidden(_) => ConnectError::permission_denied(message),
        Error::Unavailable(cause) => {
            let cause: Arc<dyn std::error::Error + Send + Sync> = Arc::new(cause);
            tracing::error!(%cause, source = cause.source().map(tracing::field::display), "the store is unavailable");
            ConnectError::unavailable(message)
        }
        Error::Internal(cause) => {
            tracing::error!(%cause, source = cause.source().map(tracing::field::display), "a call failed");
            ConnectError::internal(message)
        }
    }
}

/// A method that a path of plain HTTP does not have.
pub fn method_not_allowed(message: impl Into<String>) -> ConnectError {
    ConnectError::unimplemented(message).with_http_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// A body of plain HTTP that is not plain JSON.
pub fn unsupported_media_type(message: impl Into<String>) -> ConnectError {
    ConnectError::invalid_argument(message).with_http_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// The longest message, in characters: gRPC carries it in a header.
const MAX_MESSAGE: usize = 2000;

/// Holds errors of connectrpc's own making to the same rules: that of a message which cannot be decoded repeats
/// what it could not read.
pub fn tame(mut error: ConnectError) -> ConnectError {
    if error.code != ErrorCode::Unauthenticated {
        let bounded = |message: String| message.chars().take(MAX_MESSAGE).collect::<String>();
        error.message = error.message.map(bounded).map(without_login_words);
    }
    error
}

/// Breaks up two words that make flyte 2.12 log in again whatever the code is, also within echoed names.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_but_unauthenticated_has_the_words_that_start_a_login() {
        let rendered = render(Error::NotFound("my-Unauthorized-unauthenticated-key".to_owned()));
        let message = rendered.message.clone().unwrap_or_default().to_lowercase();
        assert!(!message.contains("unauthorized") && !message.contains("unauthenticated"), "{message}");
    }

    #[test]
    fn an_internal_cause_stays_inside() {
        let rendered = render(Error::Internal("disk /dev/sda1 is on fire".into()));
        assert_eq!(rendered.message.as_deref(), Some("internal error"));
    }
}
