//! The ledger: a stored, append-only, chained record of every change and of refusals of known callers.

use std::fmt;

use gatekey_credentials::ClientId;

use crate::{KeyId, LedgerKey, Timestamp};

/// Who calls, and from where: what the ledger records beside a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who.
    pub actor: Actor,
    /// Names the call in logs and in the caller's own records.
    pub request_id: String,
    /// The address of the peer, empty for local administration.
    pub peer: String,
    /// What the client calls itself.
    pub user_agent: String,
}

/// Who did something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// An API key.
    Key {
        /// Its client id at the time.
        client_id: ClientId,
        /// Its key id.
        key_id: KeyId,
    },
    /// Somebody on the server's own machine, by user id of the operating system.
    Local {
        /// The user id.
        uid: u32,
    },
    /// The server itself, by the clock.
    Server,
}

impl fmt::Display for Actor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { client_id, key_id } => write!(formatter, "key:{client_id}/{key_id}"),
            Self::Local { uid } => write!(formatter, "local:uid={uid}"),
            Self::Server => formatter.write_str("server"),
        }
    }
}

/// What was done or refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A key was created.
    Create,
    /// A create was repeated and gave a fresh secret.
    CreateReplay,
    /// A key was changed.
    Update,
    /// A key was deleted.
    Delete,
    /// A key got a new secret.
    RotateSecret,
    /// A secret was retired.
    RetireSecret,
    /// A key was disabled.
    Disable,
    /// A key was enabled.
    Enable,
    /// A token was revoked.
    RevokeToken,
    /// A new signing key signs from now on.
    RotateSigningKey,
    /// A known caller was refused.
    Refuse,
}

impl Action {
    /// The stored name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "api_key.create",
            Self::CreateReplay => "api_key.create_replay",
            Self::Update => "api_key.update",
            Self::Delete => "api_key.delete",
            Self::RotateSecret => "api_key.rotate_secret",
            Self::RetireSecret => "api_key.retire_secret",
            Self::Disable => "api_key.disable",
            Self::Enable => "api_key.enable",
            Self::RevokeToken => "token.revoke",
            Self::RotateSigningKey => "signing_key.rotate",
            Self::Refuse => "refuse",
        }
    }
}

/// An entry before it has its place in the chain. Never holds a secret or a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEntry {
    /// When.
    pub at: Timestamp,
    /// Who, as text: see [`Actor`].
    pub actor: String,
    /// What: see [`Action::as_str`].
    pub action: String,
    /// To which key or token.
    pub target: String,
    /// More about it, such as the fields that changed.
    pub detail: String,
    /// The call's name.
    pub request_id: String,
    /// From where.
    pub peer: String,
    /// With which client.
    pub user_agent: String,
}

impl NewEntry {
    /// An entry about a call.
    pub fn new(
        at: Timestamp,
        caller: &Caller,
        action: Action,
        target: impl fmt::Display,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            at,
            actor: caller.actor.to_string(),
            action: action.as_str().to_owned(),
            target: target.to_string(),
            detail: detail.into(),
            request_id: caller.request_id.clone(),
            peer: caller.peer.clone(),
            user_agent: caller.user_agent.clone(),
        }
    }

    /// The bytes that a link covers: each field with its length before it, so that no two entries share them.
    pub fn canonical(&self, sequence: i64) -> Vec<u8> {
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
        bytes
    }
}

/// An entry in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// 1 for the first, without gaps.
    pub sequence: i64,
    /// What happened.
    pub entry: NewEntry,
    /// HMAC over the link before and this entry.
    pub link: [u8; 32],
}

/// The last entry's place and link: what to keep elsewhere to notice truncation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerHead {
    /// 0 for an empty ledger.
    pub sequence: i64,
    /// Zeros for an empty ledger.
    pub link: [u8; 32],
}

impl LedgerHead {
    /// The head of an empty ledger.
    pub const EMPTY: Self = Self { sequence: 0, link: [0; 32] };

    /// The head after one more entry.
    #[must_use]
    pub fn follow(&self, key: &LedgerKey, entry: &NewEntry) -> Self {
        let sequence = self.sequence + 1;
        Self { sequence, link: key.link(&self.link, &entry.canonical(sequence)) }
    }
}

/// The chain is broken at that entry: it, or one before it, was changed, removed or put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is broken at entry {0}")]
pub struct BrokenChain(pub i64);

/// Checks entries that follow a head, and gives the head after them.
///
/// # Errors
/// [`BrokenChain`] at the first entry whose place or link does not follow.
pub fn verify_chain(
    key: &LedgerKey,
    mut head: LedgerHead,
    entries: &[LedgerEntry],
) -> Result<LedgerHead, BrokenChain> {
    for entry in entries {
        head = head.follow(key, &entry.entry);
        if head.sequence != entry.sequence || head.link != entry.link {
            return Err(BrokenChain(entry.sequence));
        }
    }
    Ok(head)
}
