//! `[server]`: where the server listens, and the name that clients know it by.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use gatekey_core::{api_key::redirect_uri, network::Networks};
use gatekey_telemetry::client_address;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{invalid_setting::Problems, tls::TlsMode};

/// Addresses and names of the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Section {
    /// Address and port to listen on; port 0 picks a free port.
    #[schemars(extend("x-flag" = "--listen", "x-value" = "ADDR"))]
    pub(super) listen: SocketAddr,
    /// URL that clients use, and the issuer of every token.
    ///
    /// Scheme and host, and the port unless it is the default port of the scheme.
    #[schemars(extend(
        "x-flag" = "--public-url",
        "x-value" = "URL",
        "x-unset" = "the address that the server listens on"
    ))]
    pub(super) public_url: Option<String>,
    /// Name of the organization that this server belongs to.
    ///
    /// At most 63 letters, digits and `.`, `_` or `-`; may be empty.
    #[schemars(
        regex(pattern = r"^[A-Za-z0-9._-]{0,63}$"),
        extend("x-flag" = "--organization", "x-value" = "NAME")
    )]
    pub(super) organization: String,
    /// IP addresses and networks, such as `10.42.0.0/16`, of reverse proxies that are trusted to
    /// report the address of their client.
    ///
    /// With `tls.plaintext` beyond loopback, connections are accepted only from these addresses.
    #[schemars(with = "Vec<String>", extend("x-value" = "NETWORK"))]
    pub(super) trusted_proxies: Networks,
    /// Header in which trusted proxies report the address of their client.
    ///
    /// The last address in it applies, so the proxy must set the header or append to it. The other
    /// header is ignored.
    pub(super) forwarded_header: ForwardedHeader,
    /// Address and port of `/healthz`, `/readyz` and `/metrics`, over plain HTTP; port 0 picks a
    /// free port.
    #[schemars(extend(
        "x-flag" = "--admin-listen",
        "x-value" = "ADDR",
        "x-bare" = "127.0.0.1:9464",
        "x-unset" = "disabled"
    ))]
    pub(super) admin_listen: Option<SocketAddr>,
    /// Callers that gRPC reflection answers.
    ///
    /// Reflection describes every message that the server accepts, in responses that are hundreds
    /// of times larger than the requests.
    pub(super) reflection: Reflection,
    /// Seconds that a connection may be open without a request.
    ///
    /// Longer than the idle timeout of a load balancer before the server, so that the balancer
    /// never sends a request on a connection that the server is closing.
    #[schemars(range(min = 1, max = 86_400))]
    pub(super) idle_timeout_seconds: u64,
    /// Seconds after which a connection accepts no more requests, so that clients connect again
    /// and load balancers can distribute them again.
    ///
    /// Requests in progress are finished. Each connection's age is up to a tenth shorter, so that
    /// they do not all end at once.
    #[schemars(range(min = 1, max = 604_800))]
    pub(super) max_connection_age_seconds: u64,
    /// Share of all connections that one client address may have, IPv6 by /64; from 0 to 1.
    ///
    /// Beyond it, the address's longest idle connection is closed. Trusted proxies have no limit.
    #[schemars(range(min = 0, max = 1))]
    pub(super) connection_share_per_address: f64,
}

/// Callers that gRPC reflection answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reflection {
    /// Every key
    #[default]
    Keys,
    /// Everyone
    Open,
}

/// Header in which trusted proxies report the address of their client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

impl From<ForwardedHeader> for client_address::ForwardedHeader {
    fn from(header: ForwardedHeader) -> Self {
        match header {
            ForwardedHeader::XForwardedFor => Self::XForwardedFor,
            ForwardedHeader::Forwarded => Self::Forwarded,
        }
    }
}

impl Default for Section {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)),
            public_url: None,
            organization: String::new(),
            trusted_proxies: Networks::default(),
            forwarded_header: ForwardedHeader::default(),
            admin_listen: None,
            reflection: Reflection::default(),
            idle_timeout_seconds: 75,
            max_connection_age_seconds: 3600,
            connection_share_per_address: 0.125,
        }
    }
}

