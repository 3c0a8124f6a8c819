//! gRPC and gRPC-Web: the same envelopes, and statuses behind them. As the bytes are, and once more in an envelope and
//! compressed, so that what stands behind these is reached as well.

#![no_main]

use gatekey_fuzz::{call, request::Said};
use http::{HeaderValue, header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(said) = Said::parse(bytes) else { return };
    // The same over the other protocol: a seed of one is a seed of both.
    let kind = said.header("content-type");
    let Some(rest) = kind.strip_prefix("application/grpc") else { return };
    let other = match rest.strip_prefix("-web") {
        Some(codec) => format!("application/grpc{codec}"),
        None => format!("application/grpc-web{rest}"),
    };
    let mut over_other = said.clone();
    let other = HeaderValue::from_str(&other).expect("of a header that is text");
    over_other.headers.insert(header::CONTENT_TYPE, other);
    for said in [said, over_other] {
        let length = Some(said.body.len());
        call(&said, None);
        call(&said.in_envelope(0), length);
        call(&said.compressed("grpc-encoding").in_envelope(1), length);
    }
});
