//! `X-Forwarded-For` and `Forwarded` as a trusted proxy passes them on. Whatever the client wrote,
//! the address that the proxy appends is the client's.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use gatekey_core::network::{Network, Networks};
use gatekey_telemetry::{ClientAddresses, ForwardedHeader};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

fuzz_target!(|bytes: &[u8]| {
    let trusted: Networks = [Network::from(PROXY)].into_iter().collect();
    for (header, name, appended) in [
        (
            ForwardedHeader::XForwardedFor,
            HeaderName::from_static("x-forwarded-for"),
            "203.0.113.7:443",
        ),
        (ForwardedHeader::Forwarded, header::FORWARDED, "for=\"203.0.113.7:443\";proto=https"),
    ] {
        let addresses = ClientAddresses::new(trusted.clone(), header);
        let read = |value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(&name, HeaderValue::from_bytes(value).ok()?);
            Some(addresses.of(PROXY, &headers))
        };
        let _ = read(bytes);
        let appended = [bytes, b", ", appended.as_bytes()].concat();
        assert!(read(&appended).is_none_or(|client| client == CLIENT));
    }
    if let Ok(network) = str::from_utf8(bytes).unwrap_or_default().parse::<Network>() {
        assert_eq!(network.to_string().parse(), Ok(network));
    }
});