/// Addresses and names of the server, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    pub listen: SocketAddr,
    pub public_url: Url,
    pub organization: String,
    pub trusted_proxies: Networks,
    pub forwarded_header: ForwardedHeader,
    /// `None` if disabled.
    pub admin_listen: Option<SocketAddr>,
    pub reflection: Reflection,
    pub idle_timeout: Duration,
    pub max_connection_age: Duration,
    pub connection_share_per_address: f64,
    issuer: String,
}

impl Section {
    /// Returns whether connections come only from this machine or from trusted proxies.
    pub(super) fn is_shielded(&self) -> bool {
        self.listen.ip().is_loopback() || !self.trusted_proxies.is_empty()
    }

    pub(super) fn check(&mut self, tls: &TlsMode, problems: &mut Problems) -> Server {
        let public_url =
            self.public_url.get_or_insert_with(|| default_public_url(self.listen, tls)).as_str();
        let public_url = parse_public_url(public_url).unwrap_or_else(|rule| {
            problems.add("server.public_url", rule);
            Url::parse("https://localhost").expect("this is a URL")
        });
        if public_url.scheme() == "http" && *tls != TlsMode::Plaintext {
            let rule = "has the scheme http, but the server uses TLS; change it to https, or set tls.plaintext";
            problems.add("server.public_url", rule);
        }
        let is_allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if self.organization.len() > 63 || !self.organization.bytes().all(is_allowed) {
            let rule = "must be at most 63 characters long and contain only A-Z, a-z, 0-9, \".\", \"_\" and \"-\"";
            problems.add("server.organization", rule);
        }
        if self.admin_listen.is_some_and(|admin| admin == self.listen && admin.port() != 0) {
            problems.add("server.admin_listen", "must differ from server.listen");
        }
        Server {
            listen: self.listen,
            issuer: public_url.as_str().trim_end_matches('/').to_owned(),
            public_url,
            organization: self.organization.clone(),
            trusted_proxies: self.trusted_proxies.clone(),
            forwarded_header: self.forwarded_header,
            admin_listen: self.admin_listen,
            reflection: self.reflection,
            idle_timeout: Duration::from_secs(self.idle_timeout_seconds),
            max_connection_age: Duration::from_secs(self.max_connection_age_seconds),
            connection_share_per_address: self.connection_share_per_address,
        }
    }
}

