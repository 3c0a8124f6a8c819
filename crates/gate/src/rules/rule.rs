//! [`Rule`]: the access that the paths of a pattern need.

use super::{methods::Methods, pattern::Pattern, procedure::Procedure};
use crate::access::Access;

/// A rule: the access that the paths it covers need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The methods that it covers. A procedure is called by `POST`, and by `GET` where Connect
    /// allows it, whatever the rule says.
    pub methods: Methods,
    pub pattern: Pattern,
    pub access: Access,
    pub source: Source,
}

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Gatekey ships it.
    Shipped,
    /// The configuration has it, in `[gate.rules]`.
    Configured,
}

impl Rule {
    /// A rule of the configuration.
    pub fn configured(pattern: Pattern, access: Access) -> Self {
        Self { methods: Methods::ALL, pattern, access, source: Source::Configured }
    }

    /// The methods by which a request can match the rule.
    pub fn reachable_by(&self) -> Methods {
        match &self.pattern {
            Pattern::Exact(path) if self.pattern.service_length().is_some() => {
                let allows_get = Procedure::find(path).is_some_and(Procedure::allows_get);
                if allows_get { Methods::GET_AND_POST } else { Methods::POST }
            }
            _ => self.methods,
        }
    }

    pub(super) fn covers(&self, methods: Methods, path: &str) -> bool {
        self.methods.overlaps(methods) && self.pattern.covers(path)
    }

    /// Whether this rule of the configuration overrides a shipped one where both cover a path.
    pub(super) fn overrides(&self, shipped: &Self) -> bool {
        self.access == Access::Denied || self.specificity() >= shipped.specificity()
    }

    /// How specific the rule is. A shipped rule for a procedure belongs to its service, so that a
    /// configured rule for the service overrides it.
    pub(super) fn specificity(&self) -> usize {
        match self.source {
            Source::Shipped => {
                self.pattern.service_length().unwrap_or_else(|| self.pattern.specificity())
            }
            Source::Configured => self.pattern.specificity(),
        }
    }
}
