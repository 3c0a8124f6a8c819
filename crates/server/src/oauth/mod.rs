//! The OAuth 2.0 endpoints.
//!
//! # Layout
//! One file an endpoint: [`token`] (RFC 6749 section 4.4), [`introspect`] (RFC 7662), [`revoke`]
//! (RFC 7009), [`jwks`] (RFC 7517), [`userinfo`], [`metadata`] (RFC 8414). They share [`form`]
//! (request bodies), [`client_authentication`] (RFC 6749 section 2.3) and [`error`] (the only place
//! that renders an error).

pub mod client_authentication;
pub mod error;
pub mod form;
pub mod introspect;
pub mod jwks;
pub mod metadata;
pub mod revoke;
pub mod token;
pub mod userinfo;
