//! Traefik's `ForwardAuth`, Caddy's `forward_auth`, and HAProxy: `X-Forwarded-Method`, `-Proto`,
//! `-Host` and `-Uri`.

use axum::http::HeaderMap;

use super::family::{Malformed, Original, is_authority, is_scheme, method, single, target};

const METHOD: &str = "x-forwarded-method";
const PROTO: &str = "x-forwarded-proto";
const HOST: &str = "x-forwarded-host";
const URI: &str = "x-forwarded-uri";

/// Reads the request that the proxy asks about.
///
/// # Errors
/// [`Malformed`]. All four headers are needed, although rules look at the path only: a proxy that
/// leaves one out passes on the client's.
pub(super) fn original(headers: &HeaderMap) -> Result<Original, Malformed> {
    let method = method(single(headers, METHOD)?, METHOD)?;
    if !is_scheme(single(headers, PROTO)?) {
        return Err(Malformed::Invalid(PROTO));
    }
    if !is_authority(single(headers, HOST)?) {
        return Err(Malformed::Invalid(HOST));
    }
    Ok(Original { method, target: target(single(headers, URI)?, URI)? })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const FAMILY: [(&str, &str); 4] =
        [(METHOD, "POST"), (PROTO, "https"), (HOST, "flyte.example.com"), (URI, "/a.v1.B/C?d")];

    fn headers(family: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in family {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_whole_family_is_read() {
        let original = original(&headers(&FAMILY)).unwrap();
        assert_eq!(
            (original.method.as_str(), &*original.target.to_string()),
            ("POST", "/a.v1.B/C?d")
        );
    }

    #[test]
    fn each_header_is_needed_once() {
        for (index, (name, value)) in FAMILY.into_iter().enumerate() {
            let mut family = FAMILY.to_vec();
            family.remove(index);
            assert_eq!(original(&headers(&family)), Err(Malformed::Missing(name)));
            family.extend([(name, value), (name, value)]);
            assert_eq!(original(&headers(&family)), Err(Malformed::Repeated(name)));
        }
    }

    #[test]
    fn joined_values_are_refused() {
        for (index, joined) in
            [(0, "GET, POST"), (1, "https,http"), (2, "a, b"), (3, "/a, /b"), (3, "//a b")]
        {
            let mut family = FAMILY.to_vec();
            family[index].1 = joined;
            assert_eq!(original(&headers(&family)), Err(Malformed::Invalid(family[index].0)));
        }
    }
}
