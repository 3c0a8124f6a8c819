//! End-to-end tests: the real binary on a real port, over real TLS.
//!
//! # Layout
//! - [`oauth`], [`rpc`], [`http`], [`command_line`]: one folder for each interface of the server.
//! - [`gate`]: the gate in front of a backend.
//! - [`proxy`]: nginx in front of the server, as the guides have it.
//! - [`ledger`], [`telemetry`]: what the server records. [`faults`]: broken machines.
//! - [`verifier`]: the verifier of `gatekey-client`. [`smoke`]: the main use.
//! - [`repository`]: rules about the repository's own files.
//! - [`support`]: the binary, servers and clients that the tests share.
//!
//! The other folders are Python suites: the public clients, certificates, schemas and quickstart.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests say what they expect, and with what they tried"
)]

mod command_line;
mod faults;
mod gate;
mod http;
mod ledger;
mod oauth;
mod proxy;
mod repository;
mod rpc;
mod smoke;
mod support;
mod telemetry;
mod verifier;
