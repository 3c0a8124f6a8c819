//! Client authentication: any `authorization` header with any form, one per line. The header is
//! used as it is, and again as the text that Basic encodes.

#![no_main]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use gatekey_authn::client_secret;
use gatekey_server::oauth::form::Form;
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (header, form) = match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &b""[..]),
    };
    let Ok(form) = Form::parse(form) else { return };
    let encoded = [b"Basic ", BASE64_STANDARD.encode(header).as_bytes()].concat();
    for header in [header, &encoded] {
        let Ok(value) = HeaderValue::from_bytes(header) else { continue };
        let mut headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.clone())]);
        let one = client_secret::read(&headers, &form.credentials());
        if form.get("client_secret").is_some() {
            assert!(one.is_err(), "two authentications at once");
        }
        headers.append(header::AUTHORIZATION, value);
        assert!(client_secret::read(&headers, &form.credentials()).is_err(), "two headers at once");
    }
});
