//! The rules of redirect URIs: RFC 6749 section 3.1.2, RFC 8252 sections 7.1 and 7.3, RFC 9700 section 2.1.

use std::net::{Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Why a text is no redirect URI. Never repeats the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedirectUri {
    /// Not an absolute URI.
    #[error("must be absolute URIs, such as https://ci.example.com/callback")]
    NotAbsolute,
    /// Has white space, control characters, a backslash, or characters beyond ASCII, which readers of URIs
    /// treat differently.
    #[error("must hold printable ASCII without blanks and backslashes")]
    Characters,
    /// Has a fragment (RFC 6749 section 3.1.2).
    #[error("must not have a fragment")]
    Fragment,
    /// Has a user name or password, which hides the real host.
    #[error("must not have a user name or password")]
    UserInfo,
    /// Has `*`, which somebody may take for a wildcard.
    #[error("must be exact: wildcards are not supported")]
    Wildcard,
    /// Plain http beyond loopback (RFC 8252 section 7.3).
    #[error("must use https; http is for localhost, 127.0.0.1 and [::1] alone")]
    NotHttps,
    /// A private-use scheme without a dot (RFC 8252 section 7.1), or a dangerous one.
    #[error(
        "must use https, loopback http, or a private-use scheme with a dot, such as com.example.app:/callback"
    )]
    Scheme,
}

/// Checks one redirect URI.
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
            // The parser mends "https:/host" and "https:host"; other readers do not.
            if !uri[url.scheme().len()..].starts_with("://") || !url.has_host() {
                return Err(InvalidRedirectUri::NotAbsolute);
            }
            let authority = uri[url.scheme().len() + 3..].split(['/', '?']).next().unwrap_or_default();
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
