//! The floor of a proxy: a forwarder on the same listener and the same client library that checks
//! nothing.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, Uri, uri},
    response::{IntoResponse as _, Response},
    routing::any,
};
use clap::Args;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use crate::{floor, process::Server};

#[derive(Args)]
pub(crate) struct Upstream {
    /// Host and port of the upstream
    authority: String,
    /// Speak HTTP/2 to it
    #[arg(long)]
    http2: bool,
}

struct Forwarder {
    client: Client<HttpConnector, Body>,
    authority: uri::Authority,
}

/// Starts a forwarder as a process.
pub(crate) fn start(upstream: SocketAddr, http2: bool) -> anyhow::Result<Server> {
    let mut arguments = vec!["forwarder".to_owned(), upstream.to_string()];
    if http2 {
        arguments.push("--http2".to_owned());
    }
    let ready = |line: &str| Some(line.strip_prefix("forwarder on ")?.trim().to_owned());
    let (mut server, address) = Server::start(&std::env::current_exe()?, &arguments, ready)?;
    server.address = address;
    Ok(server)
}

/// Serves until killed; prints its address to standard error.
pub(crate) async fn run(upstream: Upstream) -> anyhow::Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .http2_only(upstream.http2)
        .build(connector);
    let authority = upstream.authority.parse().context("the upstream is a host and port")?;
    let router =
        Router::new().fallback(any(forward)).with_state(Arc::new(Forwarder { client, authority }));
    floor::serve_until_killed("forwarder", router, None).await
}

async fn forward(State(forwarder): State<Arc<Forwarder>>, mut request: Request) -> Response {
    let mut parts = uri::Parts::from(request.uri().clone());
    (parts.scheme, parts.authority) = (Some(uri::Scheme::HTTP), Some(forwarder.authority.clone()));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_11;
    forwarder.client.request(request).await.map_or_else(
        |_| StatusCode::BAD_GATEWAY.into_response(),
        |response| response.map(Body::new),
    )
}
