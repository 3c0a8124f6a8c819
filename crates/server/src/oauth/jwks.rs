//! The published signing keys (RFC 7517 section 5).

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use gatekey_credentials::jwt::Jwk;
use schemars::JsonSchema;
use serde::Serialize;

use crate::App;

/// A JWK set.
#[derive(Serialize, JsonSchema)]
pub struct JwkSet {
    /// The key that signs, and those whose tokens may still be about.
    keys: Vec<Jwk>,
}

/// The key that signs and those whose tokens may still be about. Verifiers ask again on an unknown `kid`, so a
/// short life in caches costs nothing.
pub async fn handle(State(app): State<App>) -> Response {
    let body = JwkSet { keys: app.key_ring.jwks(app.env.now()) };
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(body)).into_response()
}
