//! What the gate makes of a caller, with a clock that tests move.

#![expect(clippy::unwrap_used, reason = "tests say what they expect, and with what they tried")]

mod encoded_credentials;
mod server;
mod upstream_tokens;
