//! The client against a small server in the same process, on a real port.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

mod api_key_service;
mod blocking;
mod keys;
mod login;
mod retries;
mod server;
mod tls;
