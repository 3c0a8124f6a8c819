//! Gatekey's server as a library: an axum application over the use cases of `gatekey-core`.
//!
//! # Layout
//! - [`server`]: composes the application. [`app`]: the state that every handler shares.
//! - [`router`]: everything that is served, as routes. [`endpoints`]: the table of endpoints beside
//!   RPC, and [`openapi`], which documents them; [`endpoint`] has their types.
//! - [`oauth`]: token, introspection, revocation, keys, user info and metadata.
//! - [`rpc`]: `cloudidl.identity.AppsService`, `gatekey.v1.ApiKeyService` and the discovery
//!   services.
//! - [`authenticate`]: from a credential to a principal.
//! - [`metadata`], [`user_info`], [`path`]: what OAuth and RPC endpoints share.
//! - [`admin`]: probes and metrics on a listener of their own.
//! - [`control`]: local administration while the server runs.
//! - [`maintenance`]: periodic jobs.
//! - [`config`]: the settings, and how they are checked.

pub mod admin;
pub mod app;
pub mod authenticate;
pub mod config;
pub mod control;
pub mod endpoint;
pub mod endpoints;
pub mod maintenance;
pub mod metadata;
pub mod oauth;
pub mod openapi;
pub mod path;
pub mod router;
pub mod rpc;
pub mod server;
pub mod user_info;

pub use app::App;
pub use config::Config;
