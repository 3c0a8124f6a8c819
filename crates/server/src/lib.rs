//! Gatekey's server as a library: an axum application over the use cases of `gatekey-core`.
//!
//! # Layout
//! - [`server`]: builds a server from its parts. Each group of endpoints has its own state.
//! - `doors`: hands each request to the proxy, the gate or the router.
//! - [`router`]: all routes. [`endpoints`]: the table of plain HTTP endpoints, and [`openapi`],
//!   which documents them. [`endpoint`] defines their types, [`state`] their shared state.
//! - [`oauth`]: token, introspection, revocation, keys, user info and metadata.
//! - [`rpc`]: `cloudidl.identity.AppsService`, `gatekey.v1.ApiKeyService` and the discovery
//!   services.
//! - `gate`: composes the gate in front of a backend. [`forward_auth`]: the endpoints for proxies
//!   that ask it.
//! - [`metadata`], [`user_info`], [`path`], [`refusals`]: shared by OAuth and RPC.
//! - [`own_paths`]: the paths that no request to the gate reaches.
//! - [`admin`]: probes and metrics on a listener of their own.
//! - [`control`]: local administration while the server runs.
//! - [`jobs`]: periodic jobs.
//! - [`config`]: the settings and their validation.

pub mod admin;
pub mod config;
pub mod control;
mod doors;
pub mod endpoint;
pub mod endpoints;
pub mod forward_auth;
mod gate;
pub mod jobs;
pub mod metadata;
pub mod oauth;
pub mod openapi;
pub mod own_paths;
pub mod path;
pub mod refusals;
pub mod router;
pub mod rpc;
pub mod server;
pub mod state;
pub mod user_info;

pub use self::{config::Config, server::Server};
