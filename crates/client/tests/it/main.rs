//! Tests the client against a small server in the same process, on a real port.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod api_key_service;
mod apps_service;
mod blocking;
mod login;
mod retries;
mod server;
mod tls;
