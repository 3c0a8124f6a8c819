//! [`Pattern`]: the paths that a rule covers.

use super::template::Template;
use crate::path::{is_decoded_path, is_procedure};

/// The longest pattern of a configuration, in bytes.
pub const MAX_PATTERN: usize = 512;

/// The paths that a rule covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// One path.
    Exact(Box<str>),
    /// Every path below a prefix, which ends in a slash. Written with a `*` at the end.
    Below(Box<str>),
    /// Paths with variables.
    Template(Template),
}

/// Why a pattern is refused. The message follows the name of the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("must begin with a slash")]
    Relative,
    #[error(
        "has a `*` that is not its last segment; write a prefix as `/package.Service/*` or `/path/*`"
    )]
    Wildcard,
    #[error("is not a path that the gate accepts: write it decoded, without a query")]
    Path,
    #[error("is too long: at most {MAX_PATTERN} bytes are allowed")]
    Long,
}

impl Pattern {
    /// Reads a pattern of the configuration: an exact path, or a prefix that ends in `/*`.
    ///
    /// # Errors
    /// [`InvalidPattern`], if no accepted path could match it, or if it is unclear which would.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > MAX_PATTERN {
            return Err(InvalidPattern::Long);
        }
        if !text.starts_with('/') {
            return Err(InvalidPattern::Relative);
        }
        let below = text.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
        let path = below.unwrap_or(text);
        if path.contains('*') {
            return Err(InvalidPattern::Wildcard);
        }
        if !is_decoded_path(path) {
            return Err(InvalidPattern::Path);
        }
        Ok(if below.is_some() { Self::Below(path.into()) } else { Self::Exact(path.into()) })
    }

    /// Whether the pattern covers a decoded path.
    pub fn covers(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Below(prefix) => path.starts_with(&**prefix),
            Self::Template(template) => template.matches(path),
        }
    }

    /// Whether the pattern covers every path that another one covers.
    pub(super) fn includes(&self, other: &Self) -> bool {
        let all_begin_with = match other {
            Self::Exact(path) => return self.covers(path),
            Self::Below(prefix) => prefix,
            Self::Template(template) => template.literal(),
        };
        matches!(self, Self::Below(prefix) if all_begin_with.starts_with(&**prefix))
    }

    /// How specific the pattern is: an exact path most, a prefix by its length.
    pub(super) fn specificity(&self) -> usize {
        match self {
            Self::Exact(_) => usize::MAX,
            Self::Below(prefix) => prefix.len(),
            Self::Template(template) => template.literal().len(),
        }
    }

    /// The length of the path of its service, with the slash behind it, if this is a procedure.
    pub(super) fn service_length(&self) -> Option<usize> {
        match self {
            Self::Exact(path) if is_procedure(path) => path.rfind('/').map(|slash| slash + 1),
            _ => None,
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => formatter.write_str(path),
            Self::Below(prefix) => write!(formatter, "{prefix}*"),
            Self::Template(template) => formatter.write_str(template.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_path_or_prefix() {
        for text in ["/", "/a", "/a/", "/*", "/a/*", "/a.B/M", "/a.B/*", "/a b/é", "/.well-known/*"]
        {
            assert_eq!(Pattern::parse(text).unwrap().to_string(), text);
        }
        for (text, invalid) in [
            ("", InvalidPattern::Relative),
            ("a", InvalidPattern::Relative),
            ("*", InvalidPattern::Relative),
            ("https://h/a", InvalidPattern::Relative),
            ("/a*", InvalidPattern::Wildcard),
            ("/*/a", InvalidPattern::Wildcard),
            ("/a/**", InvalidPattern::Wildcard),
            ("/a/*/", InvalidPattern::Wildcard),
            ("//*", InvalidPattern::Path),
            ("/a/../b", InvalidPattern::Path),
            ("/%61", InvalidPattern::Path),
            ("/a?b", InvalidPattern::Path),
            ("/a#b", InvalidPattern::Path),
            ("/a;b", InvalidPattern::Path),
        ] {
            assert_eq!(Pattern::parse(text), Err(invalid), "{text}");
        }
        let long = format!("/{}", "a".repeat(MAX_PATTERN));
        assert_eq!(Pattern::parse(&long), Err(InvalidPattern::Long));
    }
}
