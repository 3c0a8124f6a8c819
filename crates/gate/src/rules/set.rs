//! [`Rules`]: all rules, and which one decides about a path.

use std::collections::HashMap;

use http::Method;

use super::{
    methods::Methods,
    rule::{Rule, Source},
    shipped,
};
use crate::{access::Access, path::Path};

/// The largest number of rules of a configuration.
pub const MAX_RULES: usize = 1000;

/// All rules. A path that none covers is denied.
///
/// The most specific rule decides: an exact path before a service or a prefix, a longer prefix
/// before a shorter one, and a configured rule before a shipped one that is as specific. A shipped
/// rule for a procedure is as specific as its service. A configured `denied` applies to everything
/// that it covers and that no configured rule opens more specifically.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    all: Vec<Rule>,
    /// For each path that a rule names exactly, the rule that decides, by method. Found with one
    /// look-up.
    decided: HashMap<Box<str>, [Option<usize>; Methods::COUNT]>,
    /// The rules with prefixes and templates, for other paths.
    patterns: Vec<usize>,
}

impl Rules {
    /// The shipped rules with those of a configuration. `internal_services` allows calls between
    /// parts of Flyte.
    pub fn new(configured: Vec<Rule>, internal_services: bool) -> Self {
        let mut rules = configured;
        rules.extend(shipped::rules(internal_services));
        let is_exact = |rule: &Rule| matches!(rule.pattern, super::pattern::Pattern::Exact(_));
        let (exact, patterns): (Vec<_>, Vec<_>) =
            (0..rules.len()).partition(|index| is_exact(&rules[*index]));
        let mut set = Self { all: rules, decided: HashMap::new(), patterns };
        let mut by_path = HashMap::<Box<str>, Vec<usize>>::new();
        for index in exact {
            by_path.entry(set.all[index].pattern.to_string().into()).or_default().push(index);
        }
        for (path, mut covering) in by_path {
            covering.extend(
                set.patterns.iter().filter(|index| set.all[**index].covers(Methods::ALL, &path)),
            );
            let by_method = std::array::from_fn(|place| {
                set.most_specific(covering.iter().copied(), Methods::at(place), &path)
            });
            set.decided.insert(path, by_method);
        }
        set
    }

    /// The rules, configured ones first.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.all.iter()
    }

    /// The rules without those that a configured rule overrides wholly.
    pub fn in_effect(&self) -> impl Iterator<Item = &Rule> {
        let is_overridden = |shipped: &Rule| {
            let configured = self.all.iter().take_while(|rule| rule.source == Source::Configured);
            let including = configured.filter(|rule| rule.pattern.includes(&shipped.pattern));
            let best = including.max_by_key(|rule| rule.specificity());
            best.is_some_and(|rule| rule.overrides(shipped))
        };
        self.all
            .iter()
            .filter(move |rule| rule.source == Source::Configured || !is_overridden(rule))
    }

    /// The rule that decides about a method and a path.
    pub fn find(&self, method: &Method, path: &Path<'_>) -> Option<&Rule> {
        let methods = Methods::of(method);
        let index = match self.decided.get(path.as_str()) {
            Some(by_method) => methods.places().find_map(|place| by_method[place]),
            None => self.most_specific(self.patterns.iter().copied(), methods, path.as_str()),
        };
        index.map(|index| &self.all[index])
    }

    /// The methods for which a rule allows a path to somebody.
    pub fn methods(&self, path: &Path<'_>) -> Methods {
        let allows =
            |rule: &&Rule| rule.access != Access::Denied && rule.pattern.covers(path.as_str());
        let allowing = self.all.iter().filter(allows);
        allowing.fold(Methods::NONE, |methods, rule| methods.or(rule.methods))
    }

    /// The most specific of some rules that covers a path.
    fn most_specific(
        &self,
        candidates: impl Iterator<Item = usize>,
        methods: Methods,
        path: &str,
    ) -> Option<usize> {
        let (mut configured, mut shipped) = (None, None);
        for index in candidates.filter(|index| self.all[*index].covers(methods, path)) {
            let rule = &self.all[index];
            let best = match rule.source {
                Source::Configured => &mut configured,
                Source::Shipped => &mut shipped,
            };
            if best.is_none_or(|(most, _)| rule.specificity() > most) {
                *best = Some((rule.specificity(), index));
            }
        }
        match (configured, shipped) {
            (Some((_, configured)), Some((_, shipped))) => {
                let overrides = self.all[configured].overrides(&self.all[shipped]);
                Some(if overrides { configured } else { shipped })
            }
            (Some((_, only)), None) | (None, Some((_, only))) => Some(only),
            (None, None) => None,
        }
    }
}
