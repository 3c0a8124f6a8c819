//! A procedure of the table and a body: a limited key passes only if what the request names is
//! within its limits, and never with a body that is not the message of its encoding.

#![no_main]

use gatekey_core::api_key::Limits;
use gatekey_gate::{
    limits::{
        MAX_MESSAGE, Named,
        projects::{Body, Seen, check, named},
    },
    rules::Procedure,
};
use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;

const TYPES: [&str; 6] = [
    "application/proto",
    "application/json",
    "application/grpc",
    "application/grpc-web-text",
    "application/connect+json",
    "application/octet-stream",
];

fuzz_target!(|data: &[u8]| {
    let [place, kind, body @ ..] = data else { return };
    let all = Procedure::all();
    let path = &*all[usize::from(*place) % all.len()].path;
    let content_type = HeaderValue::from_static(TYPES[usize::from(*kind) % TYPES.len()]);
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    let method = if *kind < 128 { Method::POST } else { Method::GET };
    let query = std::str::from_utf8(body).ok();
    let seen = Seen {
        method: &method,
        path,
        query,
        headers: &headers,
        body: Body::Whole(body),
        most: MAX_MESSAGE,
    };
    let limits = Limits {
        projects: vec!["web".to_owned()],
        domains: vec!["dev".to_owned()],
        ..Limits::default()
    };
    match (named(&seen), check(&limits, &seen)) {
        (Ok(names), Ok(())) => {
            assert!(!names.is_empty());
            for Named { project, domain } in names {
                assert_eq!((&*project, domain.as_deref()), ("web", Some("dev")));
            }
        }
        // Metadata names nothing and passes.
        (Err(_), Ok(())) => {
            assert_eq!(check(&limits, &Seen { body: Body::Unseen, ..seen }), Ok(()));
        }
        (_, Err(_)) => {}
    }
});
