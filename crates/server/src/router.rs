//! The routes of the public listener.

use std::{collections::BTreeSet, convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware,
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use gatekey_authn::Authenticator;
use gatekey_listener::RequestService;
use gatekey_telemetry::Route;
use serde_json::json;
use tower::{ServiceExt as _, service_fn};

use crate::{
    endpoint::{Credential, Endpoint, Methods},
    endpoints::ENDPOINTS,
    oauth::{self, OAuth},
    path,
    rpc::{self, Rpc, access, bindings::Bindings},
    state::ServerState,
};

/// Returns all paths: endpoints, RPC procedures, and procedures bound to plain HTTP.
pub fn routes() -> impl Iterator<Item = Route> {
    let endpoints = ENDPOINTS.iter().map(|endpoint| endpoint.path);
    let bindings: BTreeSet<_> =
        Bindings::get().iter().map(|binding| binding.path.as_str()).collect();
    let plain = endpoints.chain(bindings).map(|path| Route { path, is_rpc: false });
    plain.chain(access::procedures().map(|path| Route { path, is_rpc: true }))
}

/// Returns the service of the public listener: every route, observed by telemetry.
pub fn service(state: ServerState, rpc: &Arc<Rpc>) -> impl RequestService + use<> {
    let telemetry = rpc.telemetry.clone();
    let router = router(state, rpc);
    telemetry.observe(service_fn(move |request| guard(router.clone(), request)))
}

/// Answers a request, even when its handler panics. Responses are `no-store` unless the handler
/// sets a cache policy (RFC 6749 section 5.1).
async fn guard(router: Router, request: Request) -> Result<Response, Infallible> {
    let answered = AssertUnwindSafe(router.oneshot(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|panic| {
        tracing::error!(panic = gatekey_core::panic_message(&*panic), "a handler panicked");
        let body =
            json!({ "code": "internal", "message": "internal error", "error": "server_error" });
        Ok((StatusCode::INTERNAL_SERVER_ERROR, axum::Json(body)).into_response())
    })?;
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Returns every route.
pub fn router(state: ServerState, rpc: &Arc<Rpc>) -> Router {
    let endpoints = endpoints(&state.oauth.authenticator).fallback(not_found).with_state(state);
    endpoints.merge(rpc::router::routes(rpc))
}

/// Returns the endpoints as routes. Those that take only an access token are behind the layer that
/// reads one.
fn endpoints(authenticator: &Arc<Authenticator>) -> Router<ServerState> {
    let (with_token, without): (Vec<_>, Vec<_>) =
        ENDPOINTS.iter().partition(|endpoint| endpoint.credential == Credential::Token);
    let add = |routes: Router<ServerState>, endpoint: &Endpoint<ServerState>| {
        let handler = (endpoint.route)();
        let handler = match endpoint.methods {
            Methods::Get => handler.fallback(oauth::error::only_get),
            Methods::Post => handler.fallback(oauth::error::only_post),
            Methods::GetAndPost => handler.fallback(oauth::error::only_get_and_post),
        };
        routes.route(endpoint.path, handler)
    };
    let with_token = with_token.into_iter().fold(Router::new(), add);
    let authenticate =
        middleware::from_fn_with_state(authenticator.clone(), gatekey_authn::middleware);
    without.into_iter().fold(with_token.layer(authenticate), add)
}

async fn not_found(
    State(oauth): State<Arc<OAuth>>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    if rpc::error::is_rpc(&method, &headers) {
        return rpc::error::unimplemented(&headers);
    }
    let document = oauth.config.server.url(path::OPENAPI);
    let description = format!("nothing is served at this path; {document} lists the endpoints");
    let body = json!({ "error": "not_found", "error_description": description });
    (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Mutex};

    use axum::body::to_bytes;
    use gatekey_credentials::{Secret, detection::holds_credential};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;
    use crate::{openapi, server::tests::server};

    #[tokio::test]
    async fn the_document_has_every_route_except_rpc() {
        let server = server();
        // axum exposes its routes only through `Debug`.
        let shown = format!("{:?}", server.router());
        let routed = shown.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
        let services: BTreeSet<String> = rpc::router::services(&server.rpc())
            .methods()
            .filter_map(|method| Some(format!("/{}/{{method}}", method.rsplit_once('/')?.0)))
            .collect();
        // axum's names for the fallback.
        let fallback = ["/", "/{*__private__axum_fallback}"];
        let routed: BTreeSet<_> =
            routed.filter(|path| !services.contains(*path) && !fallback.contains(path)).collect();
        let document = openapi::document(server.config.server.issuer(), ENDPOINTS, Bindings::get());
        let documented: BTreeSet<_> =
            document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented, routed);
        assert!(routed.len() > 10, "{routed:?}");
    }

    /// Keeps what is logged.
    #[derive(Clone, Default)]
    struct Logged(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Logged {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Logged {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn faulty(near: &str) -> Response {
        panic!("a fault near {near:?}")
    }

    #[tokio::test]
    async fn a_panics_log_and_response_contain_no_credential() {
        let secret = Secret::from_random(&[7; 23]);
        let logged = Logged::default();
        let subscriber = tracing_subscriber::fmt().with_writer(logged.clone()).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let near = secret.expose().to_owned();
        let router = Router::new().fallback(async move || faulty(&near));
        let Ok(answered) = guard(router, Request::default()).await;
        assert_eq!(answered.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let lines = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        assert!(lines.contains("a handler panicked") && lines.contains("[credential]"), "{lines}");
        assert!(!holds_credential(&lines), "{lines}");
        let body = to_bytes(answered.into_body(), 1024).await.unwrap();
        assert!(!String::from_utf8(body.to_vec()).unwrap().contains("near"));
    }
}
