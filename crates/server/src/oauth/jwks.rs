//! The published signing keys (RFC 7517 section 5).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use gatekey_credentials::jwt::Jwk;
use schemars::JsonSchema;
use serde::Serialize;

use super::OAuth;

/// A JWK set.
#[derive(Serialize, JsonSchema)]
pub struct JwkSet {
    /// The key that signs, and earlier ones whose tokens may still be valid.
    keys: Vec<Jwk>,
}

/// Serves the published keys. Verifiers fetch them again for an unknown `kid`, so a short cache
/// lifetime costs nothing.
pub async fn handle(State(oauth): State<Arc<OAuth>>) -> Response {
    let body = JwkSet { keys: oauth.key_ring.jwks(oauth.env.now()) };
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(body)).into_response()
}
