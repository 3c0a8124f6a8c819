//! [`Proxies`]: which proxy leads to a URL.
//!
//! The rules are curl's (<https://everything.curl.dev/usingcurl/proxies/env.html>), except that a
//! loopback host is never reached through a proxy.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderValue, Uri, uri::Authority};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

/// The variables, by what they mean. Of each pair, the first one that is set is used.
pub const VARIABLES: [[&str; 2]; 4] = [
    ["https_proxy", "HTTPS_PROXY"],
    ["http_proxy", "HTTP_PROXY"],
    ["all_proxy", "ALL_PROXY"],
    ["no_proxy", "NO_PROXY"],
];
/// Set in a CGI program, where a client chooses `HTTP_PROXY` (CVE-2016-5385).
const CGI: &str = "REQUEST_METHOD";
/// Of a proxy without a port, as in curl.
const DEFAULT_PORT: u16 = 1080;
const HTTPS_PORT: u16 = 443;

/// The proxies for `https` and `http` URLs, and the hosts that are reached without them.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    https: Option<Result<Proxy, InvalidProxy>>,
    http: Option<Result<Proxy, InvalidProxy>>,
    exceptions: Vec<Exception>,
}

/// A proxy. Neither `Debug` nor `Display` prints its credentials.
#[derive(Clone)]
pub struct Proxy {
    pub(crate) kind: Kind,
    authority: Authority,
    credentials: Option<Credentials>,
    source: String,
}

#[derive(Clone)]
struct Credentials {
    user: Zeroizing<String>,
    password: Zeroizing<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Http,
    Https,
    /// `socks5`: the name is resolved here.
    Socks5,
    /// `socks5h`: the proxy resolves the name.
    Socks5h,
}

impl Kind {
    const ALL: [(&str, Self); 4] = [
        ("http", Self::Http),
        ("https", Self::Https),
        ("socks5", Self::Socks5),
        ("socks5h", Self::Socks5h),
    ];

    fn scheme(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("http", |(scheme, _)| scheme)
    }
}

/// A text is not the URL of a proxy. The message names its source and not the text, which may
/// contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{source_name} is not the URL of a proxy; write http://HOST:PORT, https://, socks5:// or socks5h://"
)]
pub struct InvalidProxy {
    source_name: String,
}

impl Proxies {
    /// Reads the variables of [`VARIABLES`].
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let is_cgi = variable(CGI).is_some();
        let read = |names: [&str; 2]| {
            let allowed = names.into_iter().filter(|name| !(is_cgi && *name == "HTTP_PROXY"));
            let mut set = allowed.filter_map(|name| Some((name.to_owned(), variable(name)?)));
            set.find(|(_, value)| !value.trim().is_empty())
        };
        let [https, http, all, none] = VARIABLES.map(read);
        let parse = |(name, value): (String, String)| Proxy::parse(&Zeroizing::new(value), &name);
        let none = none.map(|(_, value)| value).unwrap_or_default();
        let exceptions = none.split(|c: char| c == ',' || c.is_whitespace());
        Self {
            https: https.or_else(|| all.clone()).map(parse),
            http: http.or(all).map(parse),
            exceptions: exceptions.filter_map(Exception::parse).collect(),
        }
    }

    /// One proxy for all URLs, with the name of its source for messages.
    pub fn of(url: &str, source: &str) -> Self {
        let proxy = Proxy::parse(url, source);
        Self { https: Some(proxy.clone()), http: Some(proxy), exceptions: Vec::new() }
    }

    /// Returns the proxy that leads to a URL, if there is one.
    ///
    /// # Errors
    /// If the source names no usable proxy: to connect directly instead would be a surprise.
    pub fn find(&self, url: &Uri) -> Result<Option<&Proxy>, InvalidProxy> {
        let proxy = match url.scheme_str() {
            Some("https") => &self.https,
            Some("http") => &self.http,
            _ => return Ok(None),
        };
        let (Some(proxy), Some(host)) = (proxy, url.host()) else { return Ok(None) };
        let host = without_brackets(host).trim_end_matches('.').to_ascii_lowercase();
        let port =
            url.port_u16().unwrap_or(if url.scheme_str() == Some("https") { 443 } else { 80 });
        if is_loopback(&host) || self.exceptions.iter().any(|rule| rule.matches(&host, port)) {
            return Ok(None);
        }
        proxy.as_ref().map(Some).map_err(Clone::clone)
    }
}

