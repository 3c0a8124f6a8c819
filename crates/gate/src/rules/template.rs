//! [`Template`]: a path with variables, as Flyte 1 binds procedures to plain HTTP.

use super::methods::Methods;

/// A path whose segments are literals or variables, such as `/api/v1/tasks/{id.project}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Template(&'static str);

/// A method and a path of plain HTTP that is a procedure (`google.api.http`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    pub methods: Methods,
    pub template: Template,
}

impl Template {
    pub(super) const fn new(text: &'static str) -> Self {
        Self(text)
    }

    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The literal text before the first variable.
    pub(super) fn literal(self) -> &'static str {
        self.0.split_once('{').map_or(self.0, |(literal, _)| literal)
    }

    pub(super) fn has_variables(self) -> bool {
        self.0.contains('{')
    }

    /// Whether a decoded path matches.
    pub fn matches(self, path: &str) -> bool {
        path.starts_with(self.literal())
            && self.0.split('/').count() == path.split('/').count()
            && self.0.split('/').zip(path.split('/')).all(|(expected, segment)| {
                if variable(expected).is_some() { !segment.is_empty() } else { expected == segment }
            })
    }

    /// The variables of a path that matches, with their values.
    pub fn variables(self, path: &str) -> impl Iterator<Item = (&'static str, &str)> {
        let pairs = self.0.split('/').zip(path.split('/'));
        pairs.filter_map(|(expected, segment)| Some((variable(expected)?, segment)))
    }
}

/// The name of the variable that a segment is, such as `id.project`.
fn variable(segment: &'static str) -> Option<&'static str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_one_segment() {
        let template = Template::new("/api/v1/tasks/{id.project}/{id.domain}");
        assert!(template.matches("/api/v1/tasks/p/d"));
        for path in [
            "/api/v1/tasks/p",
            "/api/v1/tasks/p/",
            "/api/v1/tasks//d",
            "/api/v1/tasks/p/d/",
            "/api/v1/tasks/p/d/n",
            "/api/v1/workflows/p/d",
            "/Api/v1/tasks/p/d",
        ] {
            assert!(!template.matches(path), "{path}");
        }
        let variables: Vec<_> = template.variables("/api/v1/tasks/p/d").collect();
        assert_eq!(variables, [("id.project", "p"), ("id.domain", "d")]);
    }
}
