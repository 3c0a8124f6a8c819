//! Floors: servers on the same HTTP stack whose handlers do only the named work and answer with the
//! same number of bytes.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Router, body::Body, extract::State, http::header, response::IntoResponse, routing::any,
};
use clap::Args;
use gatekey_credentials::jwt::{self, Algorithm, SigningKey, VerifyingKey};
use gatekey_listener::{Limits, Listener, Networks, serve};
use http_body_util::BodyExt as _;
use serde::de::IgnoredAny;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{certificate::Certificate, process::Server};

/// What a floor does for each request after reading it.
#[derive(Args)]
pub(crate) struct Work {
    /// Bytes in the body of each answer
    #[arg(long)]
    body: usize,
    /// Signatures per request
    #[arg(long, default_value_t = 0)]
    signatures: usize,
    /// Verifications per request
    #[arg(long, default_value_t = 0)]
    verifications: usize,
    /// Signature algorithm
    #[arg(long, default_value_t = Algorithm::ES256)]
    algorithm: Algorithm,
    /// Certificate chain, for TLS
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of the certificate
    #[arg(long)]
    tls_key: Option<PathBuf>,
}

impl Work {
    /// Reads the request and answers it.
    pub(crate) fn nothing(body: usize) -> Self {
        let algorithm = Algorithm::ES256;
        Self { body, signatures: 0, verifications: 0, algorithm, tls_cert: None, tls_key: None }
    }

    /// Signs once.
    pub(crate) fn sign(body: usize, algorithm: Algorithm) -> Self {
        Self { signatures: 1, algorithm, ..Self::nothing(body) }
    }

    /// Verifies one signature.
    pub(crate) fn verify(body: usize, algorithm: Algorithm) -> Self {
        Self { verifications: 1, algorithm, ..Self::nothing(body) }
    }

    /// Serves over TLS.
    pub(crate) fn over_tls(self, certificate: &Certificate) -> Self {
        let Certificate { chain, key } = certificate.clone();
        Self { tls_cert: Some(chain), tls_key: Some(key), ..self }
    }

    /// Starts the floor as a process.
    pub(crate) fn start(&self) -> anyhow::Result<Server> {
        let mut arguments = vec![
            "floor".to_owned(),
            format!("--body={}", self.body),
            format!("--signatures={}", self.signatures),
            format!("--verifications={}", self.verifications),
            format!("--algorithm={}", self.algorithm),
        ];
        if let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) {
            arguments.push(format!("--tls-cert={}", chain.display()));
            arguments.push(format!("--tls-key={}", key.display()));
        }
        let ready = |line: &str| Some(line.strip_prefix("floor on ")?.trim().to_owned());
        let (mut server, address) = Server::start(&std::env::current_exe()?, &arguments, ready)?;
        server.address = address;
        Ok(server)
    }
}

struct Floor {
    key: SigningKey,
    public: VerifyingKey,
    claims: String,
    token: String,
    body: String,
    work: Work,
}

/// Serves until killed; prints its address to standard error.
pub(crate) async fn run(work: Work) -> anyhow::Result<()> {
    let private = SigningKey::generate(work.algorithm)?;
    let key = SigningKey::from_pkcs8(work.algorithm, "floor", &private)?;
    let tls = match (&work.tls_cert, &work.tls_key) {
        (Some(chain), Some(key)) => {
            Some(Certificate { chain: chain.clone(), key: key.clone() }.acceptor()?)
        }
        _ => None,
    };
    // About the size of a token's claims.
    let claims = "x".repeat(300);
    let floor = Floor {
        public: key.verifying_key()?,
        token: key.sign(&claims)?,
        claims,
        key,
        body: "x".repeat(work.body),
        work,
    };
    let router = Router::new().fallback(any(handle)).with_state(Arc::new(floor));
    serve_until_killed("floor", router, tls).await
}

/// Serves on a free port; prints the address after the name to standard error.
pub(crate) async fn serve_until_killed(
    name: &str,
    router: Router,
    tls: Option<TlsAcceptor>,
) -> anyhow::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    announce(name, listener.local_addr()?);
    let limits = Limits {
        connections: Limits::connections_of_process(),
        share_per_address: 1.0,
        unlimited: Networks::default(),
        idle: Duration::from_hours(1),
        age: Duration::from_hours(1),
    };
    let acceptor = Listener {
        socket: listener,
        tls,
        only_from: Networks::default(),
        limits,
        drain: Duration::from_secs(1),
    };
    serve(acceptor, router, std::future::pending()).await;
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the benchmark reads the address there")]
fn announce(name: &str, address: SocketAddr) {
    eprintln!("{name} on {address}");
}

async fn handle(State(floor): State<Arc<Floor>>, body: Body) -> impl IntoResponse {
    let _ = body.collect().await;
    floor.work().expect("it verifies what it signed itself");
    (
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")],
        floor.body.clone(),
    )
}

impl Floor {
    fn work(&self) -> anyhow::Result<()> {
        for _ in 0..self.work.signatures {
            std::hint::black_box(self.key.sign(&self.claims)?);
        }
        for _ in 0..self.work.verifications {
            let token = std::hint::black_box(self.token.as_str());
            jwt::verify::<IgnoredAny>(token, |_| Some(&self.public))
                .context("a token of its own")?;
        }
        Ok(())
    }
}