impl Proxy {
    fn parse(text: &str, source: &str) -> Result<Self, InvalidProxy> {
        let invalid = || InvalidProxy { source_name: source.to_owned() };
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let scheme = scheme.to_ascii_lowercase();
        let (_, kind) =
            Kind::ALL.into_iter().find(|(known, _)| *known == scheme).ok_or_else(invalid)?;
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user_info, address) = match rest.rsplit_once('@') {
            Some((user_info, address)) => (Some(user_info), address),
            None => (None, rest),
        };
        let authority: Authority = address.parse().map_err(|_| invalid())?;
        let port = match authority.as_str()[authority.host().len()..].strip_prefix(':') {
            None | Some("") if kind == Kind::Https => HTTPS_PORT,
            None | Some("") => DEFAULT_PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0_u16).ok_or_else(invalid)?,
        };
        if authority.host().is_empty() {
            return Err(invalid());
        }
        let authority = format!("{}:{port}", authority.host()).parse().map_err(|_| invalid())?;
        let decoded = |part: &str| {
            percent_decode_str(part).decode_utf8().map(|text| Zeroizing::new(text.into_owned()))
        };
        let credentials = match user_info {
            None => None,
            Some(user_info) => {
                let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
                let user = decoded(user).map_err(|_| invalid())?;
                Some(Credentials { user, password: decoded(password).map_err(|_| invalid())? })
            }
        };
        Ok(Self { kind, authority, credentials, source: source.to_owned() })
    }

    /// Returns host and port.
    pub fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Returns the variable or file that names the proxy.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(crate) fn host(&self) -> &str {
        without_brackets(self.authority.host())
    }

    /// The address to open a TCP connection to.
    pub(crate) fn uri(&self) -> Uri {
        format!("http://{}/", self.authority).parse().expect("`parse` has checked the authority")
    }

    /// Returns the value of `proxy-authorization`, if the proxy has credentials.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let Credentials { user, password } = self.credentials.as_ref()?;
        let pair = Zeroizing::new(format!("{}:{}", **user, **password));
        let value = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&value).expect("base64 is visible ASCII");
        value.set_sensitive(true);
        Some(value)
    }

    pub(crate) fn user_and_password(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|Credentials { user, password }| (&***user, &***password))
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{} (from {})", self.kind.scheme(), self.authority, self.source)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({self})")
    }
}

/// An entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    Everything,
    /// A name and all names below it, perhaps with one port only.
    Name(String, Option<u16>),
    /// An address or network, perhaps with one port only.
    Network(IpAddr, u8, Option<u16>),
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some(network) = network(text, None) {
            return Some(network);
        }
        // An IPv6 address without brackets has been read above.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (text, None),
            },
            None => (text, None),
        };
        if let Some(network) = network(host, port) {
            return Some(network);
        }
        let name = host.trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase();
        (!name.is_empty()).then_some(Self::Name(name, port))
    }

    fn matches(&self, host: &str, port: u16) -> bool {
        let same_port = |only: &Option<u16>| only.is_none_or(|only| only == port);
        match self {
            Self::Everything => true,
            Self::Name(name, only) => {
                let above = host.strip_suffix(name.as_str());
                same_port(only)
                    && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            Self::Network(network, bits, only) => {
                let address = host.parse::<IpAddr>().map(|address| address.to_canonical());
                same_port(only) && address.is_ok_and(|address| within(address, *network, *bits))
            }
        }
    }
}

fn network(text: &str, port: Option<u16>) -> Option<Exception> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = without_brackets(address).parse().ok()?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(width);
    if bits > width {
        return None;
    }
    // Hosts are compared in their canonical form: `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
    let (address, bits) = match (address.to_canonical(), bits.checked_sub(96)) {
        (canonical @ IpAddr::V4(_), Some(bits)) if address.is_ipv6() => (canonical, bits),
        _ => (address, bits),
    };
    Some(Exception::Network(address, bits, port))
}

fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let different = address.to_bits() ^ network.to_bits();
            different.checked_shr(32 - u32::from(bits)).unwrap_or(0) == 0
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let different = address.to_bits() ^ network.to_bits();
            different.checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host.ends_with(".localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        Proxies::from_variables(&|name| variables.get(name).map(|value| (*value).to_owned()))
    }

    fn found(proxies: &Proxies, url: &str) -> Option<String> {
        proxies.find(&url.parse().unwrap()).unwrap().map(|proxy| proxy.authority().to_owned())
    }

    #[test]
    fn each_variable_has_curls_meaning() {
        for (variables, https, http) in [
            (&[][..], None, None),
            (&[("HTTPS_PROXY", "http://p:1")], Some("p:1"), None),
            (&[("https_proxy", "p:1"), ("HTTPS_PROXY", "q:1")], Some("p:1"), None),
            (&[("https_proxy", " "), ("HTTPS_PROXY", "q:1")], Some("q:1"), None),
            (&[("http_proxy", "p:1")], None, Some("p:1")),
            (&[("HTTP_PROXY", "p:1")], None, Some("p:1")),
            (&[("HTTP_PROXY", "p:1"), ("REQUEST_METHOD", "GET")], None, None),
            (&[("all_proxy", "p:1")], Some("p:1"), Some("p:1")),
            (&[("ALL_PROXY", "p:1"), ("https_proxy", "q:2")], Some("q:2"), Some("p:1")),
            (&[("ALL_PROXY", "p"), ("https_proxy", "https://q")], Some("q:443"), Some("p:1080")),
        ] {
            let proxies = proxies(variables);
            assert_eq!(found(&proxies, "https://h/").as_deref(), https, "{variables:?}");
            assert_eq!(found(&proxies, "http://h/").as_deref(), http, "{variables:?}");
        }
    }

    #[test]
    fn loopback_is_never_reached_through_a_proxy() {
        let proxies = proxies(&[("ALL_PROXY", "p:1")]);
        for host in [
            "localhost",
            "LOCALHOST.",
            "a.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(found(&proxies, &format!("https://{host}:8443/")), None, "{host}");
        }
        assert!(found(&proxies, "https://localhost.example.com/").is_some());
    }

    #[test]
    fn no_proxy_names_hosts_networks_and_ports() {
        for (exceptions, host, bypassed) in [
            ("*", "h", true),
            ("example.com", "example.com", true),
            ("example.com", "EXAMPLE.com.", true),
            ("example.com", "a.example.com", true),
            (".example.com", "example.com", true),
            ("example.com.", "example.com", true),
            ("example.com", "notexample.com", false),
            ("a, b c", "b", true),
            ("a, b c", "c", true),
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("0.0.0.0/0", "11.1.2.3", true),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.30", false),
            ("fd00::/8", "[fd12::1]", true),
            ("[fd12::1]", "[fd12::1]", true),
            ("fd12::1", "[fd12::2]", false),
            ("::/0", "[fd12::2]", true),
            ("::ffff:10.1.2.3", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
            ("::ffff:10.0.0.0/200", "10.0.0.0", false),
            ("10.1.2.3", "[::ffff:10.1.2.3]", true),
            ("h:8443", "h:8443", true),
            ("h:8443", "h:443", false),
            ("10.0.0.1:443", "10.0.0.1", true),
            ("[fd12::1]:443", "[fd12::1]", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            (",, ,", "h", false),
        ] {
            let proxies = proxies(&[("HTTPS_PROXY", "p:1"), ("NO_PROXY", exceptions)]);
            let direct = found(&proxies, &format!("https://{host}/")).is_none();
            assert_eq!(direct, bypassed, "{exceptions} {host}");
        }
    }

    #[test]
    fn an_unusable_proxy_is_an_error() {
        for text in [
            "ftp://p:1",
            "http://",
            "http://p:99999",
            "http://p:0",
            "p q",
            "socks4://p:1",
            "http://u:s3cret@",
        ] {
            let proxies = proxies(&[("HTTPS_PROXY", text)]);
            let error = proxies.find(&Uri::from_static("https://h/")).unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("s3cret"), "{error}");
            assert_eq!(found(&proxies, "https://127.0.0.1/"), None);
        }
    }

    #[test]
    fn credentials_are_decoded_and_never_printed() {
        let proxies = proxies(&[("https_proxy", "http://me:s3%40cret@p:3128/")]);
        let proxy = proxies.find(&Uri::from_static("https://h/")).unwrap().unwrap();
        assert_eq!(proxy.user_and_password(), Some(("me", "s3@cret")));
        let header = proxy.authorization().unwrap();
        assert_eq!(header, format!("Basic {}", BASE64_STANDARD.encode("me:s3@cret")));
        assert!(header.is_sensitive());
        for shown in [format!("{proxies:?}"), format!("{proxy:?}"), proxy.to_string()] {
            assert!(shown.contains("http://p:3128") && !shown.contains("s3"), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(proxy in ".{0,60}", none in ".{0,60}", host in "[a-z0-9.:\\[\\]]{1,20}") {
            let proxies = proxies(&[("ALL_PROXY", &proxy), ("NO_PROXY", &none)]);
            if let Ok(url) = format!("https://{host}/").parse() {
                let _ = proxies.find(&url);
            }
        }
    }
}
