//! Verifies tokens of other issuers, so that people keep their identity provider.
//!
//! Only configured issuers count: the address of an issuer's keys never comes from a token, and
//! `jku`, `x5u`, `jwk` and `x5c` in a token's header are ignored.
//!
//! # Layout
//! - [`settings`]: what is configured about an issuer.
//! - [`issuers`]: all issuers; the entry point. Finds the issuer that a token names.
//! - [`token`]: the parts of a token, before its signature is verified.
//! - `claims`: the rules for claims, and [`Subject`], which they describe.
//! - [`jwks`]: the keys in an issuer's document. `keys`: when it is fetched again.
//! - `fetch`: fetches documents within limits.

mod claims;
mod fetch;
pub mod issuers;
pub mod jwks;
mod keys;
pub mod refused;
pub mod settings;
pub mod token;

pub use self::{
    claims::{Subject, VerifiedSubject},
    issuers::Issuers,
    refused::Refused,
    settings::{IssuerSettings, RoleRule},
};
