//! The services as routes.

use std::{collections::BTreeSet, sync::Arc};

use axum::{Router, middleware};
use connectrpc::{ConnectRpcService, DeadlinePolicy, Limits, unary_interceptor};
use connectrpc_health::{HealthExt as _, HealthService};
use gatekey_telemetry::Record;

use super::{
    Rpc, access, api_key_service, apps_service, auth_metadata, authorize, authorizer_service,
    bindings::Bindings,
    error, identity,
    limits::{DEFAULT_DEADLINE, MAX_DEADLINE, MAX_REQUEST, MAX_SMALL_REQUEST},
    reflection, transcode,
    watches::{self, Watches},
};

/// Returns every service on one connectrpc router.
pub fn services(rpc: &Arc<Rpc>) -> connectrpc::Router {
    let router = connectrpc::Router::new()
        .add_service(Arc::new(apps_service::Apps { rpc: rpc.clone() }))
        .add_service(Arc::new(authorizer_service::Authorizer { rpc: rpc.clone() }))
        .add_service(Arc::new(api_key_service::ApiKeys { rpc: rpc.clone() }))
        .add_service(Arc::new(auth_metadata::AuthMetadata2 { rpc: rpc.clone() }))
        .add_service(Arc::new(auth_metadata::AuthMetadata1 { rpc: rpc.clone() }))
        .add_service(Arc::new(identity::Identity2 { rpc: rpc.clone() }))
        .add_service(Arc::new(identity::Identity1 { rpc: rpc.clone() }));
    let services = service_names(&router);
    for service in &services {
        let _ = rpc.health.register(service.clone());
    }
    let health = Arc::new(HealthService::from_arc(rpc.health.clone()));
    let router = connectrpc_health::apply_request_limits(
        health.register(router),
        connectrpc_health::request_limits(),
    );
    let described = services.iter().map(String::as_str);
    reflection::install(router, described.chain([connectrpc_health::HEALTH_SERVICE_NAME]))
}

/// Returns the services as routes, behind authentication and authorization.
pub fn routes(rpc: &Arc<Rpc>) -> Router {
    let small = Limits::default()
        .with_max_request_body_size(MAX_SMALL_REQUEST)
        .with_max_message_size(MAX_SMALL_REQUEST);
    let router = access::without_role()
        .fold(services(rpc), |router, procedure| router.with_route_limits(procedure, small));
    let services = service_names(&router);
    let service = ConnectRpcService::new(router)
        .with_limits(
            Limits::default()
                .with_max_request_body_size(MAX_REQUEST)
                .with_max_message_size(MAX_REQUEST),
        )
        .with_deadline_policy(
            DeadlinePolicy::new()
                .with_default_timeout(DEFAULT_DEADLINE)
                .with_max(MAX_DEADLINE)
                .with_enforce_on_streams(true),
        )
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
    let bound: BTreeSet<_> = Bindings::get().iter().map(|binding| binding.path.as_str()).collect();
    let plain = bound
        .iter()
        .fold(Router::new(), |routes, path| routes.route_service(path, service.clone()))
        .layer(middleware::from_fn(transcode::transcode))
        .layer(middleware::from_fn_with_state(rpc.clone(), authorize::middleware))
        .layer(middleware::from_fn(transcode::match_binding));
    services
        .iter()
        .fold(Router::new(), |routes, name| {
            routes.route_service(&format!("/{name}/{{method}}"), service.clone())
        })
        .layer(middleware::from_fn_with_state(Arc::<Watches>::default(), watches::limit))
        .layer(middleware::from_fn_with_state(rpc.clone(), authorize::middleware))
        .merge(plain)
        .layer(middleware::from_fn_with_state(rpc.authenticator.clone(), gatekey_authn::middleware))
}

fn service_names(router: &connectrpc::Router) -> BTreeSet<String> {
    router
        .methods()
        .filter_map(|method| Some(method.trim_start_matches('/').split_once('/')?.0.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_access_table_lists_exactly_the_routed_methods() {
        let rpc = crate::server::tests::server().rpc();
        let routed: BTreeSet<_> =
            services(&rpc).methods().map(|method| format!("/{method}")).collect();
        let listed: BTreeSet<_> = access::procedures().map(str::to_owned).collect();
        assert_eq!(listed, routed);
        let rows = access::procedures().count();
        assert_eq!(rows, listed.len(), "a procedure is listed twice, and its first row applies");
    }
}
