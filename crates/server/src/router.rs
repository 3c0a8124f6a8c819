//! The routes of the public listener.

use std::{
    collections::BTreeSet, convert::Infallible, panic::AssertUnwindSafe, pin::pin, sync::Arc,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware,
    response::{IntoResponse as _, Response},
};
use futures::FutureExt as _;
use gatekey_authn::Authenticator;
use gatekey_gate::{Proxy, proxy::FromUpstream};
use gatekey_listener::RequestService;
use gatekey_telemetry::{ClientAddresses, Record, Route};
use serde_json::json;
use tower::service_fn;

use crate::{
    doors::{self, Doors},
    endpoint::{Credential, Endpoint, Methods},
    endpoints::ENDPOINTS,
    forward_auth,
    oauth::{self, OAuth},
    path,
    rpc::{self, Rpc, access, bindings::Bindings},
    state::ServerState,
};

/// Returns all paths: endpoints, RPC procedures, and procedures bound to plain HTTP; and one route
/// for everything that the gate answers.
pub fn routes() -> impl Iterator<Item = Route> {
    let endpoints = ENDPOINTS.iter().map(|endpoint| endpoint.path);
    let bindings: BTreeSet<_> =
        Bindings::get().iter().map(|binding| binding.path.as_str()).collect();
    let plain = endpoints.chain(bindings).map(|path| Route { path, is_rpc: false });
    let gate = Route { path: gatekey_gate::proxy::ROUTE, is_rpc: false };
    let procedures = access::procedures().chain([forward_auth::CHECK]);
    plain.chain(procedures.map(|path| Route { path, is_rpc: true })).chain([gate])
}

/// Returns the service of the public listener: every route, observed by telemetry.
pub fn service(state: ServerState, rpc: &Arc<Rpc>) -> impl RequestService + use<> {
    let telemetry = rpc.telemetry.clone();
    let (proxy, questions) = (state.proxy.clone(), state.forward_auth.clone());
    let paths = routes().map(|route| route.path);
    let doors = Arc::new(Doors::new(router(state, rpc), proxy, questions, paths));
    let strict_transport = rpc.config.server.has_public_name();
    telemetry.observe(service_fn(move |request| guard(doors.clone(), strict_transport, request)))
}

