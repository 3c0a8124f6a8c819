//! [`Reason`]: the words for why a request is refused, in headers, metrics and the ledger.

use axum::http::{HeaderName, HeaderValue};

/// The header of a refusal with the word for its reason, for operators.
pub const HEADER: HeaderName = HeaderName::from_static("x-gate-reason");

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a request is refused, or fails at the gate.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)*
        }

        impl Reason {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word for it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

reasons! {
    /// The path can be read in several ways.
    Path = "path",
    /// No valid credential where one is needed.
    Credential = "credential",
    /// Several credentials.
    Credentials = "credentials",
    /// Too many wrong secrets from one address.
    Failures = "failures",
    /// The method does not reach the path.
    Method = "method",
    /// The key's roles do not suffice.
    Role = "role",
    /// The credential's scope does not suffice.
    Scope = "scope",
    /// No rule allows it.
    Rule = "rule",
    /// The key may not be used from this address.
    Network = "network",
    /// The key is used too often.
    Rate = "rate",
    /// The key may not be used for a project that the request names.
    Project = "project",
    /// The key may not be used for a domain that the request names.
    Domain = "domain",
    /// The key is limited to projects, and the request names none.
    NoProject = "no_project",
    /// The key is limited to projects, and the gate does not see the body.
    UnseenBody = "unseen_body",
    /// The key is limited to projects, and the gate cannot read the body.
    UnreadableBody = "unreadable_body",
    /// The body did not arrive.
    Body = "body",
    /// Too many bodies are read at once.
    Bodies = "bodies",
    /// An upgrade that is not a handshake of WebSocket.
    Upgrade = "upgrade",
    /// An expectation that cannot be met.
    Expectation = "expectation",
    /// The host of the request is invalid.
    Host = "host",
    /// The caller has too many calls in progress.
    Calls = "calls",
    /// The caller has too many websockets, or all callers have.
    Websockets = "websockets",
    /// A proxy that is not trusted asks about a request.
    UntrustedProxy = "untrusted_proxy",
    /// A proxy's description of a request is malformed.
    Question = "question",
    /// No upstream serves the path.
    NoUpstream = "no_upstream",
    /// The upstream did not answer.
    Upstream = "upstream",
    /// The time that the client allows is over.
    Deadline = "deadline",
    /// The limits of the key changed during the call.
    Changed = "changed",
    /// The server stops.
    Stopping = "stopping",
    /// The gate cannot check the credential now.
    Unavailable = "unavailable",
    /// A fault of the gate.
    Internal = "internal",
}

impl Reason {
    /// As the value of the [`HEADER`].
    pub fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }

    /// Whether the caller is to blame, rather than an outage.
    pub(crate) fn is_of_caller(self) -> bool {
        !matches!(
            self,
            Self::Upstream
                | Self::Deadline
                | Self::Changed
                | Self::Stopping
                | Self::Unavailable
                | Self::Internal
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_reason_has_a_word_of_its_own() {
        let words: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(words.len(), Reason::ALL.len());
        for word in words {
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{word}");
        }
    }
}
