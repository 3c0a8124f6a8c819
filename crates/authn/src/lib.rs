//! Authenticates requests: determines the caller from the credential.
//!
//! # Layout
//! - [`authenticator`]: the two entry points, for access tokens and for a key's secret. Both add
//!   the caller to the request's record.
//! - [`principal`]: the caller of a request, or why it is unknown.
//! - [`presented`]: a key that calls an API behind the gate, and how it proved itself.
//! - `gate_credential`: the only credential of such a call. `encoded`: a key as one string, and
//!   `accepted`: whether it is for this server.
//! - One file per method: [`bearer`] (RFC 6750), [`basic`] and [`post`] (RFC 6749 section 2.3.1).
//! - [`rate_limit`]: the headers that tell a caller its rate.
//! - [`client_secret`]: a client id and its secret, sent by exactly one method.
//! - [`credentials`]: the types that the methods share.

mod accepted;
pub mod authenticator;
pub mod basic;
pub mod bearer;
pub mod client_secret;
pub mod credentials;
mod encoded;
mod gate_credential;
pub mod post;
pub mod presented;
pub mod principal;
pub mod rate_limit;

pub use self::{
    authenticator::{Authenticator, middleware},
    credentials::FormCredentials,
    presented::{Credential, Presented, Proof},
    principal::{NoKey, Principal, Refusal},
};
