//! Through the front door: the real binary on a real port, over real TLS.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests say what they expect")]

mod abuse;
mod bad_input;
mod command_line;
mod crash;
mod ledger;
mod oauth;
mod openapi;
mod raw;
mod rpc;
mod smoke;
mod support;
mod tls;
mod verifier;
mod world;
