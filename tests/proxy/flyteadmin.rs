//! A stand-in for flyteadmin: gRPC on one port and plain HTTP on the other. As the real one, it
//! verifies the token of each call for an audience and the scope `all`, knows no roles, and answers
//! `/me` to a session of the console as well.

use std::{convert::Infallible, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Full, combinators::BoxBody};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// `allowedAudience` of its configuration.
pub(crate) const AUDIENCE: &str = "flyteadmin";
/// The cookie of a person who has logged in.
pub(crate) const SESSION: &str = "flyte_at=session";

/// Serves gRPC until the task is aborted: HTTP/2 only, without TLS.
pub(crate) async fn serve_grpc() -> (JoinHandle<()>, SocketAddr) {
    serve(|stream| async move {
        let service = service_fn(async |request| Ok::<_, Infallible>(call(&request)));
        let builder = http2::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

/// Serves plain HTTP until the task is aborted: HTTP/1.1 only.
pub(crate) async fn serve_http() -> (JoinHandle<()>, SocketAddr) {
    serve(|stream| async move {
        let service = service_fn(async |request| Ok::<_, Infallible>(respond(&request)));
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    })
    .await
}

async fn serve<F: Future<Output = ()> + Send + 'static>(
    connection: impl Fn(tokio::net::TcpStream) -> F + Send + Sync + 'static,
) -> (JoinHandle<()>, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            connections.spawn(connection(stream));
        }
    });
    (task, address)
}

fn call(request: &Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let response = described(request).header(header::CONTENT_TYPE, "application/grpc");
    let status = if user(request.headers()).is_some() { "0" } else { "16" };
    let trailers =
        HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
    let body = Full::new(Bytes::from_static(&[0; 5]));
    response.body(body.with_trailers(std::future::ready(Some(Ok(trailers)))).boxed()).unwrap()
}

fn respond(request: &Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let headers = request.headers();
    let response = described(request);
    let session = headers.get(header::COOKIE).is_some_and(|cookie| cookie == SESSION);
    let response = match request.uri().path() {
        "/healthcheck" | "/console" => response,
        "/login" => response.status(StatusCode::FOUND).header(header::LOCATION, "/callback?code=1"),
        "/callback" => response
            .status(StatusCode::FOUND)
            .header(header::SET_COOKIE, SESSION)
            .header(header::LOCATION, "/console"),
        "/me" if session => response,
        _ if user(headers).is_some() => response,
        _ => response.status(StatusCode::UNAUTHORIZED),
    };
    response.body(Empty::new().boxed()).unwrap()
}

/// A response with what the request was, and who is believed to have sent it.
fn described(request: &Request<Incoming>) -> http::response::Builder {
    let mut response = Response::builder().header("seen-path", request.uri().path());
    let shown = [
        "x-auth-request-user",
        "x-auth-request-roles",
        "flyte-authorization",
        "cookie",
        "grpc-metadata-authorization",
        "grpc-metadata-flyte-authorization",
        "x-http-method-override",
        "from_http",
    ];
    for name in shown {
        if let Some(value) = request.headers().get(name) {
            response = response.header(format!("seen-{name}"), value);
        }
    }
    let user = user(request.headers()).unwrap_or_default();
    response.header("seen-user", HeaderValue::try_from(user).unwrap())
}

/// The subject of a token for the audience with the scope `all`.
fn user(headers: &HeaderMap) -> Option<String> {
    // The first of the two wins.
    let name =
        if headers.contains_key("authorization") { "authorization" } else { "flyte-authorization" };
    let token = headers.get(name)?.to_str().ok()?.strip_prefix("Bearer ")?;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let audience = &claims["aud"];
    let is_for_it = audience == AUDIENCE
        || audience.as_array().is_some_and(|all| all.contains(&AUDIENCE.into()));
    let scopes = claims["scp"].as_array()?;
    (is_for_it && scopes.contains(&"all".into()))
        .then(|| claims["sub"].as_str().unwrap().to_owned())
}
