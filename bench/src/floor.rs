//! Servers of the same HTTP stack whose handlers do only the named work and answer as many bytes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::State, http::header, response::IntoResponse, routing::post};
use gatekey_credentials::jwt::{Algorithm, SigningKey};
use gatekey_server::serve::{Acceptor, serve};
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;

struct Floor {
    key: SigningKey,
    claims: String,
    body: String,
    signatures: usize,
}

/// Serves until killed; prints its address to standard error.
pub(crate) async fn run(body: usize, signatures: usize) -> anyhow::Result<()> {
    let private = SigningKey::generate(Algorithm::ES256)?;
    let key = SigningKey::from_pkcs8(Algorithm::ES256, "floor", &private)?;
    // About as many bytes as a token's claims have.
    let floor = Floor { key, claims: "x".repeat(300), body: "x".repeat(body), signatures };
    let router = Router::new().route("/oauth2/token", post(handle)).with_state(Arc::new(floor));
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(listener.local_addr()?);
    let acceptor = Acceptor { listener, tls: None, only_from: Vec::new(), drain: Duration::from_secs(1) };
    serve(acceptor, router, std::future::pending()).await;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the benchmark reads the address there")]
fn announce(address: SocketAddr) {
    eprintln!("floor on {address}");
}

async fn handle(State(floor): State<Arc<Floor>>, body: Body) -> impl IntoResponse {
    let _ = body.collect().await;
    for _ in 0..floor.signatures {
        let _ = std::hint::black_box(floor.key.sign(&floor.claims));
    }
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], floor.body.clone())
}
