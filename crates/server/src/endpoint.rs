//! [`Endpoint`]: an HTTP path with its handler and its description for OpenAPI.

use axum::routing::MethodRouter;
use schemars::{Schema, SchemaGenerator};

/// An endpoint whose handlers share the state `S`.
pub struct Endpoint<S> {
    /// Path below the public URL.
    pub path: &'static str,
    pub methods: Methods,
    /// Creates the route for these methods.
    pub route: fn() -> MethodRouter<S>,
    pub credential: Credential,
    /// One-line summary for the OpenAPI document.
    pub summary: &'static str,
    /// The parameters of its form; empty for an endpoint without one.
    pub parameters: &'static [Parameter],
    /// The schema of the response; `None` for an empty body.
    pub response: Option<fn(&mut SchemaGenerator) -> Schema>,
}

impl<S> Endpoint<S> {
    /// Returns whether the endpoint serves the same document to everyone.
    pub fn is_public_document(&self) -> bool {
        self.credential == Credential::None && self.methods == Methods::Get
    }
}

/// The methods of an endpoint. GET includes HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    Get,
    Post,
    GetAndPost,
    /// Every method, for a proxy that keeps its client's.
    Any,
}

/// How the caller of an endpoint authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// No authentication: the endpoint is public.
    None,
    /// A key's secret, by HTTP Basic or in the form (RFC 6749 section 2.3.1).
    Secret,
    /// An access token (RFC 6750 section 2.1).
    Token,
    /// Either a secret or an access token.
    SecretOrToken,
    /// The credential of a proxy's client.
    OfClient,
}

/// A parameter of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    pub name: &'static str,
    pub required: bool,
    pub summary: &'static str,
}

impl Parameter {
    pub const fn required(name: &'static str, summary: &'static str) -> Self {
        Self { name, required: true, summary }
    }

    pub const fn optional(name: &'static str, summary: &'static str) -> Self {
        Self { name, required: false, summary }
    }
}
