//! Other servers that issue tokens, where they can be installed. Each is a program that serves and
//! describes itself, as bench/peers/README.md says.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::{
    load::Requests,
    process::Server,
    request::{self, Client},
};

/// A peer that may be installed.
pub(crate) struct Known {
    name: &'static str,
    /// The goal for Gatekey's token rate, relative to the peer's.
    pub(crate) token_rate: f64,
}

const KNOWN: [Known; 2] = [
    Known { name: "node-oidc-provider", token_rate: 8.0 },
    Known { name: "hydra", token_rate: 100.0 },
];

/// A running peer.
pub(crate) struct Peer {
    pub(crate) server: Server,
    pub(crate) description: Description,
    pub(crate) known: &'static Known,
}

/// How a peer describes itself.
#[derive(Deserialize)]
pub(crate) struct Description {
    pub(crate) name: String,
    clients: Vec<Client>,
    /// Issues a JWT signed with ES256.
    pub(crate) token: Endpoint,
    /// Issues a token that the peer introspects.
    pub(crate) introspected_token: Endpoint,
    /// Introspects tokens (RFC 7662).
    pub(crate) introspection: Endpoint,
}

#[derive(Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) address: String,
    path: String,
    #[serde(default)]
    form: String,
}

/// Starts every peer that is installed, and reports why the others are left out.
pub(crate) fn start(directory: &Path) -> (Vec<Peer>, Vec<String>) {
    let (mut peers, mut left_out) = (Vec::new(), Vec::new());
    for known in &KNOWN {
        let program = directory.join(known.name).join("run");
        match Server::start(&program, &[], |line| line.strip_prefix("peer on ").map(str::to_owned))
            .and_then(|(server, text)| {
                Ok((server, serde_json::from_str(&text).context("its description")?))
            }) {
            Ok((server, description)) => peers.push(Peer { server, description, known }),
            Err(error) => left_out.push(format!("Left out: {error:#}.")),
        }
    }
    (peers, left_out)
}

impl Peer {
    /// Requests for a JWT as each client, in a cycle.
    pub(crate) fn token_requests(&self) -> Requests {
        Requests::again(self.requests(&self.description.token).collect())
    }

    /// Requests for a token that the peer introspects, as the first `count` clients.
    pub(crate) fn introspected_token_requests(&self, count: usize) -> Vec<Vec<u8>> {
        self.requests(&self.description.introspected_token).take(count).collect()
    }

    /// Introspection requests for each token as the first client, in a cycle.
    ///
    /// # Errors
    /// When the peer has no client.
    pub(crate) fn introspection_requests(&self, tokens: &[String]) -> anyhow::Result<Requests> {
        let asking = self.description.clients.first().context("a peer has a client")?;
        let path = &self.description.introspection.path;
        let ask = |token: &String| request::form(path, asking, &format!("token={token}"));
        Ok(Requests::again(tokens.iter().map(ask).collect()))
    }

    fn requests<'s>(&'s self, endpoint: &'s Endpoint) -> impl Iterator<Item = Vec<u8>> + 's {
        self.description
            .clients
            .iter()
            .map(|client| request::form(&endpoint.path, client, &endpoint.form))
    }
}
