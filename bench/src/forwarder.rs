//! The floor of a proxy: a forwarder on the same listener and the same client library that checks
//! nothing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

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
use gatekey_listener::{Limits, Listener, Networks, serve};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::net::TcpListener;

use crate::process::Server;

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
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?);
    let limits = Limits {
        connections: Limits::connections_of_process(),
        share_per_address: 1.0,
        unlimited: Networks::default(),
        idle: Duration::from_hours(1),
        age: Duration::from_hours(1),
    };
    let acceptor = Listener {
        socket: listener,
        tls: None,
        only_from: Networks::default(),
        limits,
        drain: Duration::from_secs(1),
    };
    serve(acceptor, router, std::future::pending()).await;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the benchmark reads the address there")]
fn announce(address: SocketAddr) {
    eprintln!("forwarder on {address}");
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
