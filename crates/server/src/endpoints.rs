//! The table of plain HTTP endpoints. The router, the OpenAPI document and the metrics' labels
//! derive from it.

use axum::routing::{any, get, post};

use crate::{
    endpoint::{Credential, Endpoint, Methods},
    forward_auth, metadata,
    oauth::{introspect, jwks, metadata as oauth_metadata, revoke, token, userinfo},
    openapi, path,
    state::ServerState,
};

/// The schema of a response.
macro_rules! schema {
    ($type:ty) => {
        Some(|generator| generator.subschema_for::<$type>())
    };
}

/// Every endpoint.
pub const ENDPOINTS: &[Endpoint<ServerState>] = &[
    Endpoint {
        path: path::TOKEN,
        methods: Methods::Post,
        route: || post(token::handle),
        credential: Credential::Secret,
        summary: "Exchanges a key's secret for an access token (RFC 6749 section 4.4)",
        parameters: token::PARAMETERS,
        response: schema!(token::TokenResponse<'static>),
    },
    Endpoint {
        path: path::INTROSPECT,
        methods: Methods::Post,
        route: || post(introspect::handle),
        credential: Credential::SecretOrToken,
        summary: "Reports whether a token is valid, and its claims (RFC 7662)",
        parameters: introspect::PARAMETERS,
        response: schema!(introspect::Introspection<'static>),
    },
    Endpoint {
        path: path::REVOKE,
        methods: Methods::Post,
        route: || post(revoke::handle),
        credential: Credential::Secret,
        summary: "Revokes one of a key's own tokens (RFC 7009)",
        parameters: revoke::PARAMETERS,
        response: None,
    },
    Endpoint {
        path: path::JWKS,
        methods: Methods::Get,
        route: || get(jwks::handle),
        credential: Credential::None,
        summary: "The published signing keys (RFC 7517 section 5)",
        parameters: &[],
        response: schema!(jwks::JwkSet),
    },
    Endpoint {
        path: path::USERINFO,
        methods: Methods::GetAndPost,
        route: || get(userinfo::handle).post(userinfo::handle),
        credential: Credential::Token,
        summary: "The caller's identity (OpenID Connect Core section 5.3)",
        parameters: &[],
        response: schema!(userinfo::Claims),
    },
    Endpoint {
        path: path::ME,
        methods: Methods::Get,
        route: || get(userinfo::me),
        credential: Credential::Token,
        summary: "The caller's identity, in the format of Flyte 1",
        parameters: &[],
        response: schema!(userinfo::Me),
    },
    Endpoint {
        path: path::AUTHORIZATION_SERVER,
        methods: Methods::Get,
        route: || get(oauth_metadata::authorization_server),
        credential: Credential::None,
        summary: "How clients log in (RFC 8414)",
        parameters: &[],
        response: schema!(metadata::AuthorizationServer),
    },
    Endpoint {
        path: path::OPENID_CONFIGURATION,
        methods: Methods::Get,
        route: || get(oauth_metadata::openid_configuration),
        credential: Credential::None,
        summary: "The same for OpenID Connect clients (Discovery section 4)",
        parameters: &[],
        response: schema!(metadata::OpenIdConfiguration),
    },
    Endpoint {
        path: path::FLYTE_CLIENT,
        methods: Methods::Get,
        route: || get(oauth_metadata::flyte_client),
        credential: Credential::None,
        summary: "Login settings for flytectl and the Terraform provider",
        parameters: &[],
        response: schema!(metadata::PublicClientConfig),
    },
    Endpoint {
        path: path::GATE_NGINX,
        methods: Methods::Any,
        route: || any(forward_auth::nginx),
        credential: Credential::OfClient,
        summary: "Whether a request may pass, by nginx's X-Original-Method and X-Original-URI",
        parameters: &[],
        response: None,
    },
    Endpoint {
        path: path::GATE_FORWARD,
        methods: Methods::Any,
        route: || any(forward_auth::forward),
        credential: Credential::OfClient,
        summary: "Whether a request may pass, by X-Forwarded-Method, -Proto, -Host and -Uri",
        parameters: &[],
        response: None,
    },
    Endpoint {
        path: path::GATE_ENVOY_ROOT,
        methods: Methods::Any,
        route: || any(forward_auth::envoy),
        credential: Credential::OfClient,
        summary: "Whether a request for the root may pass, as Envoy asks",
        parameters: &[],
        response: None,
    },
    Endpoint {
        path: path::GATE_ENVOY,
        methods: Methods::Any,
        route: || any(forward_auth::envoy),
        credential: Credential::OfClient,
        summary: "Whether a request may pass, by its own method and path, as Envoy asks",
        parameters: &[],
        response: None,
    },
    Endpoint {
        path: path::OPENAPI,
        methods: Methods::Get,
        route: || get(openapi::handle),
        credential: Credential::None,
        summary: "This document",
        parameters: &[],
        response: schema!(serde_json::Map<String, serde_json::Value>),
    },
];
