//! The headers in which a proxy describes the request that it asks about: read strictly, because a
//! client can send them as well.

use axum::http::{HeaderMap, Method, Uri, uri::PathAndQuery};

use crate::protocol::Protocol;

/// The request that a proxy asks about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    pub method: Method,
    /// The path and the query, as the client sent them.
    pub target: Uri,
}

impl Original {
    /// Returns the protocol that the request speaks.
    pub(super) fn protocol(&self, headers: &HeaderMap) -> Protocol {
        let target = self.target.path_and_query().map_or("", PathAndQuery::as_str);
        Protocol::of_forwarded(&self.method, target, headers)
    }
}

/// Why a proxy's description of a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the proxy did not send {0}")]
    Missing(&'static str),
    #[error("the proxy sent {0} more than once")]
    Repeated(&'static str),
    #[error("the proxy sent an invalid {0}")]
    Invalid(&'static str),
    #[error("the proxy sent {0} and {1}, which differ")]
    Contradiction(&'static str, &'static str),
}

/// The longest target that is read, in bytes.
const MAX_TARGET: usize = 16 * 1024;
/// The longest method that is read, in bytes.
const MAX_METHOD: usize = 32;

/// Returns the only value of a header.
///
/// # Errors
/// [`Malformed`], if it is missing, repeated, or has anything but visible ASCII: proxies that join
/// repeated headers put a space between the values.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &'static str) -> Result<&'h str, Malformed> {
    optional(headers, name)?.ok_or(Malformed::Missing(name))
}

/// Returns the only value of a header; `None` if it is missing or empty, as proxies blank headers.
///
/// # Errors
/// As [`single`].
pub(super) fn optional<'h>(
    headers: &'h HeaderMap,
    name: &'static str,
) -> Result<Option<&'h str>, Malformed> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Malformed::Repeated(name));
    }
    let visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
    let value = value.to_str().ok().filter(|_| visible).ok_or(Malformed::Invalid(name))?;
    Ok((!value.is_empty()).then_some(value))
}

/// Reads a method. Those that turn a proxy into a tunnel or an echo are invalid.
pub(super) fn method(text: &str, name: &'static str) -> Result<Method, Malformed> {
    let upper = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let method = Method::from_bytes(text.as_bytes()).ok();
    method
        .filter(|method| upper && text.len() <= MAX_METHOD && !is_refused(method))
        .ok_or(Malformed::Invalid(name))
}

/// Returns whether a method makes a proxy a tunnel or an echo.
pub(super) fn is_refused(method: &Method) -> bool {
    matches!(*method, Method::CONNECT | Method::TRACE)
}

/// Reads a target in origin form: a path, and a query if there is one.
pub(super) fn target(text: &str, name: &'static str) -> Result<Uri, Malformed> {
    // The parser would drop a fragment, which upstreams read as a part of the path.
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let valid = visible && text.starts_with('/') && text.len() <= MAX_TARGET;
    let target = valid.then(|| PathAndQuery::try_from(text).ok()).flatten();
    target.filter(|target| target.as_str() == text).map(Uri::from).ok_or(Malformed::Invalid(name))
}

/// Splits an absolute URL into scheme, authority and target.
pub(super) fn absolute(text: &str) -> Option<(&str, &str, &str)> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, target) = rest.split_at(rest.find('/')?);
    (is_scheme(scheme) && is_authority(authority)).then_some((scheme, authority, target))
}

/// Returns whether text is the scheme of a request. Traefik uses `ws` for a WebSocket.
pub(super) fn is_scheme(text: &str) -> bool {
    matches!(text, "http" | "https" | "ws" | "wss")
}

/// Returns whether text is a host, and a port if there is one. No user information.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => (address, None),
            Some((address, port)) => (address, Some(port.strip_prefix(':').unwrap_or_default())),
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let valid_host = if text.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
        (1..=253).contains(&host.len()) && host.bytes().all(allowed)
    };
    let valid_port = port.is_none_or(|port| {
        (1..=5).contains(&port.len()) && port.bytes().all(|byte| byte.is_ascii_digit())
    });
    valid_host && valid_port
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_target_is_in_origin_form() {
        for valid in ["/", "/a.v1.B/C", "/a?b=c&d=/../e", "/a%2fb", "/a,b"] {
            assert_eq!(target(valid, "x").unwrap(), valid);
        }
        for invalid in ["", "a", "?a", "*", "http://h/a", "/a#b", "/a b", "/a\tb", "/\u{e9}"] {
            assert_eq!(target(invalid, "x"), Err(Malformed::Invalid("x")), "{invalid}");
        }
    }

    #[test]
    fn an_authority_has_no_user() {
        for valid in ["h", "flyte.example.com:8443", "[::1]", "[2001:db8::1]:443", "a_b"] {
            assert!(is_authority(valid), "{valid}");
        }
        for invalid in
            ["", ":1", "h:", "u@h", "h,h", "h:1:2", "[::1", "[h]", "[::1]x", "h/a", "h:a"]
        {
            assert!(!is_authority(invalid), "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "[a-z:/\\[\\]#?%,@.A-Z -]{0,40}|\\PC{0,40}") {
            let _ = (method(&text, "x"), absolute(&text), is_authority(&text));
            if let Ok(target) = target(&text, "x") {
                prop_assert_eq!(target.to_string(), text);
            }
        }
    }
}
