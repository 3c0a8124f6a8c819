//! Envoy's `ext_authz` over HTTP: the client's own method, and its target behind a prefix.
//!
//! Envoy passes a request exactly on status 200, and then sets the response's headers that it is
//! told to; it removes those that `TO_REMOVE` names.

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use super::family::{Malformed, Original, is_refused, target};
use crate::identity_headers::IdentityHeaders;

/// The prefix of the path in Envoy's requests.
pub const PREFIX: &str = "/gate/envoy";
/// Names the request headers that Envoy removes, after it has set the response's.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// The header in which Envoy reports whether it sent only a part of the body. Envoy replaces what
/// the client sends.
const PARTIAL: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");

/// Returns whether Envoy is configured to send the body (`with_request_body`), and sent all of it.
/// Without a body, an unconfigured Envoy looks the same as an empty message.
pub(super) fn is_whole(headers: &HeaderMap) -> bool {
    let mut partial = headers.get_all(PARTIAL).iter();
    partial.next().is_some_and(|value| value == "false") && partial.next().is_none()
}

/// Returns whether a body is JSON. Envoy sends others over HTTP, and in the field `body`, with
/// every byte replaced that is not UTF-8, so that they read differently for the upstream.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let media_type = types.next().and_then(|one| one.as_bytes().split(|b| *b == b';').next());
    media_type.is_some_and(|one| one.trim_ascii().eq_ignore_ascii_case(b"application/json"))
        && types.next().is_none()
        && !headers.contains_key(header::CONTENT_ENCODING)
}

/// Reads the request that Envoy asks about.
///
/// # Errors
/// [`Malformed`], if there is no target behind the prefix.
pub(super) fn original(method: &Method, uri: &Uri) -> Result<Original, Malformed> {
    const TARGET: &str = "path";
    if is_refused(method) {
        return Err(Malformed::Invalid("method"));
    }
    let whole = uri.path_and_query().map_or("", |target| target.as_str());
    let behind = whole.strip_prefix(PREFIX).ok_or(Malformed::Missing(TARGET))?;
    Ok(Original { method: method.clone(), target: target(behind, TARGET)? })
}

/// Returns the request headers that Envoy must remove: the credentials, and every identity that the
/// client claims and that Envoy has shown. Headers that Envoy adds about the connection stay, and
/// so do those that the response sets, because Envoy removes last.
pub(super) fn to_remove<'h>(
    ours: &'h IdentityHeaders,
    client: &'h HeaderMap,
    set: &HeaderMap,
) -> Vec<&'h str> {
    let mut names: Vec<&str> = ours.credentials().iter().map(HeaderName::as_str).collect();
    for name in client.keys().filter(|name| ours.is_claimed(name)) {
        if !names.contains(&name.as_str()) {
            names.push(name.as_str());
        }
    }
    names.retain(|name| !set.contains_key(*name));
    names
}

/// Lists the headers that Envoy must remove.
pub(super) fn remove(ours: &IdentityHeaders, client: &HeaderMap, response: &mut HeaderMap) {
    let names = to_remove(ours, client, response).join(",");
    if let Ok(names) = HeaderValue::from_str(&names) {
        response.insert(TO_REMOVE, names);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_behind_the_prefix() {
        let read = |uri: &'static str| original(&Method::POST, &Uri::from_static(uri));
        assert_eq!(read("/gate/envoy/a.v1.B/C?d=/e").unwrap().target, "/a.v1.B/C?d=/e");
        assert_eq!(read("/gate/envoy//h/a").unwrap().target, "//h/a", "the rules refuse it");
        for uri in ["/gate/envoy", "/gate/envoy?a", "/gate/envoyx/a", "/a"] {
            assert!(read(uri).is_err(), "{uri}");
        }
        assert!(original(&Method::TRACE, &Uri::from_static("/gate/envoy/a")).is_err());
    }
}
