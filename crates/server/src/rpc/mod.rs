//! The RPC services: over Connect, gRPC and gRPC-Web on the same paths, and as plain HTTP with JSON
//! where the protos have a `google.api.http`.
//!
//! # Layout
//! - [`router`]: the services as routes. [`state`]: what they share.
//! - [`access`], [`authorize`]: the table of who may call what, and the layer that applies it
//!   before a body is read.
//! - [`apps_service`]: `cloudidl.identity.AppsService`, the API of public clients.
//! - [`authorizer_service`]: `cloudidl.authorizer.AuthorizerService`, the roles of keys.
//! - [`api_key_service`]: `gatekey.v1.ApiKeyService`, for what that API lacks.
//! - [`auth_metadata`], [`identity`]: how clients log in, and the caller's identity.
//! - [`bindings`], [`transcode`], [`plain_json`]: which methods are also plain HTTP, how such a
//!   request becomes a call, and how its JSON is read.
//! - [`convert`]: between generated messages and the domain, one file per message family.
//! - [`error`]: the only place that renders an error.
//! - `limits`: sizes and deadlines.
//! - `organization`: the check of the organization that a request names.
//! - `reflection`: descriptors for clients that ask, a bounded number of times.
//! - `watches`: how many `Health/Watch` calls one client may have open.

pub mod access;
pub mod api_key_service;
pub mod apps_service;
pub mod auth_metadata;
pub mod authorize;
pub mod authorizer_service;
pub mod bindings;
pub mod convert;
mod distinct;
pub mod error;
pub mod identity;
mod limits;
mod organization;
pub mod plain_json;
mod reflection;
pub mod router;
pub mod state;
pub mod transcode;
mod watches;

pub use state::Rpc;
