//! What the targets that send requests have in common.
//!
//! # Layout
//! - [`request`]: requests, written as text.
//! - [`server`]: Gatekey's own service in memory, and what must not change by a request.
//! - [`answer`]: what every answer must be, whatever was asked.

use gatekey_server::rpc::access;

use crate::{
    answer::{Outcome, was_allowed},
    request::{LARGE_LIMIT, SMALL_LIMIT, Said},
    server::{nothing_is_changed_by_whom_it_must_not, with_server},
};

pub mod answer;
pub mod request;
pub mod server;

/// Makes a call, and asserts all that holds for any. `message` is how many bytes its one message has, unpacked; `None`
/// where the body may be read as anything.
pub fn call(said: &Said, message: Option<usize>) {
    let procedure = said.target.path();
    let outcome = with_server(|server| {
        let before = server.state();
        let answer = server.ask(said);
        nothing_is_changed_by_whom_it_must_not(said.caller, &before, &server.state());
        answer.outcome(said)
    });
    if access::procedures().any(|known| known == procedure) && matches!(outcome, Outcome::Done(_)) {
        was_allowed(said.caller, procedure);
        let small = access::with_small_requests().any(|small| small == procedure);
        let limit = if small { SMALL_LIMIT } else { LARGE_LIMIT };
        assert!(message.is_none_or(|bytes| bytes <= limit), "{message:?} bytes were taken");
    }
}
