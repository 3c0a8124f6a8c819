//! [`Outcome`]: the result of a request, in the five kinds that operators tell apart; and
//! [`GrpcStatus`].

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

/// A status of gRPC (<https://grpc.io/docs/guides/status-codes/>). Connect has the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcStatus(u8);

/// The statuses by number.
const GRPC_STATUSES: [(&str, Outcome); GrpcStatus::COUNT] = [
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

impl GrpcStatus {
    pub const COUNT: usize = 17;
    pub const OK: Self = Self(0);
    pub const CANCELED: Self = Self(1);
    pub const INTERNAL: Self = Self(13);

    /// All statuses, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).take(Self::COUNT).map(Self)
    }

    /// The status with a number.
    pub fn of_code(code: u32) -> Option<Self> {
        let code = u8::try_from(code).ok()?;
        (usize::from(code) < Self::COUNT).then_some(Self(code))
    }

    /// The status in headers or trailers of gRPC.
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get("grpc-status")?.to_str().ok()?;
        Self::of_code(code.parse().ok()?)
    }

    /// The status with a name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|status| status.name().eq_ignore_ascii_case(name))
    }

    /// The name, such as `PERMISSION_DENIED`.
    pub fn name(self) -> &'static str {
        GRPC_STATUSES[self.index()].0
    }

    pub fn outcome(self) -> Outcome {
        GRPC_STATUSES[self.index()].1
    }

    pub(super) fn index(self) -> usize {
        usize::from(self.0)
    }
}

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

    /// Classifies a response: by its gRPC status if it has one, or else by its HTTP status.
    pub fn of(status: StatusCode, grpc_status: Option<GrpcStatus>) -> Self {
        if let Some(grpc_status) = grpc_status {
            return grpc_status.outcome();
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
            let grpc_status = GrpcStatus::of_headers(&headers);
            Outcome::of(StatusCode::from_u16(status).unwrap(), grpc_status)
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
