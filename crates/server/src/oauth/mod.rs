//! The OAuth 2.0 server for machines.
//!
//! # Layout
//! One file an endpoint: [`token`] (RFC 6749 section 4.4), [`introspect`] (RFC 7662), [`revoke`] (RFC 7009),
//! [`jwks`] (RFC 7517), [`userinfo`], [`metadata`] (RFC 8414). Beside them [`form`] (what a request body may
//! be), [`client_authentication`] (RFC 6749 section 2.3) and [`error`] (the one renderer).

pub mod client_authentication;
pub mod error;
pub mod form;
pub mod introspect;
pub mod jwks;
pub mod metadata;
pub mod revoke;
pub mod token;
pub mod userinfo;

/// Paths below the public URL.
pub mod path {
    /// RFC 6749 section 3.2.
    pub const TOKEN: &str = "/oauth2/token";
    /// RFC 7662 section 2.
    pub const INTROSPECT: &str = "/oauth2/introspect";
    /// RFC 7009 section 2.
    pub const REVOKE: &str = "/oauth2/revoke";
    /// RFC 7517 section 5.
    pub const JWKS: &str = "/oauth2/jwks";
    /// OpenID Connect Core section 5.3.
    pub const USERINFO: &str = "/oauth2/userinfo";
    /// RFC 8414 section 3.
    pub const AUTHORIZATION_SERVER: &str = "/.well-known/oauth-authorization-server";
    /// OpenID Connect Discovery section 4.
    pub const OPENID_CONFIGURATION: &str = "/.well-known/openid-configuration";
    /// What flytectl and the Terraform provider read.
    pub const FLYTE_CLIENT: &str = "/config/v1/flyte_client";
    /// Who is calling, as Flyte 1 serves it.
    pub const ME: &str = "/me";
}
