//! The gate in front of a backend, through the built-in proxy and through proxies that ask it.

mod call;
mod decisions;
mod ext_authz;
mod forward_auth;
mod forwarding;
mod identity;
mod issuers;
mod key_limits;
mod paths;
mod refusals;
mod rules;
mod streams;
mod websockets;

use serde_json::json;

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
