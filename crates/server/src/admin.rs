//! The admin listener: probes, and metrics for Prometheus. It is unencrypted and unauthenticated;
//! nothing here names a key.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use gatekey_authn::Authenticator;
use gatekey_core::{Directory, Env, KeyRing, Store, Tokens, feed::Freshness};
use gatekey_gate::{ForwardAuth, Gate, Proxy, token::UpstreamTokens};
use gatekey_listener::tls::ServedCertificate;
use gatekey_telemetry::{Telemetry, Traces, metrics::Gauges};
use serde_json::json;
use tokio::time::timeout;

/// How long the store may take to answer before the server is not ready.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Liveness probe: succeeds while the process runs.
pub const HEALTH: &str = "/healthz";
/// Readiness probe: succeeds while the server accepts requests, the store answers, and the state in
/// memory is fresh.
pub const READINESS: &str = "/readyz";
/// Metrics in Prometheus' text format.
pub const METRICS: &str = "/metrics";

pub struct Admin {
    pub store: Arc<dyn Store>,
    pub directory: Arc<Directory>,
    pub key_ring: Arc<KeyRing>,
    pub freshness: Freshness,
    pub tokens: Arc<Tokens>,
    pub authenticator: Arc<Authenticator>,
    pub upstream_tokens: Arc<UpstreamTokens>,
    pub telemetry: Arc<Telemetry>,
    /// Set once the server begins to shut down.
    pub stopping: Arc<AtomicBool>,
    /// `None` if the gate passes nothing on.
    pub proxy: Option<Arc<Proxy>>,
    /// `None` if proxies may not ask the gate.
    pub forward_auth: Option<Arc<ForwardAuth>>,
    /// The certificate that is served; `None` without TLS.
    pub served: Option<Arc<ServedCertificate>>,
    pub env: Env,
}

pub fn router(admin: Arc<Admin>) -> Router {
    Router::new()
        .route(HEALTH, get(async || "ok\n"))
        .route(READINESS, get(readiness))
        .route(METRICS, get(metrics))
        .layer(middleware::map_response(with_its_type))
        .with_state(admin)
}

/// Keeps browsers from guessing another type than the response claims.
async fn with_its_type(mut response: Response) -> Response {
    let nosniff = HeaderValue::from_static("nosniff");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    response
}

async fn readiness(State(admin): State<Arc<Admin>>) -> Response {
    let stopping = admin.stopping.load(Ordering::Relaxed);
    let signing_key = admin.key_ring.signing_key(admin.env.now()).is_some();
    let store = match timeout(STORE_TIMEOUT, admin.store.ledger_head()).await {
        Ok(Ok(_)) => true,
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: cannot read the store");
            false
        }
        Err(_) => {
            tracing::warn!("not ready: timed out reading the store");
            false
        }
    };
    let fresh = admin.freshness.state().is_ready;
    let ready = store && signing_key && fresh && !stopping;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": ready,
        "store": store,
        "signing_key": signing_key,
        "fresh": fresh,
        "stopping": stopping,
    });
    (status, Json(body)).into_response()
}

/// Writes what the gate decided, for whatever asks it, and what its proxy passed on.
fn write_gate(admin: &Admin, text: &mut String) -> fmt::Result {
    let asks = admin.proxy.as_deref().map(Proxy::gate);
    let gate: Option<&Gate> = asks.or(admin.forward_auth.as_deref().map(ForwardAuth::gate));
    if let Some(gate) = gate {
        gate.decisions.write(text)?;
    }
    admin.proxy.as_ref().map_or(Ok(()), |proxy| proxy.write_metrics(text))
}

async fn metrics(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let mut caches = vec![
        ("access_token", admin.key_ring.lookups().read()),
        ("encoded_credentials", admin.tokens.lookups().read()),
        ("upstream_token", admin.upstream_tokens.lookups().read()),
    ];
    if let Some(issuers) = admin.authenticator.issuers() {
        caches.push(("issuer_token", issuers.lookups().read()));
    }
    let gauges = Gauges {
        keys: admin.directory.count(admin.env.now()),
        denied_tokens: admin.directory.denied_tokens(),
        store_queue_depth: admin.store.queue_depth(),
        certificate_expires_at: admin.served.as_ref().and_then(|served| served.expires_at()),
        log_lines_dropped: admin.telemetry.request_log.dropped(),
        caches: &caches,
        spans: admin.telemetry.traces.as_ref().map(Traces::counts),
    };
    let mut text = admin.telemetry.metrics.render(&gauges);
    write_gate(&admin, &mut text).expect("writing to a string does not fail");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}
