//! [`Failed`]: why the upstream did not answer.

use crate::{
    reason::Reason,
    refusal::{Kind, Refusal},
};

/// Why the upstream did not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    #[error("cannot connect: {0}")]
    Unreachable(String),
    #[error("the connection was lost before the response: {0}")]
    Lost(String),
    #[error("all connections are in use")]
    Full,
    #[error("its URL cannot have the host of the request: {0}")]
    Host(axum::http::Error),
}

impl Failed {
    /// The words for the reasons, in metrics.
    pub(super) const REASONS: [&str; 4] = ["unreachable", "lost", "full", "host"];

    /// The place of the reason in [`Self::REASONS`].
    pub(super) fn index(&self) -> usize {
        match self {
            Self::Unreachable(_) => 0,
            Self::Lost(_) => 1,
            Self::Full => 2,
            Self::Host(_) => 3,
        }
    }
}

impl From<&Failed> for Refusal {
    fn from(failed: &Failed) -> Self {
        match failed {
            Failed::Unreachable(_) => {
                Self::new(Kind::Unavailable, Reason::Upstream, "the upstream is unreachable")
            }
            Failed::Full => {
                Self::new(Kind::Unavailable, Reason::Upstream, "too many calls to the upstream")
            }
            Failed::Lost(_) => {
                Self::new(Kind::Lost, Reason::Upstream, "the upstream closed the connection")
            }
            Failed::Host(_) => Self::new(Kind::Invalid, Reason::Host, "the host is invalid"),
        }
    }
}

/// An error with its causes.
pub(super) fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
