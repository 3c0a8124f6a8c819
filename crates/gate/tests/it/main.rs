//! What the gate makes of a caller, with a clock that tests move.

#![expect(clippy::unwrap_used, reason = "tests say what they expect, and with what they tried")]

mod encoded_credentials;
#[path = "../../../issuers/tests/it/provider.rs"]
#[expect(dead_code, reason = "other tests of this file need the rest")]
mod provider;
mod server;
mod subjects;
mod upstream_tokens;
