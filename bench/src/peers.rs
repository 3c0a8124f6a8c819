//! Other servers that do the same, where they can be had: programs that serve and describe themselves, as
//! bench/peers/README.md tells.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::{
    load::Requests,
    process::Server,
    request::{self, Client},
};

/// A peer that may be had.
pub(crate) struct Known {
    /// Its folder.
    name: &'static str,
    /// How many times its rate of tokens the design promises.
    pub(crate) token_rate: f64,
}

const KNOWN: [Known; 2] =
    [Known { name: "node-oidc-provider", token_rate: 8.0 }, Known { name: "hydra", token_rate: 100.0 }];

/// A peer that serves.
pub(crate) struct Peer {
    /// Its process.
    pub(crate) server: Server,
    /// What it told.
    pub(crate) description: Description,
    /// What is known without it.
    pub(crate) known: &'static Known,
}

/// What a peer says of itself.
#[derive(Deserialize)]
pub(crate) struct Description {
    /// With its version.
    pub(crate) name: String,
    /// Its clients.
    clients: Vec<Client>,
    /// Gives a JWT signed with ES256.
    pub(crate) token: Endpoint,
    /// Gives a token that it introspects.
    pub(crate) introspected_token: Endpoint,
    /// Tells of tokens (RFC 7662).
    pub(crate) introspection: Endpoint,
}

/// Where something is asked for.
#[derive(Deserialize)]
pub(crate) struct Endpoint {
    /// Host and port.
    pub(crate) address: String,
    path: String,
    #[serde(default)]
    form: String,
}

/// Starts every peer that can be had, and says which are left out, and why.
pub(crate) fn start(directory: &Path) -> (Vec<Peer>, Vec<String>) {
    let (mut peers, mut left_out) = (Vec::new(), Vec::new());
    for known in &KNOWN {
        let program = directory.join(known.name).join("run");
        match Server::start(&program, &[], |line| line.strip_prefix("peer on ").map(str::to_owned))
            .and_then(|(server, text)| Ok((server, serde_json::from_str(&text).context("its description")?)))
        {
            Ok((server, description)) => peers.push(Peer { server, description, known }),
            Err(error) => left_out.push(format!("Left out: {error:#}.")),
        }
    }
    (peers, left_out)
}

impl Peer {
    /// Asks for a JWT as each client, round and round.
    pub(crate) fn token_requests(&self) -> Requests {
        Requests::again(self.requests(&self.description.token).collect())
    }

    /// Asks for a token that the peer introspects, as the first so many clients.
    pub(crate) fn introspected_token_requests(&self, count: usize) -> Vec<Vec<u8>> {
        self.requests(&self.description.introspected_token).take(count).collect()
    }

    /// Asks about each token as the first client, round and round.
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
        self.description.clients.iter().map(|client| request::form(&endpoint.path, client, &endpoint.form))
    }
}
