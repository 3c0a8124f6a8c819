//! [`Endpoint`]: the address of a server.

use std::net::IpAddr;

use http::{Uri, uri::Authority};

use crate::Error;

/// Endpoints of Union's serverless offering, where the client id and organization of a key are
/// derived from the caller. Union's client has the same five.
const SERVERLESS: [&str; 5] = [
    "serverless-1.us-east-2.s.union.ai",
    "serverless-gcp.cloud-staging.union.ai",
    "utt-srv-staging-1.cloud-staging.union.ai",
    "serverless-preview.canary.unionai.cloud",
    "utt-srv-canary-1.canary.unionai.cloud",
];

/// A host, or host and port, with the choice between TLS and plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    bare: String,
    plaintext: bool,
}

impl Endpoint {
    /// Parses `https://h:p`, `http://h:p`, `dns:///h:p` or `h:p`.
    ///
    /// `https://` and `http://` decide between TLS and plaintext. Without them, the endpoint is
    /// plaintext if `plaintext` is allowed. Unless it is allowed, a plaintext endpoint must be a
    /// loopback address: other processes of this machine are then the only possible listeners.
    pub(crate) fn parse(text: &str, plaintext: bool) -> Result<Self, Error> {
        let text = text.trim();
        let invalid = |why: &str| {
            // What precedes an "@" may be a password.
            let shown = text.rsplit_once('@').map_or(text, |(_, host)| host);
            let shown = crate::error::one_line(shown);
            Error::configuration(format!(
                "invalid endpoint {shown:?}: {why}; write it as https://host:port"
            ))
        };
        let (scheme, bare) = split_scheme(text);
        if bare.is_empty() {
            return Err(invalid("it has no host"));
        }
        if bare.contains("://") {
            return Err(invalid("its scheme is not https, http or dns"));
        }
        if bare.contains(['/', '?', '#']) {
            return Err(invalid("it has a path or query"));
        }
        if bare.contains('@') {
            return Err(invalid("it has a user name"));
        }
        let authority: Authority =
            bare.parse().map_err(|_| invalid("it is not a host and port"))?;
        let after_host = &bare[authority.host().len()..];
        let port_is_valid = after_host.is_empty()
            || after_host
                .strip_prefix(':')
                .and_then(|port| port.parse::<u16>().ok())
                .is_some_and(|port| port != 0);
        if authority.host().is_empty() || !port_is_valid {
            return Err(invalid("its host or port is invalid"));
        }
        let is_plaintext = match scheme {
            Some(Scheme::Https) => false,
            Some(Scheme::Http) => true,
            Some(Scheme::Dns) | None => plaintext,
        };
        if is_plaintext && !plaintext && !is_loopback_address(authority.host()) {
            return Err(plaintext_refused(bare, authority.host()));
        }
        Ok(Self { bare: bare.to_owned(), plaintext: is_plaintext })
    }

    /// Returns the endpoint without scheme, as encoded credentials contain it.
    pub(crate) fn bare(&self) -> &str {
        &self.bare
    }

    pub(crate) fn is_plaintext(&self) -> bool {
        self.plaintext
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}", if self.plaintext { "http" } else { "https" }, self.bare)
    }

    pub(crate) fn uri(&self) -> Uri {
        self.url().parse().expect("`parse` has checked the authority")
    }

    /// Returns the tenant of a serverless endpoint: the first label of its host.
    pub(crate) fn serverless_tenant(&self) -> Option<&str> {
        SERVERLESS.contains(&self.bare()).then(|| self.bare.split('.').next().unwrap_or_default())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Https,
    Http,
    Dns,
}

/// Splits off a known scheme, in any case (RFC 3986 section 3.1), and trailing slashes.
fn split_scheme(text: &str) -> (Option<Scheme>, &str) {
    const SCHEMES: [(&str, Scheme); 3] =
        [("https://", Scheme::Https), ("http://", Scheme::Http), ("dns:///", Scheme::Dns)];
    let found = SCHEMES.into_iter().find_map(|(prefix, scheme)| {
        let start = text.get(..prefix.len())?;
        start.eq_ignore_ascii_case(prefix).then(|| (scheme, &text[prefix.len()..]))
    });
    let (scheme, rest) = found.map_or((None, text), |(scheme, rest)| (Some(scheme), rest));
    (scheme, rest.trim_end_matches('/'))
}

/// Writes an endpoint as plaintext, unless it says `https://`.
pub(crate) fn as_plaintext(endpoint: &str) -> String {
    match split_scheme(endpoint.trim()) {
        (Some(Scheme::Https), _) => endpoint.to_owned(),
        (_, bare) => format!("http://{bare}"),
    }
}