impl Server {
    /// Returns the public URL without a trailing slash: the issuer of every token.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the public host, without brackets around an IPv6 address.
    pub fn public_host(&self) -> &str {
        self.public_url.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// Returns whether clients know the server under a public host name and by HTTPS: not under an
    /// address or a name that is never public (RFC 6761, RFC 6762, RFC 8375).
    pub fn has_public_name(&self) -> bool {
        const NEVER_PUBLIC: [&str; 8] =
            ["localhost", "local", "internal", "test", "invalid", "example", "onion", "home.arpa"];
        let Some(Host::Domain(name)) = self.public_url.host() else { return false };
        let name = name.trim_end_matches('.');
        let is_below = |domain: &str| {
            name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        self.public_url.scheme() == "https"
            && name.contains('.')
            && !NEVER_PUBLIC.into_iter().any(is_below)
    }

    /// Returns the public host, and the port unless it is the default port of the scheme. Encoded
    /// credentials name the server like this.
    pub fn endpoint(&self) -> &str {
        self.issuer.split_once("://").map_or(&self.issuer, |(_, endpoint)| endpoint)
    }

    /// Describes settings that are valid but probably a mistake.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let strangers = self.trusted_proxies.iter().filter(|network| network.has_strangers());
        strangers.map(|network| {
            format!(
                "server.trusted_proxies has {network}, so strangers count as trusted proxies: they can \
                 claim any address, and may connect without TLS if tls.plaintext is set; name only the \
                 networks of your proxies"
            )
        })
    }

    /// Returns the absolute URL of a path of this server.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}

fn default_public_url(listening: SocketAddr, tls: &TlsMode) -> String {
    let (scheme, default_port) =
        if *tls == TlsMode::Plaintext { ("http", 80) } else { ("https", 443) };
    let host = match listening.ip() {
        address if address.is_unspecified() => "localhost".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    let port = listening.port();
    if port == default_port {
        format!("{scheme}://{host}")
    } else {
        format!("{scheme}://{host}:{port}")
    }
}

fn parse_public_url(text: &str) -> Result<Url, &'static str> {
    let rule = "must be an absolute URL that has only a scheme, a host and a port, such as https://keys.example.com";
    let url = Url::parse(text).map_err(|_| rule)?;
    let bare = url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
        && url.has_host();
    if !bare || !matches!(url.scheme(), "https" | "http") {
        return Err(rule);
    }
    if url.scheme() == "http" && redirect_uri::validate(text).is_err() {
        return Err("must use https; http is allowed only for localhost, 127.0.0.1 and [::1]");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{broken, resolve, resolve_on};

    #[test]
    fn the_public_url_defaults_to_the_address() {
        assert_eq!(resolve("").unwrap().server.issuer(), "https://127.0.0.1:8443");
        assert_eq!(resolve_on("127.0.0.1:443", "").unwrap().server.endpoint(), "127.0.0.1");
        assert_eq!(resolve_on("0.0.0.0:8443", "").unwrap().server.endpoint(), "localhost:8443");
        let plaintext = resolve_on("127.0.0.1:80", "[tls]\nplaintext = true").unwrap();
        assert_eq!(plaintext.server.issuer(), "http://127.0.0.1");
    }

    #[test]
    fn an_unusable_public_url_is_refused() {
        for url in ["https://h/path", "http://keys.example.com", "http://localhost", "keys", ""] {
            assert_eq!(
                broken(&format!("[server]\npublic_url = \"{url}\"")),
                ["server.public_url"],
                "{url}"
            );
        }
    }

    #[test]
    fn trusted_proxies_are_addresses_and_networks() {
        for (proxies, valid) in [
            (r#"["10.42.0.0/16", "::ffff:127.0.0.1", "2001:db8::/32"]"#, true),
            (r#"["10.42.0.0/33"]"#, false),
            (r#"["proxy"]"#, false),
            (r#""10.42.0.0/16""#, false),
        ] {
            let resolved = resolve(&format!("[server]\ntrusted_proxies = {proxies}"));
            assert_eq!(resolved.is_ok(), valid, "{proxies}");
            if let Err(invalid) = resolved {
                assert!(invalid[0].to_string().contains("such as 10.42.0.0/16"), "{invalid:?}");
            }
        }
    }

    #[test]
    fn a_public_name_is_not_local() {
        let is_public = |url: &str| {
            resolve(&format!("[server]\npublic_url = \"{url}\"")).unwrap().server.has_public_name()
        };
        for url in ["https://keys.example.com", "https://keys.example.com:8443", "https://a.io."] {
            assert!(is_public(url), "{url}");
        }
        for url in [
            "https://localhost",
            "https://localhost:8443",
            "https://a.localhost",
            "https://keys",
            "https://keys.local",
            "https://keys.internal.",
            "https://192.0.2.1",
            "https://[::1]",
            "https://keys.default.svc.cluster.local",
        ] {
            assert!(!is_public(url), "{url}");
        }
        assert!(!resolve("").unwrap().server.has_public_name());
    }

    #[test]
    fn trusting_strangers_is_warned_of() {
        let warnings = |proxies: &str| {
            resolve(&format!("[server]\ntrusted_proxies = [{proxies}]")).unwrap().warnings()
        };
        assert_eq!(warnings(r#""10.0.0.0/8", "2001:db8::/32", "192.0.2.7""#), Vec::<String>::new());
        for network in ["0.0.0.0/0", "::/0", "128.0.0.0/1"] {
            let warnings = warnings(&format!("\"10.0.0.0/8\", \"{network}\""));
            assert_eq!(warnings.len(), 1, "{warnings:?}");
            assert!(warnings[0].contains(network), "{warnings:?}");
        }
    }

    #[test]
    fn an_organization_fits_in_a_name() {
        assert_eq!(broken("[server]\norganization = \"a:b\""), ["server.organization"]);
        let long = "a".repeat(64);
        assert_eq!(
            broken(&format!("[server]\norganization = \"{long}\"")),
            ["server.organization"]
        );
        assert!(resolve(&format!("[server]\norganization = \"{}\"", &long[1..])).is_ok());
    }

    #[test]
    fn the_admin_listener_has_its_own_address() {
        assert_eq!(broken("[server]\nadmin_listen = \"127.0.0.1:8443\""), ["server.admin_listen"]);
        assert!(resolve_on("127.0.0.1:0", "[server]\nadmin_listen = \"127.0.0.1:0\"").is_ok());
    }
}
