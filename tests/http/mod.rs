//! HTTP itself, and the listener below it: TLS, connections, limits and malformed requests.

mod admin_listener;
mod certificates;
mod connections;
mod http1;
mod http2;
mod malformed_requests;
mod openapi;
mod tls;
