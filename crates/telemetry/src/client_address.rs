//! [`ClientAddresses`]: the addresses of clients, including clients behind a proxy.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use axum::http::{HeaderMap, HeaderName, header};
use gatekey_core::network::Networks;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The header in which trusted proxies report the address of their client. The other is ignored: a
/// proxy passes on what it does not write itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// Finds the addresses of clients.
#[derive(Debug)]
pub struct ClientAddresses {
    trusted_proxies: Networks,
    header: ForwardedHeader,
    /// Whether an unreadable address has been logged.
    reported: AtomicBool,
}

/// Returns the last element of a header line.
type LastElement = fn(&[u8]) -> &[u8];

impl ClientAddresses {
    /// Reads `header` only in requests of `trusted_proxies`.
    pub fn new(trusted_proxies: Networks, header: ForwardedHeader) -> Self {
        Self { trusted_proxies, header, reported: AtomicBool::new(false) }
    }

    /// Returns the last address in the header when a trusted proxy connected, otherwise the
    /// address that connected. Anyone can write the earlier addresses of the header.
    ///
    /// If the last address cannot be read, the proxy's address is used, and the first time logged.
    pub fn of(&self, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
        let connected = connected.to_canonical();
        if !self.trusted_proxies.contains(connected) {
            return connected;
        }
        let (name, last): (_, LastElement) = match self.header {
            ForwardedHeader::XForwardedFor => (X_FORWARDED_FOR, after_last_comma),
            ForwardedHeader::Forwarded => (header::FORWARDED, last_element),
        };
        // Empty elements of a list are ignored (RFC 9110 section 5.6.1).
        let entry =
            headers.get_all(&name).iter().rev().find_map(|line| last_entry(line.as_bytes(), last));
        let Some(entry) = entry else { return connected };
        let address = match self.header {
            ForwardedHeader::XForwardedFor => node(entry),
            ForwardedHeader::Forwarded => forwarded_for(entry),
        };
        if address.is_none() && !self.reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                proxy = %connected,
                header = %name,
                "a trusted proxy sent a client address that is not an IP address; its own address is \
                 used instead (logged once)"
            );
        }
        address.unwrap_or(connected)
    }
}

/// Returns the last entry of a list that is not empty.
fn last_entry(mut list: &[u8], last: fn(&[u8]) -> &[u8]) -> Option<&[u8]> {
    loop {
        let entry = last(list);
        if !entry.trim_ascii().is_empty() {
            return Some(entry.trim_ascii());
        }
        // The comma before the empty entry.
        list = &list[..list.len().checked_sub(entry.len() + 1)?];
    }
}

fn after_last_comma(list: &[u8]) -> &[u8] {
    list.rsplit(|byte| *byte == b',').next().unwrap_or_default()
}

/// Returns the part after the last comma that is not in a quoted string. Reads from the end: the
/// proxy wrote the last element well, but the client may have opened a quotation before it.
fn last_element(list: &[u8]) -> &[u8] {
    let mut quoted = false;
    for (at, byte) in list.iter().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(&list[..at]) => quoted = !quoted,
            b',' if !quoted => return &list[at + 1..],
            _ => {}
        }
    }
    list
}

/// Returns whether the byte after these is escaped in a quoted string.
fn is_escaped(before: &[u8]) -> bool {
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// Returns the address of `for` in an element (RFC 7239 section 4).
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    let mut rest = element;
    while !rest.is_empty() {
        let end = semicolon(rest);
        let pair = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        let Some(equals) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (&pair[..equals], &pair[equals + 1..]);
        if name.trim_ascii().eq_ignore_ascii_case(b"for") && found.replace(value).is_some() {
            return None;
        }
    }
    node(found?)
}

/// Returns where the first semicolon is that is not in a quoted string, or the end.
fn semicolon(element: &[u8]) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in element.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b';' if !quoted => return at,
            _ => {}
        }
    }
    element.len()
}

