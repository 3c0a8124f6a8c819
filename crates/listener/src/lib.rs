//! Accepts connections for an HTTP service: plain or TLS, HTTP/1.1 or HTTP/2, within limits.
//!
//! The accept loop is Gatekey's own, because neither axum's nor connectrpc's bounds headers,
//! streams and idle connections.
//!
//! # Layout
//! - [`serve()`]: the accept loop, and draining at the end.
//! - `connection_limit`: how many connections there may be.
//! - `connection`: from an accepted socket to its last response.
//! - `frame_deadline`: times out an unfinished HTTP/2 preface, frame or header block.
//! - [`tls`]: certificates, from files or from a private CA.

mod connection;
mod connection_limit;
mod frame_deadline;
mod serve;
pub mod tls;

pub use self::{
    connection::RequestService,
    serve::{Listener, serve},
};
