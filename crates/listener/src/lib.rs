//! Accepts connections for an HTTP service: plain or TLS, HTTP/1.1 or HTTP/2, within limits.
//!
//! The accept loop is Gatekey's own, because neither axum's nor connectrpc's bounds headers,
//! streams and idle connections.
//!
//! # Layout
//! - [`serve()`]: the accept loop, and draining at the end.
//! - [`Limits`]: how many connections there may be, and how long each may last.
//! - `connection_limit`: waits while there are too many connections.
//! - `addresses`: how many connections each client address has.
//! - `connection`: from an accepted socket to its last response.
//! - `activity`: what a connection waits for, as `observed` (its stream) and `request` (its bodies)
//!   note it, and what is due therefore.
//! - `ambiguity`: requests that a proxy before the server may read differently.
//! - `frame_deadline`: times out an unfinished HTTP/2 preface, frame or header block.
//! - [`tls`]: certificates, from files or from a private CA.

mod activity;
mod addresses;
mod ambiguity;
mod connection;
mod connection_limit;
mod frame_deadline;
mod limits;
mod observed;
mod request;
mod serve;
pub mod tls;

pub use gatekey_core::network::Networks;

pub use self::{
    connection::RequestService,
    limits::Limits,
    request::Lasting,
    serve::{Listener, serve},
};
