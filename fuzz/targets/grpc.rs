//! gRPC and gRPC-Web: envelopes and statuses. The bytes are sent as they are, and again in an
//! envelope and compressed, to reach the code behind these layers.

#![no_main]

use gatekey_fuzz::{call, request::TextRequest};
use http::{HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = TextRequest::parse(bytes) else { return };
    // Also over the other protocol, so that both share their seeds.
    let kind = request.header("content-type");
    let Some(rest) = kind.strip_prefix("application/grpc") else { return };
    let other = match rest.strip_prefix("-web") {
        Some(codec) => format!("application/grpc{codec}"),
        None => format!("application/grpc-web{rest}"),
    };
    let mut over_other = request.clone();
    let other = HeaderValue::from_str(&other).expect("of a header that is text");
    over_other.headers.insert(header::CONTENT_TYPE, other);
    for request in [request, over_other] {
        let length = Some(request.body.len());
        call(&request, None);
        call(&request.in_envelope(0), length);
        call(&request.compressed("grpc-encoding").in_envelope(1), length);
    }
});
