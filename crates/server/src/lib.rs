//! Gatekey's server as a library: an axum application over the use cases of `gatekey-core`.
//!
//! # Layout
//! - [`app`]: the state that every handler shares, and the router.
//! - [`config`]: what an administrator can set, and how it is checked.
//! - [`call`]: who calls and under which name; the request log.
//! - [`authenticate`]: credential to principal.
//! - [`rpc`]: `cloudidl.identity.AppsService`, `gatekey.v1.ApiKeyService` and the discovery services, with the
//!   table of who may call what.
//! - [`endpoints`]: the one table of what is served beside RPC, and [`openapi`], which documents it.
//! - [`oauth`]: token, introspection, revocation, keys, user info and metadata.
//! - [`tls`]: certificates, of a file or of a private CA.
//! - [`serve`]: accepts connections and drains them.
//! - [`backup`]: a copy of the store, sealed.
//! - [`control`]: local administration while the server runs.
//! - [`admin`], [`metrics`]: probes, and what is counted.
//! - [`traces`]: a span for each request, sent to a collector.
//! - [`maintenance`]: what happens by the clock.

pub mod admin;
pub mod app;
pub mod authenticate;
pub mod backup;
pub mod call;
pub mod config;
pub mod control;
pub mod endpoints;
mod frame_deadline;
pub mod maintenance;
pub mod metrics;
pub mod oauth;
pub mod openapi;
pub mod rpc;
pub mod serve;
pub mod tls;
pub mod traces;

pub use app::App;
pub use config::Config;
