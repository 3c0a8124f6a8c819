//! The headers of a request at the gate, one a line. Whatever the client sent, the upstream gets
//! the gate's own identity and no other, in headers and in trailers.

#![no_main]

use gatekey_gate::{Identity, IdentityHeaders, identity_headers};
use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let (name, value) =
            line.split_at(line.iter().position(|b| *b == b':').unwrap_or(line.len()));
        let value = value.get(1..).unwrap_or_default();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    let ours = IdentityHeaders::new(&HeaderName::from_static("flyte-authorization"));
    let mut trailers = headers.clone();
    ours.remove_from_trailers(&mut trailers);
    assert!(trailers.keys().all(|name| !ours.is_removed(name)));

    ours.remove(&mut headers);
    assert!(headers.keys().all(|name| !ours.is_removed(name)));
    let identity = Identity { user: HeaderValue::from_static("ci"), ..Identity::nobody() };
    identity_headers::set(&mut headers, identity.clone(), None);
    for (name, value) in identity.into_headers() {
        assert!(headers.get_all(&name).iter().eq([&value]));
    }
    // Read as CGI reads names.
    let cgi = |name: &HeaderName| name.as_str().to_ascii_uppercase().replace('-', "_");
    let user = cgi(&identity_headers::USER);
    assert_eq!(headers.keys().filter(|name| cgi(name) == user).count(), 1);
});
