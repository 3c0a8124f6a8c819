//! Paths below the public URL.

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
/// Read by flytectl and the Terraform provider.
pub const FLYTE_CLIENT: &str = "/config/v1/flyte_client";
/// The caller's identity, in the format of Flyte 1.
pub const ME: &str = "/me";
/// nginx asks about requests.
pub const GATE_NGINX: &str = "/gate/nginx";
/// Traefik, Caddy and HAProxy ask about requests.
pub const GATE_FORWARD: &str = "/gate/forward";
/// Envoy asks about requests for the root.
pub const GATE_ENVOY_ROOT: &str = "/gate/envoy/";
/// Envoy asks about requests, whose paths follow.
pub const GATE_ENVOY: &str = "/gate/envoy/{*path}";
/// The OpenAPI document.
pub const OPENAPI: &str = "/openapi.json";