/// Returns the host of an endpoint, with brackets around an IPv6 address.
pub(crate) fn host_of(endpoint: &str) -> &str {
    let (_, bare) = split_scheme(endpoint.trim());
    match bare.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => bare,
    }
}

/// Whether two endpoints have the same host. All loopback addresses and `localhost` are this
/// machine.
pub(crate) fn same_host(one: &str, other: &str) -> bool {
    let host = |endpoint: &str| {
        let host = host_of(endpoint).trim_end_matches('.').to_ascii_lowercase();
        if is_loopback(&host) { "localhost".to_owned() } else { host }
    };
    host(one) == host(other)
}

/// Whether a host is a loopback address, with or without brackets. A name is not an address: what
/// it resolves to is decided elsewhere.
pub(crate) fn is_loopback_address(host: &str) -> bool {
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Whether a host is a loopback address or the name `localhost` (RFC 6761 section 6.3).
pub(crate) fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    is_loopback_address(host) || name == "localhost" || name.ends_with(".localhost")
}

fn plaintext_refused(bare: &str, host: &str) -> Error {
    let shown = crate::error::one_line(bare);
    let instead = if is_loopback(host) {
        format!("http://127.0.0.1{}", &bare[host.len()..])
    } else {
        format!("https://{shown}")
    };
    Error::configuration(format!(
        "http://{shown} would get the secret unencrypted: plain HTTP is only for loopback addresses such as \
         127.0.0.1; use {instead}, or allow it with `--plaintext` (`plaintext=True` in Python)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str, plaintext: bool) -> String {
        Endpoint::parse(text, plaintext).unwrap().url()
    }

    #[test]
    fn every_notation_means_the_same_endpoint() {
        for text in
            ["https://h:8443", "dns:///h:8443", "h:8443", "HTTPS://h:8443", " https://h:8443/ "]
        {
            assert_eq!(url(text, false), "https://h:8443");
        }
        assert_eq!(url("[::1]:8443", false), "https://[::1]:8443");
        assert_eq!(url("localhost", false), "https://localhost");
    }

    #[test]
    fn a_written_scheme_decides_about_tls() {
        for plaintext in [false, true] {
            assert_eq!(url("https://127.0.0.1:1", plaintext), "https://127.0.0.1:1");
            assert_eq!(url("http://127.0.0.1:1", plaintext), "http://127.0.0.1:1");
            assert_eq!(url("HTTP://[::1]:1", plaintext), "http://[::1]:1");
        }
        assert_eq!(url("http://h:1", true), "http://h:1");
        assert_eq!(url("dns:///h:1", true), "http://h:1");
        assert_eq!(url("h:1", true), "http://h:1");
    }

    #[test]
    fn plaintext_is_only_for_loopback_addresses() {
        for host in ["127.0.0.1", "127.8.9.10", "[::1]", "[::ffff:127.0.0.1]"] {
            assert_eq!(url(&format!("http://{host}:1"), false), format!("http://{host}:1"));
        }
        for host in [
            "h",
            "localhost",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "127.1",
            "2130706433",
            "0.0.0.0",
            "10.0.0.1",
            "[::]",
            "[::ffff:10.0.0.1]",
        ] {
            let error = Endpoint::parse(&format!("http://{host}:1"), false).unwrap_err();
            assert!(error.is_configuration());
            assert!(error.to_string().contains("--plaintext"), "{host}: {error}");
        }
    }

    #[test]
    fn hosts_are_compared_without_port_and_case() {
        for (one, other, same) in [
            ("h:1", "https://H", true),
            ("dns:///h.", "h:8443", true),
            ("127.0.0.1:1", "localhost:2", true),
            ("[::1]", "127.0.0.1", true),
            ("h", "h.example", false),
            ("[fe80::1]:1", "[fe80::2]:1", false),
        ] {
            assert_eq!(same_host(one, other), same, "{one} {other}");
        }
    }

    #[test]
    fn an_invalid_endpoint_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "no host"),
            ("https://", "no host"),
            ("ftp://h", "scheme"),
            ("h/path", "path"),
            ("user@h", "user name"),
            ("h:port", "port"),
            ("h:0", "port"),
            ("h:70000", "port"),
            ("::1", "port"),
            ("a b", "host"),
        ] {
            let error = Endpoint::parse(text, false).unwrap_err();
            assert!(error.is_configuration());
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn serverless_endpoints_are_recognized_by_name() {
        let endpoint =
            Endpoint::parse("dns:///serverless-gcp.cloud-staging.union.ai", false).unwrap();
        assert_eq!(endpoint.serverless_tenant(), Some("serverless-gcp"));
        assert_eq!(Endpoint::parse("flyte.example.com", false).unwrap().serverless_tenant(), None);
    }
}
