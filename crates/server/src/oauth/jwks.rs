//! The published signing keys (RFC 7517 section 5).

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use gatekey_core::signing_key::JWKS_MAX_AGE;
use gatekey_credentials::jwt::Jwk;
use schemars::JsonSchema;
use serde::Serialize;

use super::OAuth;

/// A JWK set.
#[derive(Serialize, JsonSchema)]
pub struct JwkSet {
    /// The key that signs, the one that signs next, and earlier ones whose tokens may still be
    /// valid.
    keys: Vec<Jwk>,
}

/// Serves the published keys. Not every verifier fetches them again for an unknown `kid`, so a key
/// is published for longer than caches keep this response before it signs.
pub async fn handle(State(oauth): State<Arc<OAuth>>) -> Response {
    let body = JwkSet { keys: oauth.key_ring.jwks(oauth.env.now()) };
    let cache_control = format!("public, max-age={}", JWKS_MAX_AGE.as_secs());
    ([(header::CACHE_CONTROL, cache_control)], Json(body)).into_response()
}
