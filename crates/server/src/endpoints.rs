//! The one table of what is served beside RPC: the router is made of it, and so is the OpenAPI document.

use axum::{
    Router, middleware,
    routing::{MethodRouter, get, post},
};
use schemars::{Schema, SchemaGenerator};

use crate::{
    App, authenticate,
    oauth::{error, introspect, jwks, metadata, path, revoke, token, userinfo},
    openapi,
};

/// What is served at one path.
pub struct Endpoint {
    /// Below the public URL.
    pub path: &'static str,
    /// By which methods.
    pub methods: Methods,
    /// The handler for these methods.
    pub route: fn() -> MethodRouter<App>,
    /// How its caller proves itself.
    pub credential: Credential,
    /// What it is for, in one line.
    pub summary: &'static str,
    /// What its form may say; empty for an endpoint without one.
    pub parameters: &'static [Parameter],
    /// What it answers; `None` for an empty body.
    pub answer: Option<fn(&mut SchemaGenerator) -> Schema>,
}

/// The methods of an endpoint. Who takes GET takes HEAD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Methods {
    /// GET alone.
    Get,
    /// POST alone.
    Post,
    /// Both.
    GetAndPost,
}

/// What a caller proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// Nothing: it is open to everybody.
    Nothing,
    /// A key's secret, by HTTP Basic or in the form (RFC 6749 section 2.3.1).
    Secret,
    /// An access token (RFC 6750 section 2.1).
    Token,
    /// Either.
    SecretOrToken,
}

/// A parameter of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// What it says.
    pub summary: &'static str,
}

impl Parameter {
    /// One that must be there.
    pub const fn required(name: &'static str, summary: &'static str) -> Self {
        Self { name, required: true, summary }
    }

    /// One that may be there.
    pub const fn optional(name: &'static str, summary: &'static str) -> Self {
        Self { name, required: false, summary }
    }
}

/// The schema of what an endpoint answers.
macro_rules! answer {
    ($type:ty) => {
        Some(|generator| generator.subschema_for::<$type>())
    };
}

/// Every endpoint.
pub const ENDPOINTS: &[Endpoint] = &[
    Endpoint {
        path: path::TOKEN,
        methods: Methods::Post,
        route: || post(token::handle),
        credential: Credential::Secret,
        summary: "Exchanges a key's secret for an access token (RFC 6749 section 4.4)",
        parameters: token::PARAMETERS,
        answer: answer!(token::TokenResponse<'static>),
    },
    Endpoint {
        path: path::INTROSPECT,
        methods: Methods::Post,
        route: || post(introspect::handle),
        credential: Credential::SecretOrToken,
        summary: "Tells whether a token is in force and what it says (RFC 7662)",
        parameters: introspect::PARAMETERS,
        answer: answer!(introspect::Introspection<'static>),
    },
    Endpoint {
        path: path::REVOKE,
        methods: Methods::Post,
        route: || post(revoke::handle),
        credential: Credential::Secret,
        summary: "Revokes one of a key's own tokens (RFC 7009)",
        parameters: revoke::PARAMETERS,
        answer: None,
    },
    Endpoint {
        path: path::JWKS,
        methods: Methods::Get,
        route: || get(jwks::handle),
        credential: Credential::Nothing,
        summary: "The published signing keys (RFC 7517 section 5)",
        parameters: &[],
        answer: answer!(jwks::JwkSet),
    },
    Endpoint {
        path: path::USERINFO,
        methods: Methods::GetAndPost,
        route: || get(userinfo::handle).post(userinfo::handle),
        credential: Credential::Token,
        summary: "Who is calling (OpenID Connect Core section 5.3)",
        parameters: &[],
        answer: answer!(userinfo::Claims),
    },
    Endpoint {
        path: path::ME,
        methods: Methods::Get,
        route: || get(userinfo::me),
        credential: Credential::Token,
        summary: "Who is calling, as Flyte 1 serves it",
        parameters: &[],
        answer: answer!(userinfo::Me),
    },
    Endpoint {
        path: path::AUTHORIZATION_SERVER,
        methods: Methods::Get,
        route: || get(metadata::authorization_server),
        credential: Credential::Nothing,
        summary: "How to log in here (RFC 8414)",
        parameters: &[],
        answer: answer!(metadata::AuthorizationServer),
    },
    Endpoint {
        path: path::OPENID_CONFIGURATION,
        methods: Methods::Get,
        route: || get(metadata::openid_configuration),
        credential: Credential::Nothing,
        summary: "The same for who speaks OpenID Connect (Discovery section 4)",
        parameters: &[],
        answer: answer!(metadata::OpenIdConfiguration),
    },
    Endpoint {
        path: path::FLYTE_CLIENT,
        methods: Methods::Get,
        route: || get(metadata::flyte_client),
        credential: Credential::Nothing,
        summary: "What flytectl and the Terraform provider read",
        parameters: &[],
        answer: answer!(metadata::PublicClientConfig),
    },
    Endpoint {
        path: openapi::PATH,
        methods: Methods::Get,
        route: || get(openapi::handle),
        credential: Credential::Nothing,
        summary: "This document",
        parameters: &[],
        answer: answer!(serde_json::Map<String, serde_json::Value>),
    },
];

/// The endpoints as routes. Those that take nothing but an access token have the middleware that reads one.
pub fn routes(app: &App) -> Router<App> {
    let (with_token, without): (Vec<_>, Vec<_>) =
        ENDPOINTS.iter().partition(|endpoint| endpoint.credential == Credential::Token);
    let add = |routes: Router<App>, endpoint: &Endpoint| {
        let handler = (endpoint.route)();
        let handler = match endpoint.methods {
            Methods::Get => handler.fallback(error::only_get),
            Methods::Post => handler.fallback(error::only_post),
            Methods::GetAndPost => handler.fallback(error::only_get_and_post),
        };
        routes.route(endpoint.path, handler)
    };
    let with_token = with_token.into_iter().fold(Router::new(), add);
    let with_token = with_token.layer(middleware::from_fn_with_state(app.clone(), authenticate::middleware));
    without.into_iter().fold(with_token, add)
}
