//! [`Targets`]: which upstream a request is passed on to.

use std::sync::Arc;

use super::upstream::Upstream;
use crate::{path::Path, protocol::Protocol, rules::Pattern};

/// Which requests an upstream gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Match {
    /// Calls by gRPC.
    Grpc,
    /// Paths.
    Path(Pattern),
}

/// An upstream, and the requests that it gets.
pub struct Target {
    pub upstream: Arc<Upstream>,
    /// The upstream gets requests that one of these matches; all requests if empty.
    pub matches: Vec<Match>,
    /// Paths of Gatekey's own that the upstream answers instead.
    pub own_paths: Vec<Pattern>,
    /// The audience of the token that the upstream gets; `None` for no token.
    pub audience: Option<Box<str>>,
}

impl Target {
    fn matches(&self, path: &Path<'_>, protocol: &Protocol) -> bool {
        let matches = |one: &Match| match one {
            Match::Grpc => matches!(protocol, Protocol::Grpc(_)),
            Match::Path(pattern) => pattern.covers(path.as_str()),
        };
        self.matches.is_empty() || self.matches.iter().any(matches)
    }

    fn takes(&self, path: &str) -> bool {
        self.own_paths.iter().any(|pattern| pattern.covers(path))
    }
}

/// The upstreams. The first that takes or matches a request gets it.
pub struct Targets(pub Vec<Target>);

impl Targets {
    /// Returns the upstream of a request, and its place.
    pub(super) fn find(&self, path: &Path<'_>, protocol: &Protocol) -> Option<(usize, &Target)> {
        let mut all = self.0.iter().enumerate();
        let taking = all.clone().find(|(_, target)| target.takes(path.as_str()));
        taking.or_else(|| all.find(|(_, target)| target.matches(path, protocol)))
    }

    /// Whether an upstream answers a path that Gatekey itself serves.
    pub(super) fn take(&self, path: &str) -> bool {
        self.0.iter().any(|target| target.takes(path))
    }
}
