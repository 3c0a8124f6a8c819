//! The gate in front of a backend, through the built-in proxy and through proxies that ask it.

pub(crate) mod call;
mod cors;
mod decisions;
mod ext_authz;
mod flyte;
mod forward_auth;
mod forwarding;
mod identity;
mod issuers;
mod key_limits;
mod metrics;
mod paths;
mod refusals;
mod rules;
mod streams;
mod websockets;

use std::sync::Arc;

use rcgen::CertifiedKey;
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use crate::support::{Credentials, Http, Response, Server, upstream::Upstream};

/// A procedure that needs the role `viewer`.
pub(crate) const READ: &str = "/flyteidl2.project.ProjectService/ListProjects";
/// A procedure that needs the role `contributor`.
pub(crate) const WRITE: &str = "/flyteidl2.workflow.RunService/CreateRun";
/// A procedure that needs the role `admin`.
pub(crate) const ADMIN: &str = "/flyteidl2.project.ProjectService/CreateProject";

/// A server with a gate, and the upstream behind it.
pub(crate) struct Gated {
    pub(crate) server: Server,
    pub(crate) upstream: Upstream,
}

impl Gated {
    pub(crate) async fn start() -> Self {
        Self::with_flags(&[]).await
    }

    pub(crate) async fn with_flags(flags: &[&str]) -> Self {
        Self::before(Upstream::start().await, flags).await
    }

    /// Starts a server with settings of section `[gate]`.
    pub(crate) async fn with_settings(toml: &str) -> Self {
        let upstream = Upstream::start().await;
        let toml = format!("[gate]\nupstream = \"{}\"\n{toml}", upstream.url);
        Self { server: Server::with_config(&toml).await, upstream }
    }

    /// Starts a server with a configuration file.
    pub(crate) async fn with_config(toml: &str) -> Self {
        let upstream = Upstream::start().await;
        let toml = format!("{toml}\ngate.upstream = \"{}\"", upstream.url);
        Self { server: Server::with_config(&toml).await, upstream }
    }

    /// Starts a server in front of an upstream.
    pub(crate) async fn before(upstream: Upstream, flags: &[&str]) -> Self {
        let flags = [&["--upstream", &upstream.url], flags].concat();
        Self { server: Server::with_flags(&flags).await, upstream }
    }

    /// Creates a key with a role, named after it, and fetches a token for it.
    pub(crate) async fn token_of(&self, role: &str) -> String {
        let key = self.key_of(role).await;
        self.server.token(&key).await
    }

    /// Creates a key with a role, named after it.
    pub(crate) async fn key_of(&self, role: &str) -> Credentials {
        let wire = format!("ROLE_{}", role.to_uppercase());
        self.server.create_key_with(role, json!({ "role": wire })).await
    }

    /// Makes a Connect call through the gate.
    pub(crate) async fn call(&self, procedure: &str, token: &str) -> Response {
        self.server.http.connect_json(procedure, token, &json!({})).await
    }

    /// The same server over HTTP/1.1.
    pub(crate) fn over_http1(&self) -> Http {
        let process = &self.server.process;
        Http::over_http1(&process.reached_at, Some(&process.ca_file()))
    }
}

/// TLS for 127.0.0.1 with a certificate of its own, and that certificate in PEM.
fn private_tls() -> (TlsAcceptor, String) {
    let names = vec!["127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(names).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap(),
        )
        .unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (TlsAcceptor::from(Arc::new(tls)), cert.pem())
}
