//! The client against a small server in the same process, on a real port.

mod blocking;
mod gatekey;
mod keys;
mod login;
mod retries;
mod server;
mod tls;
