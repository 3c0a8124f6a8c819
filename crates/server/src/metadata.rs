//! How clients log in: authorization server metadata (RFC 8414 section 2) and the settings of
//! Flyte's clients.
//!
//! Advertises only what this server supports. Both OAuth and RPC endpoints return these documents.

use gatekey_core::api_key::Scope;
use gatekey_credentials::jwt::Algorithm;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{Config, path};

/// Where Flyte's clients listen for an authorization code.
pub const PUBLIC_CLIENT_REDIRECT_URI: &str = "http://localhost:53593/callback";

/// How a key authenticates at every endpoint that takes its secret.
const AUTH_METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];

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
    /// The scope that clients request. A key without write access gets less.
    pub scopes_supported: [&'static str; 1],
    /// How a key authenticates.
    pub token_endpoint_auth_methods_supported: [&'static str; 2],
    /// How a key authenticates.
    pub introspection_endpoint_auth_methods_supported: [&'static str; 2],
    /// How a key authenticates.
    pub revocation_endpoint_auth_methods_supported: [&'static str; 2],
}

impl AuthorizationServer {
    pub fn new(config: &Config) -> Self {
        Self {
            issuer: config.server.issuer().to_owned(),
            token_endpoint: config.server.url(path::TOKEN),
            jwks_uri: config.server.url(path::JWKS),
            introspection_endpoint: config.server.url(path::INTROSPECT),
            revocation_endpoint: config.server.url(path::REVOKE),
            userinfo_endpoint: config.server.url(path::USERINFO),
            response_types_supported: [],
            grant_types_supported: ["client_credentials"],
            scopes_supported: [Scope::All.as_str()],
            token_endpoint_auth_methods_supported: AUTH_METHODS,
            introspection_endpoint_auth_methods_supported: AUTH_METHODS,
            revocation_endpoint_auth_methods_supported: AUTH_METHODS,
        }
    }
}

/// The same for OpenID Connect clients (Discovery section 3).
#[derive(Debug, Serialize, JsonSchema)]
pub struct OpenIdConfiguration {
    #[serde(flatten)]
    authorization_server: AuthorizationServer,
    /// A subject has the same identifier for every client.
    subject_types_supported: [&'static str; 1],
    /// How tokens are signed.
    id_token_signing_alg_values_supported: Vec<&'static str>,
}

impl OpenIdConfiguration {
    /// `algorithms` are those of the published keys.
    pub fn new(config: &Config, algorithms: &[Algorithm]) -> Self {
        Self {
            authorization_server: AuthorizationServer::new(config),
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms
                .iter()
                .map(|algorithm| algorithm.as_str())
                .collect(),
        }
    }
}

/// What a client of Flyte needs to log in (`flyteidl2.auth.GetPublicClientConfigResponse`).
///
/// Names are in snake case: Flyte 1 reads them into a struct.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PublicClientConfig {
    /// Empty as long as people cannot log in here.
    pub client_id: &'static str,
    /// The redirect URI on which Flyte's clients listen.
    pub redirect_uri: &'static str,
    /// The scopes to request.
    pub scopes: [&'static str; 1],
    /// The header for the token; never empty, flyte 2 fails on it.
    pub authorization_metadata_key: String,
    /// The public URL.
    pub service_http_endpoint: String,
    /// Empty: a token is for this server unless it is requested for another audience.
    pub audience: &'static str,
}

impl PublicClientConfig {
    pub fn new(config: &Config) -> Self {
        Self {
            client_id: "",
            redirect_uri: PUBLIC_CLIENT_REDIRECT_URI,
            scopes: [Scope::All.as_str()],
            authorization_metadata_key: config.tokens.authorization_metadata_key.clone(),
            service_http_endpoint: config.server.issuer().to_owned(),
            audience: "",
        }
    }
}
