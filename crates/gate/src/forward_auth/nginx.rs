//! nginx's `auth_request`: `X-Original-Method`, and the target in `X-Original-URI`, or as an
//! absolute URL in `X-Original-URL`, as ingress-nginx sends it.
//!
//! nginx turns every status but 200, 401 and 403 into 500, so no other is sent; the true one is in
//! `X-Gate-Status`.

use axum::http::{HeaderMap, StatusCode};

use super::family::{Malformed, Original, absolute, method, optional, single, target};
use crate::refusal::Kind;

const METHOD: &str = "x-original-method";
const URI: &str = "x-original-uri";
const URL: &str = "x-original-url";

/// Reads the request that nginx asks about.
///
/// # Errors
/// [`Malformed`]. If both headers have the target, they must agree: one of them is the client's.
pub(super) fn original(headers: &HeaderMap) -> Result<Original, Malformed> {
    let method = method(single(headers, METHOD)?, METHOD)?;
    let in_url = match optional(headers, URL)? {
        Some(url) => Some(absolute(url).ok_or(Malformed::Invalid(URL))?.2),
        None => None,
    };
    let (text, name) = match (optional(headers, URI)?, in_url) {
        (Some(uri), Some(in_url)) if uri != in_url => {
            return Err(Malformed::Contradiction(URI, URL));
        }
        (Some(uri), _) => (uri, URI),
        (None, Some(in_url)) => (in_url, URL),
        (None, None) => return Err(Malformed::Missing(URI)),
    };
    Ok(Original { method, target: target(text, name)? })
}

/// Returns the status that nginx understands.
pub(super) fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Unauthenticated { .. } | Kind::SeveralCredentials => StatusCode::UNAUTHORIZED,
        Kind::Invalid
        | Kind::Forbidden
        | Kind::NotSupported
        | Kind::ExpectationFailed
        | Kind::TooLarge
        | Kind::Throttled
        | Kind::Unavailable
        | Kind::Lost
        | Kind::DeadlineExceeded
        | Kind::Internal => StatusCode::FORBIDDEN,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Result<String, Malformed> {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .fold(HeaderMap::new(), |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            });
        original(&headers).map(|original| format!("{} {}", original.method, original.target))
    }

    #[test]
    fn the_target_is_a_path_or_an_url() {
        assert_eq!(read(&[(METHOD, "POST"), (URI, "/a?b")]).unwrap(), "POST /a?b");
        assert_eq!(read(&[(METHOD, "GET"), (URL, "https://h:1/a?b")]).unwrap(), "GET /a?b");
        let both = [(METHOD, "GET"), (URL, "https://h/a"), (URI, "/a")];
        assert_eq!(read(&both).unwrap(), "GET /a");
    }

    #[test]
    fn contradicting_targets_are_refused() {
        let both = [(METHOD, "GET"), (URL, "https://h/a"), (URI, "/b")];
        assert_eq!(read(&both), Err(Malformed::Contradiction(URI, URL)));
    }

    #[test]
    fn an_incomplete_family_is_refused() {
        assert_eq!(read(&[(URI, "/a")]), Err(Malformed::Missing(METHOD)));
        assert_eq!(read(&[(METHOD, "GET")]), Err(Malformed::Missing(URI)));
        assert_eq!(read(&[(METHOD, "GET"), (URI, "")]), Err(Malformed::Missing(URI)));
        let twice = [(METHOD, "GET"), (URI, "/a"), (URI, "/a")];
        assert_eq!(read(&twice), Err(Malformed::Repeated(URI)));
        for uri in ["/a, /b", "a", "https://h/a", "/a#b"] {
            assert_eq!(read(&[(METHOD, "GET"), (URI, uri)]), Err(Malformed::Invalid(URI)), "{uri}");
        }
        for method in ["get", "GET, POST", "CONNECT", "TRACE"] {
            let read = read(&[(METHOD, method), (URI, "/a")]);
            assert_eq!(read, Err(Malformed::Invalid(METHOD)), "{method}");
        }
        for url in ["/a", "h/a", "https://u@h/a", "https://h", "ftp://h/a"] {
            assert_eq!(read(&[(METHOD, "GET"), (URL, url)]), Err(Malformed::Invalid(URL)), "{url}");
        }
    }
}
