//! Connect: one message in JSON or protobuf, by POST and by GET, and streams of envelopes. As the bytes are, and once
//! more in an envelope and compressed, so that what stands behind these is reached as well.

#![no_main]

use gatekey_fuzz::{call, request::Said};
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(said) = Said::parse(bytes) else { return };
    let kind = said.header("content-type");
    if kind.starts_with("application/grpc") {
        return;
    }
    let length = Some(said.body.len());
    if kind.starts_with("application/connect+") {
        call(&said, None);
        call(&said.in_envelope(0), length);
        call(&said.compressed("connect-content-encoding").in_envelope(1), length);
    } else if said.method == Method::POST {
        call(&said, if said.headers.contains_key("content-encoding") { None } else { length });
        call(&said.compressed("content-encoding"), length);
    } else {
        call(&said, None);
    }
});
