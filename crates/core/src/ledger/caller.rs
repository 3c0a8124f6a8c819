//! [`Caller`]: the origin of a call.

use std::fmt;

use gatekey_credentials::ClientId;

use crate::{Env, KeyId, SecretId};

/// The origin of a call: recorded with every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub actor: Actor,
    /// Identifies the call in logs and in the caller's own records.
    pub request_id: String,
    /// The peer's address; empty for local administration.
    pub peer: String,
    pub user_agent: String,
}

impl Caller {
    /// The server itself, for a scheduled change.
    pub fn server(env: &Env) -> Self {
        Self::without_peer(
            env,
            Actor::Server,
            "clock",
            concat!("gatekey/", env!("CARGO_PKG_VERSION")),
        )
    }

    /// A user of the machine that the server runs on.
    pub fn local(env: &Env, uid: u32, user_agent: &str) -> Self {
        Self::without_peer(env, Actor::Local { uid }, "local", user_agent)
    }

    fn without_peer(env: &Env, actor: Actor, prefix: &str, user_agent: &str) -> Self {
        Self {
            actor,
            request_id: format!("{prefix}-{}", SecretId::generate(env)),
            peer: String::new(),
            user_agent: user_agent.to_owned(),
        }
    }
}

/// The author of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    Key {
        /// The client id at the time of the call.
        client_id: ClientId,
        key_id: KeyId,
        /// The secret that the call was made with, or that fetched its token.
        secret: Option<SecretId>,
    },
    /// A subject of another issuer, whose token the gate accepts.
    Subject {
        /// The issuer's alias, `|` and the claim `sub`.
        name: String,
    },
    /// A user of the server's own machine.
    Local {
        /// The operating system's user id.
        uid: u32,
    },
    /// The server itself, for a scheduled change.
    Server,
}

impl Actor {
    /// The same author, whichever secret it used.
    #[must_use]
    pub fn whichever_secret(&self) -> Self {
        match self {
            Self::Key { client_id, key_id, secret: _ } => {
                Self::Key { client_id: client_id.clone(), key_id: *key_id, secret: None }
            }
            Self::Subject { .. } | Self::Local { .. } | Self::Server => self.clone(),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { client_id, key_id, secret } => {
                write!(formatter, "key:{client_id}/{key_id}")?;
                secret.map_or(Ok(()), |secret| write!(formatter, "/{secret}"))
            }
            Self::Subject { name } => write!(formatter, "subject:{name}"),
            Self::Local { uid } => write!(formatter, "local:uid={uid}"),
            Self::Server => formatter.write_str("server"),
        }
    }
}
