//! The admin listener: whether the server lives and is ready, and what it counts. In the clear and without
//! authentication, for probes and for Prometheus; nothing here names a key.

use std::{sync::atomic::Ordering, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use gatekey_telemetry::{Traces, metrics::Gauges};
use serde_json::json;
use tokio::time::timeout;

use crate::App;

/// How long the store may take to answer before the server counts as not ready.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether the process answers.
pub const HEALTH: &str = "/healthz";
/// Whether requests should be sent here.
pub const READINESS: &str = "/readyz";
/// What is counted.
pub const METRICS: &str = "/metrics";

/// The three routes.
pub fn router(app: &App) -> Router {
    Router::new()
        .route(HEALTH, get(async || "ok\n"))
        .route(READINESS, get(readiness))
        .route(METRICS, get(metrics))
        .with_state(app.clone())
}

async fn readiness(State(app): State<App>) -> Response {
    let stopping = app.stopping.load(Ordering::Relaxed);
    let signing_key = app.key_ring.signing_key().is_some();
    let store = match timeout(PATIENCE, app.store.ledger_head()).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the store does not answer");
            false
        }
        Err(_) => {
            tracing::warn!("not ready: the store takes too long to answer");
            false
        }
    };
    let ready = store && signing_key && !stopping;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({ "ready": ready, "store": store, "signing_key": signing_key, "stopping": stopping });
    (status, Json(body)).into_response()
}

async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let gauges = Gauges {
        keys: app.directory.count(app.env.now()),
        denied_tokens: app.directory.denied_tokens(),
        store_queue_depth: app.store.queue_depth(),
        spans: app.telemetry.traces.as_ref().map(Traces::counts),
    };
    let text = app.telemetry.metrics.render(&gauges);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
