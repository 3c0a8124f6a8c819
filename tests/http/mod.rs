//! HTTP itself, and the listener below it: TLS, connections, frames and malformed requests.

mod admin_listener;
mod connections;
mod framing;
mod malformed_requests;
mod openapi;
mod tls;
