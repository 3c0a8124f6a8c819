//! The endpoints for proxies that ask the gate whether a request may pass.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, State},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use connectrpc::{ConnectRpcService, Limits, unary_interceptor};
use gatekey_gate::{
    ForwardAuth, Protocol,
    forward_auth::{Family, ext_authz::ExtAuthz},
};
use gatekey_proto::envoy::service::auth::v3::AUTHORIZATION_SERVICE_NAME;
use gatekey_telemetry::{ClientAddresses, Record};
use serde_json::json;

use crate::{path, rpc::error};

/// The state of the endpoints; `None` if they are disabled.
pub type Questions = Option<Arc<ForwardAuth>>;

/// The procedure of Envoy's service.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Maximum bytes of a question, compressed or not, apart from the body of a request if Envoy sends
/// it along: its headers.
const MAX_QUESTION: usize = 1 << 20;

/// Answers nginx.
pub async fn nginx(State(questions): State<Questions>, request: Request) -> Response {
    answer(questions.as_deref(), Family::Nginx, request).await
}

/// Answers Traefik, Caddy and HAProxy.
pub async fn forward(State(questions): State<Questions>, request: Request) -> Response {
    answer(questions.as_deref(), Family::Forward, request).await
}

/// Answers Envoy.
pub async fn envoy(State(questions): State<Questions>, request: Request) -> Response {
    if let Some(record) = request.extensions().get::<Arc<Record>>() {
        record.set_route(path::GATE_ENVOY);
    }
    answer(questions.as_deref(), Family::Envoy, request).await
}

/// Answers a kind of proxies.
pub async fn answer(questions: Option<&ForwardAuth>, family: Family, request: Request) -> Response {
    let Some(forward_auth) = questions else {
        let description = "set gate.forward_auth to let proxies ask about requests";
        let body = json!({ "error": "not_found", "error_description": description });
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    };
    let record = request.extensions().get::<Arc<Record>>().cloned().unwrap_or_default();
    forward_auth.answer(family, &record, request).await
}

/// Returns Envoy's service as a route. Only trusted proxies reach it.
pub fn ext_authz(forward_auth: &Arc<ForwardAuth>, addresses: ClientAddresses) -> Router {
    let service = Arc::new(ExtAuthz::new(forward_auth.clone(), addresses));
    let most = MAX_QUESTION + forward_auth.gate().max_message;
    let limits = Limits::default().with_max_request_body_size(most).with_max_message_size(most);
    let service = ConnectRpcService::new(connectrpc::Router::new().add_service(service))
        .with_limits(limits)
        .with_interceptor(unary_interceptor(|request, next| {
            let record = request.ctx.extensions().get::<Arc<Record>>().cloned();
            Box::pin(async move {
                let outcome = next.run(request).await;
                if let Some(record) = record {
                    let code = outcome.as_ref().err().map_or(0, |error| error.code.grpc_code());
                    record.set_grpc_status(code);
                }
                outcome.map_err(error::sanitize)
            })
        }));
    Router::new()
        .route_service(&format!("/{AUTHORIZATION_SERVICE_NAME}/{{method}}"), service)
        .layer(middleware::from_fn_with_state(forward_auth.clone(), only_trusted))
}

/// Refuses strangers before their body is read.
async fn only_trusted(
    State(forward_auth): State<Arc<ForwardAuth>>,
    request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let Err(refusal) = forward_auth.trust(connection.map(|connection| connection.0.ip())) else {
        return next.run(request).await;
    };
    let record = request.extensions().get::<Arc<Record>>().cloned().unwrap_or_default();
    let protocol = Protocol::of(request.method(), request.uri().path(), request.headers());
    refusal.respond(&record, &protocol)
}
