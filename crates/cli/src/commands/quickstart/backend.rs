//! A small backend behind the gate, which stands in for Flyte.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use gatekey_server::config::{Origin, Settings, setting};
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore};

/// A method of Flyte that every role with access to Flyte may call.
pub(super) const PROCEDURE: &str = "/flyteidl2.project.ProjectService/ListProjects";

/// Connections that it serves at the same time.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take to send a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves on a loopback address until this process ends.
pub(super) async fn serve() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
    let listener = listener.context("cannot listen on a loopback address")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        let free = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        while let Ok(place) = free.clone().acquire_owned().await {
            let Ok((stream, _)) = listener.accept().await else { continue };
            tokio::spawn(async move {
                let served = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADER_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection to quickstart's backend ended");
                }
                drop(place);
            });
        }
    });
    Ok(address)
}

/// The settings that put the gate in front of the backend.
pub(super) fn settings(backend: SocketAddr) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    settings.set(
        setting("gate.upstream"),
        format!("http://{backend}"),
        Origin::Flag("--upstream"),
    )?;
    Ok(settings)
}

/// The response of the backend: the caller that the gate named, and whether it saw a credential.
pub(super) fn seen(caller: &str, credential: bool) -> Value {
    json!({ "caller": caller, "saw_a_credential": credential })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let headers = request.headers();
    let caller = headers.get("x-auth-request-user").and_then(|user| user.to_str().ok());
    let body = seen(caller.unwrap_or_default(), headers.contains_key(header::AUTHORIZATION));
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}
