//! The gate in front of a Flyte backend: every request needs a valid API key with a sufficient
//! role.
//!
//! # Layout
//! - [`access`]: what a request needs, and what a caller may do.
//! - [`mod@cors`]: which pages may call the backend.
//! - [`forward_auth`]: answers proxies that ask whether a request may pass.
//! - [`mod@gate`]: checks requests. Every door asks it.
//! - [`identity_headers`]: the caller's identity for the upstream.
//! - [`limits`]: whether a request stays within a key's projects and domains.
//! - [`own_paths`]: the paths that Gatekey answers itself, under every spelling.
//! - [`path`]: the path of a request, after checks that no upstream can read it differently.
//! - [`protocol`], [`refusal`]: the protocol of a request, and a refusal in that protocol.
//! - [`mod@reason`]: the words for why a request is refused.
//! - [`rules`]: which path needs which access.
//! - [`mod@decide`]: the decision, a pure function. Every protocol asks it.
//! - [`token`]: the short-lived token for the upstream.
//! - [`gate`]: checks requests: path, credential, decision. [`decisions`]: counts them.
//! - [`proxy`]: passes requests on to the upstream.

pub mod access;
pub mod cors;
pub mod decide;
pub mod decisions;
pub mod forward_auth;
pub mod gate;
pub mod identity_headers;
pub mod limits;
pub mod own_paths;
pub mod path;
pub mod protocol;
pub mod proxy;
pub mod reason;
pub mod refusal;
pub mod rules;
pub mod token;

pub use self::{
    access::Access,
    cors::{Cors, Origin},
    decide::{Caller, Denial, decide},
    decisions::Decisions,
    forward_auth::ForwardAuth,
    gate::{Admitted, Gate},
    identity_headers::{Identity, IdentityHeaders},
    own_paths::OwnPaths,
    path::{InvalidPath, Path},
    protocol::Protocol,
    proxy::Proxy,
    reason::Reason,
    refusal::Refusal,
    rules::{Pattern, Procedure, Rule, Rules},
};
