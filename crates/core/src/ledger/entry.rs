//! [`NewEntry`] and [`LedgerEntry`]: an entry before and after it joins the chain.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Action, Caller, LedgerHead, LedgerKey};
use crate::{Timestamp, redact};

/// Characters of a target and of a detail. What is recorded is shorter.
const MAX_TEXT: usize = 8192;

/// An entry that is not in the chain yet. Never contains a secret or a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEntry {
    pub at: Timestamp,
    /// The [`Actor`](super::Actor) as text.
    pub actor: String,
    /// See [`Action::name`].
    pub action: String,
    /// The object of the action: a client id, a `kid` or a procedure.
    pub target: String,
    /// See [`Action::detail`].
    pub detail: String,
    pub request_id: String,
    /// The peer's address; empty for local administration.
    pub peer: String,
    pub user_agent: String,
}

impl NewEntry {
    /// The entry of a caller's action. Target and detail are redacted if they contain a credential.
    pub fn new(
        at: Timestamp,
        caller: &Caller,
        action: Action<'_>,
        target: impl fmt::Display,
    ) -> Self {
        Self {
            at,
            actor: caller.actor.to_string(),
            action: action.name().to_owned(),
            target: redact(&target.to_string(), MAX_TEXT),
            detail: redact(&action.detail(), MAX_TEXT),
            request_id: caller.request_id.clone(),
            peer: caller.peer.clone(),
            user_agent: caller.user_agent.clone(),
        }
    }

    /// Whether the entry records a refusal, rather than a change.
    pub fn is_refusal(&self) -> bool {
        self.action == Action::REFUSE
    }

    /// Returns the bytes that a link covers. Each field is prefixed with its length, so different
    /// entries never have the same bytes. The state comes last, and has a fixed length.
    pub fn canonical(&self, sequence: i64, state: Option<&[u8; 32]>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(self.at.as_micros().to_be_bytes());
        for field in [
            &self.actor,
            &self.action,
            &self.target,
            &self.detail,
            &self.request_id,
            &self.peer,
            &self.user_agent,
        ] {
            bytes.extend((field.len() as u64).to_be_bytes());
            bytes.extend(field.as_bytes());
        }
        bytes.extend(state.into_iter().flatten());
        bytes
    }
}

impl LedgerHead {
    /// The head after one more entry.
    #[must_use]
    pub fn follow(&self, key: &LedgerKey, entry: &NewEntry, state: Option<&[u8; 32]>) -> Self {
        let sequence = self.sequence + 1;
        Self { sequence, link: key.link(&self.link, &entry.canonical(sequence, state)) }
    }
}

/// An entry in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// 1 for the first entry, without gaps.
    pub sequence: i64,
    pub entry: NewEntry,
    /// The version of the root key that the link was made under. Never decreases along the chain.
    pub root_key_version: u32,
    /// A MAC of all sealed rows after the change, see [`Digest`](crate::seal::Digest). `None` in
    /// entries that are older than seals.
    #[serde(default)]
    pub state: Option<[u8; 32]>,
    /// HMAC over the previous link and this entry.
    pub link: [u8; 32],
}
