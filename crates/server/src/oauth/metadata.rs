//! How to log in here: authorization server metadata (RFC 8414 section 2) and what Flyte's clients ask for.
//!
//! Only what is served is advertised. Names are in snake case: Flyte 1 reads them into a struct.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use gatekey_core::token::SCOPE_ALL;
use schemars::JsonSchema;
use serde::Serialize;

use super::path;
use crate::{App, Config};

/// Where Flyte's clients would listen for an authorization code.
pub const PUBLIC_CLIENT_REDIRECT_URI: &str = "http://localhost:53593/callback";

/// Authorization server metadata (RFC 8414 section 2).
#[derive(Debug, Serialize, JsonSchema)]
pub struct AuthorizationServer {
    /// The public URL.
    pub issuer: String,
    /// Absolute URL.
    pub token_endpoint: String,
    /// Absolute URL.
    pub jwks_uri: String,
    /// Absolute URL.
    pub introspection_endpoint: String,
    /// Absolute URL.
    pub revocation_endpoint: String,
    /// Absolute URL.
    pub userinfo_endpoint: String,
    /// Empty as long as there is no authorization endpoint.
    pub response_types_supported: [&'static str; 0],
    /// The grants of the token endpoint.
    pub grant_types_supported: [&'static str; 1],
    /// The one scope.
    pub scopes_supported: [&'static str; 1],
    /// How a key authenticates.
    pub token_endpoint_auth_methods_supported: [&'static str; 2],
    /// How a key authenticates.
    pub introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// How a key authenticates.
    pub revocation_endpoint_auth_methods_supported: [&'static str; 2],
}

const AUTH_METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

impl AuthorizationServer {
    /// Of a configured server.
    pub fn new(config: &Config) -> Self {
        Self {
            issuer: config.issuer().to_owned(),
            token_endpoint: config.url(path::TOKEN),
            jwks_uri: config.url(path::JWKS),
            introspection_endpoint: config.url(path::INTROSPECT),
            revocation_endpoint: config.url(path::REVOKE),
            userinfo_endpoint: config.url(path::USERINFO),
            response_types_supported: [],
            grant_types_supported: ["client_credentials"],
            scopes_supported: [SCOPE_ALL],
            token_endpoint_auth_methods_supported: AUTH_METHODS,
            introspection_endpoint_auth_methods_supported: AUTH_METHODS,
            revocation_endpoint_auth_methods_supported: AUTH_METHODS,
        }
    }
}

/// What a client of Flyte needs to know to log in (`flyteidl2.auth.GetPublicClientConfigResponse`).
#[derive(Debug, Serialize, JsonSchema)]
pub struct PublicClientConfig {
    /// Empty as long as people cannot log in here.
    pub client_id: &'static str,
    /// Where a client would listen.
    pub redirect_uri: &'static str,
    /// What a client should ask for.
    pub scopes: [&'static str; 1],
    /// The header for the token; never empty, flyte 2 fails on it.
    pub authorization_metadata_key: String,
    /// The public URL.
    pub service_http_endpoint: String,
    /// Empty: the server's default audience is the right one.
    pub audience: &'static str,
}

impl PublicClientConfig {
    /// Of a configured server.
    pub fn new(config: &Config) -> Self {
        Self {
            client_id: "",
            redirect_uri: PUBLIC_CLIENT_REDIRECT_URI,
            scopes: [SCOPE_ALL],
            authorization_metadata_key: config.authorization_metadata_key.clone(),
            service_http_endpoint: config.issuer().to_owned(),
            audience: "",
        }
    }
}

/// `/.well-known/oauth-authorization-server`.
pub async fn authorization_server(State(app): State<App>) -> Response {
    cached(AuthorizationServer::new(&app.config))
}

/// `/.well-known/openid-configuration`: the same, with the two members that OpenID Connect wants to see.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OpenIdConfiguration {
    #[serde(flatten)]
    authorization_server: AuthorizationServer,
    /// A subject is called the same towards everybody.
    subject_types_supported: [&'static str; 1],
    /// How tokens are signed.
    id_token_signing_alg_values_supported: [&'static str; 1],
}

/// `/.well-known/openid-configuration`.
pub async fn openid_configuration(State(app): State<App>) -> Response {
    cached(OpenIdConfiguration {
        authorization_server: AuthorizationServer::new(&app.config),
        subject_types_supported: ["public"],
        id_token_signing_alg_values_supported: [app.config.signing_algorithm.as_str()],
    })
}

/// `/config/v1/flyte_client`.
pub async fn flyte_client(State(app): State<App>) -> Response {
    cached(PublicClientConfig::new(&app.config))
}

fn cached(body: impl Serialize) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(body)).into_response()
}
