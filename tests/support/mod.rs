//! Shared by the tests: the binary, servers, clients and a controlled environment.
//!
//! The Python suites have their own package here.
//!
//! # Layout
//! - [`binary`]: the binary under test, and commands that run it.
//! - [`process`]: a running server. [`server`]: the same with an admin key and an HTTP client.
//! - [`credentials`]: a client id and its secret. [`http`]: an HTTP client. [`connection`]: bytes
//!   over TLS.
//! - [`terminal`]: runs a command on a pseudo-terminal. [`user`]: commands of other users.
//! - [`upstream`]: a backend behind the gate. [`on_postgres`]: databases for servers.
//! - [`collector`]: receives traces. [`proxy`]: an HTTP proxy. [`random`]: random numbers from a
//!   seed that can be set.

mod binary;
pub(crate) mod collector;
pub(crate) mod connection;
mod credentials;
mod http;
pub(crate) mod on_postgres;
mod postgres;
mod process;
mod proxy;
pub(crate) mod random;
mod server;
mod terminal;
pub(crate) mod upstream;
pub(crate) mod user;

use std::io::Write as _;

pub(crate) use self::{
    binary::{binary, gatekey, hermetic, run},
    credentials::{Credentials, basic},
    http::{Http, Response, trusting},
    process::ServerProcess,
    proxy::Proxy,
    server::{PUBLIC_URL, Server, copied_store, decoded, eventually, in_future, now, root_key},
    terminal::on_terminal,
};

/// Whether tests should repeat more: `./test --long`.
pub(crate) fn is_long_run() -> bool {
    environment("GATEKEY_TEST_LONG").is_some()
}

/// A variable of this process's environment.
pub(crate) fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "./test configures the tests through it")]
    std::env::var(name).ok()
}

/// Reports what could not be proven on this machine: `./test` prints it at the end, and fails.
pub(crate) fn not_proven(what: &str) {
    println!("NOT PROVEN: {what}");
    if let Some(file) = environment("GATEKEY_TEST_NOT_PROVEN") {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{what}").unwrap();
    }
}
