//! Plain HTTP: any method, path, query, headers and body. What is meant as a call passes the table of who may call what,
//! whatever the path is written like, and is about the key in the path; HEAD says what GET says.

#![no_main]

use gatekey_fuzz::{
    answer::{Outcome, was_allowed},
    request::{Caller, LARGE_LIMIT, Said},
    server::{nothing_is_changed_by_whom_it_must_not, with_server},
};
use gatekey_server::{
    endpoints::{Credential, ENDPOINTS},
    rpc::bindings::{Binding, Bindings},
};
use http::Method;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// The method that a request means, and the key that its path names.
fn meant(said: &Said) -> Option<(&'static Binding, Option<String>)> {
    let segments: Vec<_> = said.target.path().split('/').collect();
    let method = if said.method == Method::HEAD { &Method::GET } else { &said.method };
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

/// Asserts that a call which was carried out is what its path says.
fn is_what_its_path_says(said: &Said, binding: &Binding, key: Option<String>, answer: &[u8]) {
    was_allowed(said.caller, binding.procedure.path());
    let limit = if binding.has_body { LARGE_LIMIT } else { 0 };
    assert!(said.body.len() <= limit, "{} bytes were taken", said.body.len());
    if said.method == Method::HEAD {
        assert!(answer.is_empty());
        return;
    }
    let answer: Value = serde_json::from_slice(answer).expect("an answer in JSON");
    if let Some(key) = key {
        assert!(!key.contains('/') && (said.caller == Caller::Admin || key == "viewer"));
        // Delete answers nothing.
        assert!(answer == json!({}) || answer["app"]["clientId"] == key, "{key}: {answer}");
    }
}

/// Asserts that an endpoint which is no call let nobody in that it must not.
fn lets_nobody_in(said: &Said) {
    let path = said.target.path();
    match ENDPOINTS.iter().find(|endpoint| endpoint.path == path).map(|endpoint| endpoint.credential) {
        Some(Credential::None) => {}
        Some(Credential::Secret) => panic!("{path} took a secret that nobody has"),
        Some(Credential::Token | Credential::SecretOrToken) => {
            let caller = said.caller;
            assert!(matches!(caller, Caller::Viewer | Caller::Admin), "{path} let {caller:?} in");
        }
        None => was_allowed(said.caller, path),
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some(said) = Said::parse(bytes) else { return };
    with_server(|server| {
        let before = server.state();
        let answer = server.ask(&said);
        nothing_is_changed_by_whom_it_must_not(said.caller, &before, &server.state());
        let meant = meant(&said);
        let is_bound = meant.is_some();
        match (answer.outcome(&said), meant) {
            (Outcome::Done(messages), Some((binding, key))) => {
                is_what_its_path_says(&said, binding, key, &messages[0]);
            }
            (Outcome::Done(_), None) => lets_nobody_in(&said),
            (Outcome::Refused(_), _) => {}
        }
        if is_bound && said.method == Method::GET {
            let head = server.ask(&Said { method: Method::HEAD, ..said.clone() });
            assert_eq!(head.status, answer.status, "HEAD and GET");
        }
    });
});
