//! The published signing keys (RFC 7517 section 5).

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde_json::json;

use crate::App;

/// The key that signs and those whose tokens may still be about. Verifiers ask again on an unknown `kid`, so a
/// short life in caches costs nothing.
pub async fn handle(State(app): State<App>) -> Response {
    let body = json!({ "keys": app.key_ring.jwks(app.env.now()) });
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(body)).into_response()
}
