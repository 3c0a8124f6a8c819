//! [`Outcome`]: the result of a request, in the five kinds that operators tell apart.

use axum::http::{HeaderMap, StatusCode};

/// The result of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// There was no valid credential.
    Unauthenticated,
    /// The caller lacks the permission.
    Denied,
    /// The request was invalid, or named something that does not exist.
    Refused,
    /// The server is at fault.
    Failed,
}

/// The status codes of gRPC by number (<https://grpc.io/docs/guides/status-codes/>).
const GRPC_CODES: [(&str, Outcome); 17] = [
    ("OK", Outcome::Ok),
    ("CANCELED", Outcome::Refused),
    ("UNKNOWN", Outcome::Failed),
    ("INVALID_ARGUMENT", Outcome::Refused),
    ("DEADLINE_EXCEEDED", Outcome::Failed),
    ("NOT_FOUND", Outcome::Refused),
    ("ALREADY_EXISTS", Outcome::Refused),
    ("PERMISSION_DENIED", Outcome::Denied),
    ("RESOURCE_EXHAUSTED", Outcome::Refused),
    ("FAILED_PRECONDITION", Outcome::Refused),
    ("ABORTED", Outcome::Refused),
    ("OUT_OF_RANGE", Outcome::Refused),
    ("UNIMPLEMENTED", Outcome::Refused),
    ("INTERNAL", Outcome::Failed),
    ("UNAVAILABLE", Outcome::Failed),
    ("DATA_LOSS", Outcome::Failed),
    ("UNAUTHENTICATED", Outcome::Unauthenticated),
];

impl Outcome {
    pub const ALL: [Self; 5] =
        [Self::Ok, Self::Unauthenticated, Self::Denied, Self::Refused, Self::Failed];

    /// Returns the name in metrics and spans.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unauthenticated => "unauthenticated",
            Self::Denied => "denied",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }

    /// Classifies a response: by its gRPC status, which a response without a message has in its
    /// headers, or else by its HTTP status.
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        if let Some(grpc_status) = headers.get("grpc-status").and_then(|value| value.to_str().ok())
        {
            return grpc_status.parse().map_or(Self::Ok, Self::of_grpc_code);
        }
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Denied,
            // A method that is not served is the caller's mistake.
            StatusCode::NOT_IMPLEMENTED => Self::Refused,
            status if status.is_client_error() => Self::Refused,
            status if status.is_server_error() => Self::Failed,
            _ => Self::Ok,
        }
    }

    /// Classifies a status code of gRPC.
    pub fn of_grpc_code(code: u32) -> Self {
        grpc_code(code).map_or(Self::Ok, |(_, outcome)| *outcome)
    }
}

/// Returns the name of a gRPC status, given as its header has it: `PERMISSION_DENIED` for `7`.
pub(super) fn grpc_status_name(status: &str) -> Option<&'static str> {
    grpc_code(status.parse().ok()?).map(|(name, _)| *name)
}

fn grpc_code(code: u32) -> Option<&'static (&'static str, Outcome)> {
    GRPC_CODES.get(usize::try_from(code).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_follows_from_either_status() {
        let outcome = |status: u16, grpc_status: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(grpc_status) = grpc_status {
                headers.insert("grpc-status", grpc_status.parse().unwrap());
            }
            Outcome::of(StatusCode::from_u16(status).unwrap(), &headers)
        };
        assert_eq!(outcome(200, None), Outcome::Ok);
        assert_eq!(outcome(401, None), Outcome::Unauthenticated);
        assert_eq!(outcome(403, None), Outcome::Denied);
        assert_eq!(outcome(404, None), Outcome::Refused);
        assert_eq!(outcome(501, None), Outcome::Refused);
        assert_eq!(outcome(500, None), Outcome::Failed);
        assert_eq!(outcome(200, Some("0")), Outcome::Ok);
        assert_eq!(outcome(200, Some("16")), Outcome::Unauthenticated);
        assert_eq!(outcome(200, Some("7")), Outcome::Denied);
        assert_eq!(outcome(200, Some("5")), Outcome::Refused);
        assert_eq!(outcome(200, Some("14")), Outcome::Failed);
    }
}
