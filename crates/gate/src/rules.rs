//! [`Rules`]: which path needs which access.

use crate::{access::Access, path::Path};

/// A rule: the access that the paths it covers need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// An exact path, or a prefix that ends in `/*`.
    pub pattern: Box<str>,
    pub access: Access,
}

/// All rules. The most specific one decides; a path that none covers is denied.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The rule that decides about a path.
    pub fn find(&self, path: &Path) -> Option<&Rule> {
        let covers = |rule: &&Rule| match rule.pattern.strip_suffix('*') {
            Some(prefix) => path.as_str().starts_with(prefix),
            None => path.as_str() == &*rule.pattern,
        };
        self.0.iter().filter(covers).max_by_key(|rule| rule.pattern.len())
    }
}
