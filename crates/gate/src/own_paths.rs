//! [`OwnPaths`]: the paths that Gatekey answers itself, under every spelling.
//!
//! Gatekey's routes compare paths as they were sent, and an upstream may decode them, or ignore
//! case, final slashes and dots. A spelling of an own path that no route knows would be passed on,
//! and the upstream could take it for its own token endpoint.

use std::collections::HashMap;

use crate::path::Path;

/// The paths that Gatekey answers itself.
#[derive(Debug, Default)]
pub struct OwnPaths {
    /// By their first segment, folded.
    by_start: HashMap<Box<str>, Vec<OwnPath>>,
}

/// A path, as its segments.
#[derive(Debug)]
struct OwnPath {
    segments: Vec<Segment>,
    /// Whether any number of segments follows.
    is_prefix: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    Text(Box<str>),
    Variable,
}

impl OwnPaths {
    /// From paths whose variables are segments in braces. One with an asterisk stands for the whole
    /// rest.
    pub fn new<'p>(paths: impl IntoIterator<Item = &'p str>) -> Self {
        let mut own = Self::default();
        for path in paths {
            let mut segments: Vec<_> = path.split('/').skip(1).collect();
            let is_prefix = segments.pop_if(|last| last.starts_with("{*")).is_some();
            let start = segments.first().map(|start| fold(start)).unwrap_or_default();
            let segments = segments.into_iter().map(|segment| match segment {
                variable if variable.starts_with('{') => Segment::Variable,
                text => Segment::Text(text.into()),
            });
            let path = OwnPath { segments: segments.collect(), is_prefix };
            own.by_start.entry(start.into()).or_default().push(path);
        }
        own
    }

    /// Whether Gatekey answers a path, if only to refuse the method.
    pub fn contains(&self, path: &str) -> bool {
        let own = self.beginning_as(path).unwrap_or_default();
        own.iter().any(|own| own.matches(&path[1..], |text, segment| text == segment))
    }

    /// Whether a path is a spelling of one that Gatekey answers, and not the one that it knows.
    pub fn has_respelled(&self, path: &Path<'_>, as_sent: &str) -> bool {
        let is_same = |text: &str, segment: &str| text == segment || fold(text) == fold(segment);
        let trimmed = path.as_str().trim_end_matches(['/', '.', ' ']);
        // Nothing of Gatekey's begins as most paths of the upstream do.
        let Some(own) = self.beginning_as(trimmed) else { return false };
        let is_own = |path: &str| own.iter().any(|own| own.matches(path, is_same));
        (is_own(&trimmed[1..]) || is_own(&format!("{}/", &trimmed[1..]))) && !self.contains(as_sent)
    }

    /// The paths whose first segment is that of a path, in any spelling.
    fn beginning_as(&self, path: &str) -> Option<&[OwnPath]> {
        let start = path.strip_prefix('/')?.split('/').next()?;
        self.by_start.get(&*fold(start)).map(Vec::as_slice)
    }
}

impl OwnPath {
    fn matches(&self, path: &str, is_same: impl Fn(&str, &str) -> bool) -> bool {
        let mut segments = path.split('/');
        let all = self.segments.iter().all(|own| match (own, segments.next()) {
            (_, None) => false,
            (Segment::Variable, Some(segment)) => !segment.is_empty(),
            (Segment::Text(text), Some(segment)) => is_same(text, segment),
        });
        all && segments.next().is_some() == self.is_prefix
    }
}

/// Normalizes a segment, so that all its spellings are equal: in lower case, without spaces around
/// it or dots at its end, and with ASCII for letters of full width.
fn fold(segment: &str) -> String {
    let kept = segment.trim_end_matches(['.', ' ']).trim_start_matches(' ');
    if kept.is_ascii() {
        return kept.to_ascii_lowercase();
    }
    // Twice, because some letters differ in one direction only, such as the long s.
    let kept = kept.chars().map(narrow).flat_map(char::to_uppercase);
    kept.flat_map(char::to_lowercase).collect()
}

/// Maps a character of full width to the one in ASCII (Unicode Standard Annex 15).
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn own() -> OwnPaths {
        OwnPaths::new([
            "/oauth2/token",
            "/me",
            "/.well-known/jwks.json",
            "/gatekey/v1/keys/{client_id}",
            "/gate/envoy/",
            "/gate/envoy/{*path}",
            "/gatekey.v1.ApiKeyService/{method}",
        ])
    }

    fn is_respelled(path: &str) -> bool {
        own().has_respelled(&Path::parse(path).unwrap(), path)
    }

    #[test]
    fn another_spelling_is_recognized() {
        for path in [
            "/oauth2/%74oken",
            "/%6fauth2/token",
            "/OAuth2/token",
            "/oauth2/TOKEN",
            "/oauth2/token/",
            "/oauth2/token.",
            "/oauth2./token",
            "/oauth2/token%20",
            "/oauth2/%20token",
            "/oauth2/%EF%BD%94oken",
            "/oauth2/to%E2%84%AAen",
            "/oauth2/to%6Ben./",
            "/ME",
            "/me/",
            "/m%65",
            "/.WELL-KNOWN/jwks.json",
            "/gatekey/v1/keys/ci/",
            "/gatekey/V1/keys/ci",
            "/GATE/envoy/a/b",
            "/gate/ENVOY/x",
            "/gate/envoy",
            "/Gatekey.V1.apikeyservice/Get",
        ] {
            assert!(is_respelled(path), "{path}");
        }
    }

    #[test]
    fn plain_and_other_paths_are_no_spelling() {
        for path in [
            "/",
            "/oauth2/token",
            "/me",
            "/gatekey/v1/keys/ci",
            "/gatekey/v1/keys/c%69",
            "/gate/envoy/a",
            "/gate/envoy/A.b/",
            "/oauth2/authorize",
            "/me2",
            "/console/me",
            "/flyteidl2.project.ProjectService/GetProject",
            "/gatekey/v1/keys",
        ] {
            assert!(!is_respelled(path), "{path}");
        }
    }

    proptest! {
        /// Whatever is escaped or in the other case.
        #[test]
        fn every_escape_and_case_is_recognized(
            changes in proptest::collection::vec(0..4_u8, 13),
            end in "[./]{0,2}",
        ) {
            let plain = "/oauth2/token";
            let spelled: String = plain.chars().zip(changes).map(|(c, change)| match change {
                _ if c == '/' => c.to_string(),
                1 => format!("%{:02x}", u32::from(c)),
                2 => c.to_ascii_uppercase().to_string(),
                3 => format!("%{:02X}", u32::from(c.to_ascii_uppercase())),
                _ => c.to_string(),
            }).collect();
            let spelled = spelled + &end;
            if let Ok(path) = Path::parse(&spelled) {
                prop_assert_eq!(own().has_respelled(&path, &spelled), spelled != plain);
            }
        }
    }
}
