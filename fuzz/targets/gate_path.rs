//! A method and a target as they reach the gate. An accepted path has one reading, and only a rule
//! lets a request pass.

#![no_main]

use std::sync::LazyLock;

use gatekey_core::api_key::{Roles, Scope};
use gatekey_credentials::Role;
use gatekey_gate::{Access, Caller, OwnPaths, Path, Procedure, Rules, decide, rules::Pattern};
use http::Method;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules::new(Vec::new(), false));

const OWN_PATH: &str = "/oauth2/token";
static OWN: LazyLock<OwnPaths> = LazyLock::new(|| OwnPaths::new([OWN_PATH]));

fuzz_target!(|text: &str| {
    let (method, target) = text.split_once(' ').unwrap_or(("POST", text));
    if let Ok(pattern) = Pattern::parse(target) {
        assert_eq!(pattern.to_string(), target);
    }
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let Ok(parsed) = Path::parse(path) else { return };
    let once: Vec<u8> = percent_decode_str(path).collect();
    assert_eq!(parsed.as_str().as_bytes(), once);
    assert!(percent_decode_str(parsed.as_str()).eq(once.iter().copied()));
    assert!(!parsed.as_str().contains(['\\', ';', '#', '?', '%', '\0', '\t', '\r', '\n']));
    if parsed.as_str().eq_ignore_ascii_case(OWN_PATH) {
        assert_eq!(OWN.has_respelled(&parsed, path), path != OWN_PATH, "{path}");
    }
    let mut segments = parsed.as_str().split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        assert!(!segment.is_empty() || segments.peek().is_none(), "{path}");
        assert!(segment.is_empty() || segment.trim_matches('.') != "", "{path}");
    }
    if let Some(procedure) = Procedure::find(parsed.as_str()) {
        assert!(parsed.is_procedure() && *procedure.path == *path, "{path}");
    }
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let pass = |caller| decide(&RULES, &method, &parsed, query, caller);
    if let Ok(rule) = pass(Caller::Nobody) {
        assert_eq!(rule.access, Access::Anonymous);
    }
    let mut lower = false;
    for role in [None, Some(Role::Viewer), Some(Role::Contributor), Some(Role::Admin)] {
        let roles = Roles::from(role);
        let passes = pass(Caller::Key { roles, scope: Scope::of(roles) });
        if let Ok(rule) = passes {
            assert!(rule.access != Access::Denied && rule.access.is_within(roles), "{rule:?}");
            assert!(!parsed.is_procedure() || method != Method::PUT, "{rule:?}");
        }
        assert!(passes.is_ok() || !lower, "a higher role has fewer rights on {path}");
        lower = passes.is_ok();
    }
    if matches!(method, Method::OPTIONS | Method::CONNECT | Method::TRACE) {
        assert!(!lower);
    }
});
