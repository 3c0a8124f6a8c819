//! Through the front door: the real binary on a real port, over real TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests say what they expect, and with what they tried"
)]

mod abuse;
mod admin_listener;
mod bad_input;
mod clock;
mod collector;
mod command_line;
mod crash;
mod crowds;
mod faults;
mod http;
mod ledger;
mod oauth;
mod openapi;
mod random;
mod raw;
mod root_key;
mod rpc;
mod security_page;
mod smoke;
mod support;
mod tls;
mod traces;
mod verifier;
mod world;
