//! Tokens of issuers whose documents a small server serves, with a clock that tests move.

#![expect(clippy::unwrap_used, reason = "tests say what they expect, and with what they tried")]

mod fetching;
mod provider;
mod tokens;
