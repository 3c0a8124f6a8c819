//! Plain HTTP: any method, path, query, headers and body. A request that maps to an RPC passes the
//! access table however its path is spelled, and acts on the key in the path. HEAD agrees with GET.

#![no_main]

use gatekey_fuzz::{
    answer::{Outcome, assert_allowed},
    request::{Caller, LARGE_LIMIT, TextRequest},
    server::{assert_no_forbidden_change, with_server},
};
use gatekey_server::{
    endpoint::Credential,
    endpoints::ENDPOINTS,
    rpc::bindings::{Binding, Bindings},
};
use http::Method;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// The RPC that a request maps to, and the key in its path.
fn binding_of(request: &TextRequest) -> Option<(&'static Binding, Option<String>)> {
    let segments: Vec<_> = request.target.path().split('/').collect();
    let method = if request.method == Method::HEAD { &Method::GET } else { &request.method };
    let binding = Bindings::get().iter().find(|binding| {
        let parts: Vec<_> = binding.path.split('/').collect();
        let mut both = parts.iter().zip(&segments);
        binding.method == *method
            && parts.len() == segments.len()
            && both.all(|(part, segment)| part.starts_with('{') || part == segment)
    })?;
    let key = binding.path_fields().next().map(|(at, _)| segments[at]);
    let key = key.map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned());
    Some((binding, key))
}

/// Asserts that a successful call did what its path says.
fn assert_matches_path(
    request: &TextRequest,
    binding: &Binding,
    key: Option<String>,
    answer: &[u8],
) {
    assert_allowed(request.caller, binding.procedure.path());
    let limit = if binding.has_body() { LARGE_LIMIT } else { 0 };
    assert!(request.body.len() <= limit, "{} bytes were accepted", request.body.len());
    if request.method == Method::HEAD {
        assert!(answer.is_empty());
        return;
    }
    let answer: Value = serde_json::from_slice(answer).expect("an answer in JSON");
    if let Some(key) = key {
        assert!(!key.contains('/') && (request.caller == Caller::Admin || key == "viewer"));
        // Delete has an empty answer.
        assert!(
            answer == json!({})
                || [&answer["app"], &answer["apiKey"]].iter().any(|shown| shown["clientId"] == key),
            "{key}: {answer}"
        );
    }
}

/// Asserts that an endpoint other than RPC admitted only callers that may use it.
fn assert_caller_may_use(request: &TextRequest) {
    let path = request.target.path();
    match ENDPOINTS
        .iter()
        .find(|endpoint| endpoint.path == path)
        .map(|endpoint| endpoint.credential)
    {
        Some(Credential::None) => {}
        Some(Credential::OfClient) => panic!("{path} answered a proxy that nobody trusts"),
        Some(Credential::Secret) => panic!("{path} accepted a secret that was never issued"),
        Some(Credential::Token | Credential::SecretOrToken) => {
            let caller = request.caller;
            assert!(matches!(caller, Caller::Viewer | Caller::Admin), "{path} admitted {caller:?}");
        }
        None => assert_allowed(request.caller, path),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = TextRequest::parse(bytes) else { return };
    with_server(|server| {
        let before = server.state();
        let answer = server.send(&request);
        assert_no_forbidden_change(request.caller, &before, &server.state());
        let binding = binding_of(&request);
        let is_bound = binding.is_some();
        match (answer.outcome(&request), binding) {
            (Outcome::Done(messages), Some((binding, key))) => {
                assert_matches_path(&request, binding, key, &messages[0]);
            }
            (Outcome::Done(_), None) => assert_caller_may_use(&request),
            (Outcome::Refused(_), _) => {}
        }
        if is_bound && request.method == Method::GET {
            let head = server.send(&TextRequest { method: Method::HEAD, ..request.clone() });
            assert_eq!(head.status, answer.status, "HEAD and GET");
        }
    });
});