/// Answers a request, even when its handler panics. Responses are `no-store` unless the handler
/// sets a cache policy, and never another type than they claim.
async fn guard(
    doors: Arc<Doors>,
    strict_transport: bool,
    request: Request,
) -> Result<Response, Infallible> {
    let is_head = request.method() == Method::HEAD;
    // Pinned where it is made: each move would copy all that a handler holds.
    let answered = pin!(doors.answer(request));
    let answered = AssertUnwindSafe(answered).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|panic| {
        tracing::error!(panic = gatekey_core::panic_message(&*panic), "a handler panicked");
        let body =
            json!({ "code": "internal", "message": "internal error", "error": "server_error" });
        (StatusCode::INTERNAL_SERVER_ERROR, axum::Json(body)).into_response()
    });
    if response.extensions().get::<FromUpstream>().is_some() {
        return Ok(response);
    }
    let headers = response.headers_mut();
    let policy = headers.entry(header::CACHE_CONTROL);
    if policy.or_insert(HeaderValue::from_static("no-store")) == "no-store" {
        // RFC 6749 section 5.1.
        headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if strict_transport {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
    // Refusals come from outside axum's routes, which would do this. Over HTTP/2 hyper does not.
    Ok(if is_head { response.map(|_| Body::empty()) } else { response })
}

/// For a year, and only for this host (RFC 6797 section 6.1).
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Returns every route.
pub fn router(state: ServerState, rpc: &Arc<Rpc>) -> Router {
    let ext_authz = state.forward_auth.as_ref().map(|forward_auth| {
        let server = &rpc.config.server;
        let (trusted, header) = (server.trusted_proxies.clone(), server.forwarded_header.into());
        forward_auth::ext_authz(forward_auth, ClientAddresses::new(trusted, header))
    });
    let endpoints = endpoints(&state.oauth.authenticator).fallback(otherwise).with_state(state);
    endpoints.merge(rpc::router::routes(rpc)).merge(ext_authz.unwrap_or_default())
}

/// Returns the endpoints as routes. Those that take only an access token are behind the layer that
/// reads one.
fn endpoints(authenticator: &Arc<Authenticator>) -> Router<ServerState> {
    let (with_token, without): (Vec<_>, Vec<_>) =
        ENDPOINTS.iter().partition(|endpoint| endpoint.credential == Credential::Token);
    let add = |routes: Router<ServerState>, endpoint: &Endpoint<ServerState>| {
        let handler = (endpoint.route)();
        let handler = match endpoint.methods {
            Methods::Get if endpoint.is_public_document() => handler
                .options(preflight)
                .fallback(oauth::error::only_get)
                .layer(middleware::map_response(for_any_origin)),
            Methods::Get => handler.fallback(oauth::error::only_get),
            Methods::Post => handler.fallback(oauth::error::only_post),
            Methods::GetAndPost => handler.fallback(oauth::error::only_get_and_post),
            Methods::Any => handler,
        };
        routes.route(endpoint.path, handler)
    };
    let with_token = with_token.into_iter().fold(Router::new(), add);
    let authenticate =
        middleware::from_fn_with_state(authenticator.clone(), gatekey_authn::middleware);
    without.into_iter().fold(with_token.layer(authenticate), add)
}

/// Lets pages of any origin read a public document
/// (<https://fetch.spec.whatwg.org/#http-cors-protocol>).
async fn for_any_origin(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

/// Lets browsers send a request for a public document, with any header.
async fn preflight() -> Response {
    let headers = [
        (header::ALLOW, "GET, HEAD, OPTIONS"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, HEAD"),
        // The asterisk does not include `authorization`.
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*, authorization"),
        (header::ACCESS_CONTROL_MAX_AGE, "86400"),
        (header::CACHE_CONTROL, "public, max-age=86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Answers what no endpoint does: by the upstream, if there is one.
async fn otherwise(
    State(oauth): State<Arc<OAuth>>,
    State(proxy): State<Option<Arc<Proxy>>>,
    request: Request,
) -> Response {
    if let Some(proxy) = proxy {
        doors::pass(&proxy, request).await
    } else {
        let record = request.extensions().get::<Arc<Record>>().map(|record| &**record);
        not_found(&oauth, record, request.method(), request.uri(), request.headers())
    }
}

fn not_found(
    oauth: &OAuth,
    record: Option<&Record>,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Response {
    // Flyte's services are called in many ways, such as Connect's GET; an RPC error suits all.
    if rpc::error::is_rpc(method, headers) || uri.path().starts_with("/flyteidl") {
        return rpc::error::unimplemented(record, uri.path(), headers);
    }
    let document = oauth.config.server.url(path::OPENAPI);
    let description = if rpc::error::is_for_flyte(uri.path()) {
        rpc::error::FOR_FLYTE.to_owned()
    } else {
        format!("nothing is served at this path; {document} lists the endpoints")
    };
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
    use crate::{doors::first_segment, openapi, server::tests::server};

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
            document["paths"].as_object().unwrap().keys().cloned().collect();
        // OpenAPI has no wildcards.
        let routed: BTreeSet<_> = routed.iter().map(|path| path.replace("{*", "{")).collect();
        assert_eq!(documented, routed);
        assert!(routed.len() > 10, "{routed:?}");
    }

    /// Otherwise an upstream would get requests for it.
    #[tokio::test]
    async fn the_router_gets_all_of_its_paths() {
        let own: BTreeSet<_> = routes().map(|route| first_segment(route.path)).collect();
        // axum exposes its routes only through `Debug`.
        let shown = format!("{:?}", server().router());
        let routed = shown.split('"').skip(1).step_by(2).filter(|text| text.starts_with('/'));
        let routed: Vec<_> =
            routed.filter(|path| *path != "/" && !path.contains("__private__")).collect();
        for path in &routed {
            let first = first_segment(path);
            assert!(own.contains(first) && !first.contains('{'), "{path}");
        }
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

    /// It is copied a few times for each request.
    #[test]
    fn a_request_in_progress_takes_little_memory() {
        let doors = Arc::new(Doors::new(Router::new(), None, None, std::iter::empty()));
        let size = size_of_val(&guard(doors, false, Request::default()));
        assert!(size <= 2048, "{size} bytes");
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
        let doors = Arc::new(Doors::new(router, None, None, std::iter::empty()));
        let Ok(answered) = guard(doors, false, Request::default()).await;
        assert_eq!(answered.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let lines = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
        assert!(lines.contains("a handler panicked") && lines.contains("[credential]"), "{lines}");
        assert!(!holds_credential(&lines), "{lines}");
        let body = to_bytes(answered.into_body(), 1024).await.unwrap();
        assert!(!String::from_utf8(body.to_vec()).unwrap().contains("near"));
    }
}