/// Returns the address of a node (RFC 7239 section 6), which may have a port, brackets and quotes:
/// proxies write all of them into `X-Forwarded-For` as well.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(text);
    let text = str::from_utf8(text).ok()?.trim_ascii();
    let address = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, after) = bracketed.split_once(']')?;
        (after.is_empty() || is_port(after.strip_prefix(':')?))
            .then(|| address.parse().map(IpAddr::V6))?
    } else {
        match text.split_once(':') {
            Some((address, port)) if is_port(port) => address.parse().map(IpAddr::V4),
            _ => text.parse(),
        }
    };
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// Returns whether text is a port, or an obfuscated one (RFC 7239 section 6.3).
fn is_port(text: &str) -> bool {
    let obfuscated = text.strip_prefix('_').is_some_and(|rest| {
        !rest.is_empty()
            && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    });
    let digits = (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    obfuscated || digits
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.42.0.1";

    fn addresses(header: ForwardedHeader) -> ClientAddresses {
        let trusted = ["10.42.0.0/16".parse().unwrap()].into_iter().collect();
        ClientAddresses::new(trusted, header)
    }

    /// What a trusted proxy's header with these lines means.
    fn read(header: ForwardedHeader, lines: &[&[u8]]) -> String {
        let name = match header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => header::FORWARDED,
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(&name, HeaderValue::from_bytes(line).unwrap());
        }
        addresses(header).of(PROXY.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_forwarded_address_has_many_spellings() {
        for (line, address) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:51234", "203.0.113.7"),
            ("203.0.113.7:_port", "203.0.113.7"),
            ("\"203.0.113.7:51234\"", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("[::ffff:203.0.113.7]:443", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:DB8::7]", "2001:db8::7"),
            ("[2001:db8::7]:443", "2001:db8::7"),
            ("\"[2001:db8::7]\"", "2001:db8::7"),
            ("198.51.100.1,\t203.0.113.7 ", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7,", "203.0.113.7"),
            ("203.0.113.7, , ,", "203.0.113.7"),
            ("\"\u{e9}, 203.0.113.7", "203.0.113.7"),
            ("unknown", PROXY),
            ("203.0.113.7, unknown", PROXY),
            ("203.0.113.7:", PROXY),
            ("203.0.113.7:123456", PROXY),
            ("[203.0.113.7]", PROXY),
            ("[2001:db8::7", PROXY),
            ("[2001:db8::7]443", PROXY),
            ("203.0.113.0/24", PROXY),
            (", ,", PROXY),
            ("", PROXY),
        ] {
            assert_eq!(read(ForwardedHeader::XForwardedFor, &[line.as_bytes()]), address, "{line}");
        }
        let lines: [&[u8]; 3] = [b"198.51.100.1", b"203.0.113.7:1", b" "];
        assert_eq!(read(ForwardedHeader::XForwardedFor, &lines), "203.0.113.7");
    }

    #[test]
    fn forwarded_is_read_from_its_end() {
        for (line, address) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("For=\"203.0.113.7:51234\"", "203.0.113.7"),
            ("for=203.0.113.7;proto=https;by=10.42.0.1", "203.0.113.7"),
            ("by=10.42.0.1 ; for = \"[2001:db8::7]:443\"", "2001:db8::7"),
            ("for=198.51.100.1, for=203.0.113.7;host=\"a,b;for=1.2.3.4\"", "203.0.113.7"),
            ("for=\"198.51.100.1, for=203.0.113.7", "203.0.113.7"),
            ("for=\"\\\", for=203.0.113.7", "203.0.113.7"),
            ("host=\"\\\", x\"; for=203.0.113.7,", "203.0.113.7"),
            ("for=unknown", PROXY),
            ("for=_hidden", PROXY),
            ("proto=https", PROXY),
            ("203.0.113.7", PROXY),
            ("for=203.0.113.7;for=198.51.100.1", PROXY),
            ("", PROXY),
        ] {
            assert_eq!(read(ForwardedHeader::Forwarded, &[line.as_bytes()]), address, "{line}");
        }
    }

    #[test]
    fn only_the_configured_header_is_read() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("192.0.2.1"));
        headers.insert(header::FORWARDED, HeaderValue::from_static("for=192.0.2.2"));
        let read = |header, from: &str| addresses(header).of(from.parse().unwrap(), &headers);
        assert_eq!(read(ForwardedHeader::XForwardedFor, PROXY).to_string(), "192.0.2.1");
        assert_eq!(read(ForwardedHeader::Forwarded, "::ffff:10.42.9.9").to_string(), "192.0.2.2");
        assert_eq!(read(ForwardedHeader::Forwarded, "10.43.0.1").to_string(), "10.43.0.1");
    }

    proptest! {
        /// The client writes what it likes; the proxy appends its address.
        #[test]
        fn no_client_can_hide_the_appended_address(
            written in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b','), Just(b';'), Just(b'='), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..40),
            client: IpAddr,
            port: Option<u16>,
        ) {
            let node = match (client, port) {
                (IpAddr::V4(_), None) => client.to_string(),
                (IpAddr::V4(_), Some(port)) => format!("{client}:{port}"),
                (IpAddr::V6(_), None) => format!("[{client}]"),
                (IpAddr::V6(_), Some(port)) => format!("[{client}]:{port}"),
            };
            let expected = client.to_canonical().to_string();
            let appended = |last: String| [&written[..], b", ", last.as_bytes()].concat();
            prop_assert_eq!(read(ForwardedHeader::XForwardedFor, &[&appended(node.clone())]), expected.clone());
            let last = format!("for=\"{node}\";proto=https");
            prop_assert_eq!(read(ForwardedHeader::Forwarded, &[&appended(last)]), expected);
        }

        #[test]
        fn no_header_makes_the_parser_panic(line in "[0-9a-f.:;,=\"\\\\\\[\\] ]{0,60}|[ -~]{0,60}") {
            read(ForwardedHeader::XForwardedFor, &[line.as_bytes()]);
            read(ForwardedHeader::Forwarded, &[line.as_bytes()]);
        }
    }
}
