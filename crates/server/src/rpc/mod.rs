//! The RPC services, over Connect, gRPC and gRPC-Web on the same paths, and those with a `google.api.http` as plain
//! HTTP with JSON too.
//!
//! # Layout
//! - [`authorize`]: the one table of who may call what, applied before a body is read.
//! - [`apps`]: `cloudidl.identity.AppsService`, what public clients speak.
//! - [`api_keys`]: `gatekey.v1.ApiKeyService`, what that wire cannot say.
//! - [`auth_metadata`], [`identity`]: how to log in, and who one is.
//! - [`bindings`], [`transcode`]: which methods are plain HTTP too, and how a request that comes so becomes a call.
//! - [`convert`]: the border between generated messages and the domain, one file a message family.
//! - [`error`]: the one renderer.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Method, header},
    middleware,
    response::{IntoResponse, Response},
};
use connectrpc::{ConnectError, ConnectRpcService, DeadlinePolicy, Limits, unary_interceptor};

use self::bindings::Bindings;
use crate::{
    App, authenticate,
    metrics::{Outcome, Told},
};

pub mod api_keys;
pub mod apps;
pub mod auth_metadata;
pub mod authorize;
pub mod bindings;
pub mod convert;
pub mod error;
pub mod identity;
pub mod transcode;

/// Bytes of a request, compressed or not. The largest legal one, fifty redirect URIs, has a tenth of it.
const MAX_REQUEST: usize = 1 << 20;
/// Bytes of a request that has nothing to say, so that whoever needs no role cannot fill the memory.
const SMALL_REQUEST: usize = 16 * 1024;
/// How long a call may take when its caller sets no deadline, and at most.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(15);
const MAX_DEADLINE: Duration = Duration::from_secs(30);

/// Every service on one connectrpc router.
pub fn router(app: &App) -> connectrpc::Router {
    let router = connectrpc::Router::new()
        .add_service(Arc::new(apps::Apps(app.clone())))
        .add_service(Arc::new(api_keys::ApiKeys(app.clone())))
        .add_service(Arc::new(auth_metadata::AuthMetadata2(app.clone())))
        .add_service(Arc::new(auth_metadata::AuthMetadata1(app.clone())))
        .add_service(Arc::new(identity::Identity2(app.clone())))
        .add_service(Arc::new(identity::Identity1(app.clone())));
    let services = service_names(&router);
    let reflector =
        connectrpc_reflection::Reflector::from_descriptor_set_bytes(gatekey_proto::DESCRIPTOR_SET)
            .expect("the build writes a valid descriptor set")
            .with_services(services.iter().map(String::as_str).chain([
                connectrpc_health::HEALTH_SERVICE_NAME,
                connectrpc_reflection::SERVER_REFLECTION_SERVICE_NAME,
                connectrpc_reflection::SERVER_REFLECTION_V1ALPHA_SERVICE_NAME,
            ]));
    let (router, _health) = connectrpc_health::install_static(router, services);
    connectrpc_reflection::install(router, reflector)
}

/// The services as routes, behind the table of who may call what.
pub fn routes(app: &App) -> Router<App> {
    let small =
        Limits::default().with_max_request_body_size(SMALL_REQUEST).with_max_message_size(SMALL_REQUEST);
    let router = authorize::with_small_requests()
        .fold(router(app), |router, procedure| router.with_route_limits(procedure, small));
    let services = service_names(&router);
    let service = ConnectRpcService::new(router)
        .with_limits(
            Limits::default().with_max_request_body_size(MAX_REQUEST).with_max_message_size(MAX_REQUEST),
        )
        .with_deadline_policy(
            DeadlinePolicy::new().with_default_timeout(DEFAULT_DEADLINE).with_max(MAX_DEADLINE),
        )
        .with_interceptor(unary_interceptor(|request, next| {
            let told = request.ctx.extensions().get::<Told>().cloned();
            Box::pin(async move {
                next.run(request).await.map_err(|error| {
                    if let Some(told) = told {
                        told.tell(Outcome::of_code(error.code));
                    }
                    error::tame(error)
                })
            })
        }));
    let bound: BTreeSet<_> = Bindings::get().iter().map(|binding| binding.path.as_str()).collect();
    let plain = bound
        .iter()
        .fold(Router::new(), |routes, path| routes.route_service(path, service.clone()))
        .layer(middleware::from_fn(transcode::translate))
        .layer(middleware::from_fn_with_state(app.clone(), authorize::middleware))
        .layer(middleware::from_fn(transcode::name));
    services
        .iter()
        .fold(Router::new(), |routes, name| {
            routes.route_service(&format!("/{name}/{{method}}"), service.clone())
        })
        .layer(middleware::from_fn_with_state(app.clone(), authorize::middleware))
        .merge(plain)
        .layer(middleware::from_fn_with_state(app.clone(), authenticate::middleware))
}

fn service_names(router: &connectrpc::Router) -> BTreeSet<String> {
    router
        .methods()
        .filter_map(|method| Some(method.trim_start_matches('/').split_once('/')?.0.to_owned()))
        .collect()
}

/// Whether a request to an unknown path is meant as RPC, and so wants an RPC's answer.
pub fn is_rpc(method: &Method, headers: &HeaderMap) -> bool {
    let content_type =
        headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    *method == Method::POST
        && (content_type.starts_with("application/grpc")
            || content_type.starts_with("application/proto")
            || content_type.starts_with("application/connect+")
            || headers.contains_key("connect-protocol-version"))
}

/// The answer to a call of a method that is not served.
pub fn unimplemented(headers: &HeaderMap) -> Response {
    render(ConnectError::unimplemented("this method is not served here"), headers)
}

/// An error in the shape of the protocol that the request speaks.
fn render(error: ConnectError, headers: &HeaderMap) -> Response {
    error.into_http_response(headers).map(Body::new).into_response()
}
