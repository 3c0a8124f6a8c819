//! [`ambiguity`]: requests that a proxy before the server may read differently, which hyper leaves
//! to the server.

use std::net::Ipv6Addr;

use axum::http::{
    HeaderMap, Version, header::HOST, header::TRANSFER_ENCODING, request::Parts, uri::Authority,
};

/// Bytes of a host name with its port.
const MAX_AUTHORITY: usize = 255 + ":65535".len();

/// Returns why a request could be read in more than one way: its host (RFC 9112 section 3.2, RFC
/// 9113 section 8.3.1) or its transfer coding (RFC 9112 section 6.1).
pub(crate) fn ambiguity(request: &Parts) -> Option<&'static str> {
    let authority = request.uri.authority().map(Authority::as_str);
    if authority.is_some_and(|authority| !is_authority(authority.as_bytes())) {
        return Some("the host in the request's target is invalid");
    }
    let mut hosts = request.headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => None,
        (Some(host), None) if is_authority(host.as_bytes()) => Some(host.as_bytes()),
        (Some(_), None) => return Some("the Host header is invalid"),
        (Some(_), Some(_)) => return Some("the request has more than one Host header"),
    };
    match (request.version, authority, host) {
        (Version::HTTP_11, _, None) => Some("the request has no Host header"),
        (Version::HTTP_2 | Version::HTTP_3, None, None) => Some("the request names no host"),
        (Version::HTTP_2 | Version::HTTP_3, Some(authority), Some(host))
            if !host.eq_ignore_ascii_case(authority.as_bytes()) =>
        {
            Some("the :authority and the Host header differ")
        }
        _ => transfer_coding(&request.headers),
    }
}

/// hyper accepts every list of codings that ends in `chunked`, and reads it as `chunked`.
fn transfer_coding(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => None,
        (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => None,
        (Some(_), _) => Some("transfer-encoding must be chunked, once"),
    }
}

/// Returns whether text is a host with an optional port. Stricter than RFC 3986 section 3.2.2: the
/// names of hosts have no characters that need an escape, and no commas, which join two headers.
fn is_authority(text: &[u8]) -> bool {
    let Some(text) = str::from_utf8(text).ok().filter(|text| text.len() <= MAX_AUTHORITY) else {
        return false;
    };
    let (is_host, port) = if let Some(bracketed) = text.strip_prefix('[') {
        let Some((address, port)) = bracketed.split_once(']') else { return false };
        (
            address.parse::<Ipv6Addr>().is_ok(),
            port.strip_prefix(':').or(port.is_empty().then_some("")),
        )
    } else {
        let (name, port) = text.split_once(':').unwrap_or((text, ""));
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        (!name.is_empty() && name.bytes().all(allowed), Some(port))
    };
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit())
            && (port.is_empty() || port.parse::<u16>().is_ok())
    };
    is_host && port.is_some_and(is_port)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use proptest::prelude::*;

    use super::*;

    fn of(version: Version, uri: &str, headers: &[(&str, &str)]) -> Option<&'static str> {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        ambiguity(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_host_is_a_name_or_address() {
        for host in ["h", "h:443", "h:", "a_b.example.", "192.0.2.1:80", "[2001:db8::1]", "[::1]:1"]
        {
            assert_eq!(of(Version::HTTP_11, "/", &[("host", host)]), None, "{host}");
        }
        for host in [
            "", ":80", "a b", "a/b", "a?b", "a#b", "u@h", "a,b", "a, b", "h:x", "h:65536", "h:1:2",
            "[::1", "[::1]x", "[h]", "::1", "h%41", "a\\b",
        ] {
            assert!(of(Version::HTTP_11, "/", &[("host", host)]).is_some(), "{host}");
        }
    }

    #[test]
    fn each_version_has_its_rule_for_hosts() {
        let (one, two) = ([("host", "h")], [("host", "h"), ("host", "h")]);
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(of(version, "/", &one), None);
            assert!(of(version, "/", &two).is_some());
            assert_eq!(of(version, "/", &[]).is_none(), version == Version::HTTP_10);
        }
        assert_eq!(of(Version::HTTP_2, "https://h:1/", &[]), None);
        assert_eq!(of(Version::HTTP_2, "https://h:1/", &[("host", "H:1")]), None);
        assert!(of(Version::HTTP_2, "https://h:1/", &[("host", "h:2")]).is_some());
        assert!(of(Version::HTTP_2, "https://u@h/", &[]).is_some());
        // The target overrides the header (RFC 9112 section 3.2.2).
        assert_eq!(of(Version::HTTP_11, "http://a/", &[("host", "b")]), None);
    }

    proptest! {
        #[test]
        fn a_valid_host_stays_valid_with_a_port(host in "\\PC{0,40}|[a-z\\[\\]:.0-9]{0,40}", port: u16) {
            if is_authority(host.as_bytes()) && !host.rsplit(']').next().unwrap_or_default().contains(':') {
                let with_port = format!("{host}:{port}");
                prop_assert!(is_authority(with_port.as_bytes()));
            }
        }
    }
}
