//! Shared by the targets that send requests.
//!
//! # Layout
//! - [`request`]: requests as text.
//! - [`server`]: Gatekey's service in memory, and the state that a request must not change.
//! - [`answer`]: the rules for every answer.

use gatekey_server::rpc::access;

use crate::{
    answer::{Outcome, assert_allowed},
    request::{LARGE_LIMIT, SMALL_LIMIT, TextRequest},
    server::{assert_no_forbidden_change, with_server},
};

pub mod answer;
pub mod request;
pub mod server;

/// Makes a call and asserts the rules for every call. `message` is the decompressed length of its
/// one message in bytes; `None` if the body can be read as anything.
pub fn call(request: &TextRequest, message: Option<usize>) {
    let procedure = request.target.path();
    let outcome = with_server(|server| {
        let before = server.state();
        let answer = server.send(request);
        assert_no_forbidden_change(request.caller, &before, &server.state());
        answer.outcome(request)
    });
    if access::procedures().any(|known| known == procedure) && matches!(outcome, Outcome::Done(_)) {
        assert_allowed(request.caller, procedure);
        let small = access::without_role().any(|small| small == procedure);
        let limit = if small { SMALL_LIMIT } else { LARGE_LIMIT };
        assert!(message.is_none_or(|bytes| bytes <= limit), "{message:?} bytes were taken");
    }
}
