//! The rules of redirect URIs: RFC 6749 section 3.1.2, RFC 8252 sections 7.1 and 7.3, RFC 9700
//! section 2.1.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// A rule that a redirect URI breaks. Never repeats the URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedirectUri {
    #[error("must be absolute URIs, such as https://ci.example.com/callback")]
    NotAbsolute,
    /// White space, control characters, a backslash, or non-ASCII: URI parsers disagree on them.
    #[error("must be printable ASCII without spaces and backslashes")]
    Characters,
    /// See RFC 6749 section 3.1.2.
    #[error("must not have a fragment")]
    Fragment,
    /// A user name or password hides the real host.
    #[error("must not have a user name or password")]
    UserInfo,
    /// Contains `*`, which could be taken for a wildcard.
    #[error("must be exact: wildcards are not supported")]
    Wildcard,
    /// Plain HTTP to a host other than loopback (RFC 8252 section 7.3).
    #[error("must use https; http is only for localhost, 127.0.0.1 and [::1]")]
    NotHttps,
    /// A private-use scheme without a dot (RFC 8252 section 7.1), which includes `javascript`.
    #[error(
        "must use https, loopback http, or a private-use scheme with a dot, such as com.example.app:/callback"
    )]
    Scheme,
}

/// Validates a redirect URI.
///
/// # Errors
/// [`InvalidRedirectUri`], by the first rule that it breaks.
pub fn validate(uri: &str) -> Result<(), InvalidRedirectUri> {
    if !uri.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
        return Err(InvalidRedirectUri::Characters);
    }
    let url = Url::parse(uri).map_err(|_| InvalidRedirectUri::NotAbsolute)?;
    if url.fragment().is_some() {
        return Err(InvalidRedirectUri::Fragment);
    }
    if uri.contains('*') {
        return Err(InvalidRedirectUri::Wildcard);
    }
    match url.scheme() {
        "https" | "http" => {
            // This parser corrects "https:/host" and "https:host"; others do not.
            if !uri[url.scheme().len()..].starts_with("://") || !url.has_host() {
                return Err(InvalidRedirectUri::NotAbsolute);
            }
            let authority =
                uri[url.scheme().len() + 3..].split(['/', '?']).next().unwrap_or_default();
            if authority.contains('@') {
                return Err(InvalidRedirectUri::UserInfo);
            }
            if url.scheme() == "http" && !url.host().is_some_and(|host| is_loopback(&host)) {
                return Err(InvalidRedirectUri::NotHttps);
            }
            Ok(())
        }
        scheme if scheme.contains('.') => Ok(()),
        _ => Err(InvalidRedirectUri::Scheme),
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => *address == Ipv4Addr::LOCALHOST,
        Host::Ipv6(address) => *address == Ipv6Addr::LOCALHOST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_loopback_and_private_use_schemes_are_accepted() {
        for uri in [
            "https://ci.example.com/callback",
            "https://ci.example.com:8443/callback?tenant=1",
            "http://localhost:8080/authorization-code/callback",
            "http://127.0.0.1/callback",
            "http://[::1]:53593/callback",
            "com.example.app:/callback",
        ] {
            assert_eq!(validate(uri), Ok(()), "{uri}");
        }
    }

    #[test]
    fn a_refused_uri_names_its_rule() {
        use InvalidRedirectUri as Invalid;
        for (uri, rule) in [
            ("", Invalid::NotAbsolute),
            ("/callback", Invalid::NotAbsolute),
            ("https:host/callback", Invalid::NotAbsolute),
            ("https://ci.example.com/#top", Invalid::Fragment),
            ("https://ci.example.com/#", Invalid::Fragment),
            ("http://ci.example.com/", Invalid::NotHttps),
            ("http://localhost.evil.example/", Invalid::NotHttps),
            ("http://localhost:80@evil.example/", Invalid::UserInfo),
            ("https://@evil.example/", Invalid::UserInfo),
            ("https://*.example.com/", Invalid::Wildcard),
            ("javascript:alert(1)", Invalid::Scheme),
            ("data:text/html,x", Invalid::Scheme),
            ("myapp:/callback", Invalid::Scheme),
            ("https://evil.example\\@ci.example.com/", Invalid::Characters),
            ("https://ci.example.com/\ncallback", Invalid::Characters),
            ("https://ci.éxample.com/", Invalid::Characters),
        ] {
            assert_eq!(validate(uri), Err(rule), "{uri:?}");
        }
    }
}
