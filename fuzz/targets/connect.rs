//! Connect: unary calls in JSON and protobuf, by POST and GET, and streams of envelopes. The bytes
//! are sent as they are, and again in an envelope and compressed, to reach the code behind these
//! layers.

#![no_main]

use gatekey_fuzz::{call, request::TextRequest};
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = TextRequest::parse(bytes) else { return };
    let kind = request.header("content-type");
    if kind.starts_with("application/grpc") {
        return;
    }
    let length = Some(request.body.len());
    if kind.starts_with("application/connect+") {
        call(&request, None);
        call(&request.in_envelope(0), length);
        call(&request.compressed("connect-content-encoding").in_envelope(1), length);
    } else if request.method == Method::POST {
        call(
            &request,
            if request.headers.contains_key("content-encoding") { None } else { length },
        );
        call(&request.compressed("content-encoding"), length);
    } else {
        call(&request, None);
    }
});
