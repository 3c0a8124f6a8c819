//! End-to-end tests: the real binary on a real port, over real TLS.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests say what they expect, and with what they tried"
)]

mod command_line;
mod faults;
mod http;
mod ledger;
mod oauth;
mod repository;
mod rpc;
mod smoke;
mod support;
mod telemetry;
mod verifier;
