//! The OAuth 2.0 endpoints.
//!
//! # Layout
//! One file per endpoint: [`token`] (RFC 6749 section 3.2) with its [`grants`], [`introspect`] (RFC
//! 7662), [`revoke`] (RFC 7009), [`jwks`] (RFC 7517), [`userinfo`], [`metadata`] (RFC 8414). They
//! share [`state`], [`form`] (request bodies) and [`error`] (the only place that renders an error).

pub mod error;
pub mod form;
pub mod grants;
pub mod introspect;
pub mod jwks;
pub mod metadata;
pub mod revoke;
pub mod state;
pub mod token;
pub mod userinfo;

pub use state::OAuth;
