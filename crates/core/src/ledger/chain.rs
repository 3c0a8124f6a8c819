//! The ledger: a stored, append-only, chained record of every change and of refusals of known callers.

use std::{fmt, str::FromStr};

use gatekey_credentials::ClientId;
use serde::{Deserialize, Serialize};

use crate::{KeyId, LedgerKey, LedgerKeys, Store, StoreError, Timestamp, id::Hex};

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
    /// A signing key is published no more.
    RetireSigningKey,
    /// Another version of the root key is in use from now on.
    RotateRootKey,
    /// A version of the root key is needed no more.
    RetireRootKey,
    /// Secrets that proved themselves are hashed under the newest version of the root key.
    RehashSecrets,
    /// A backup was taken.
    BackUp,
    /// A backup was restored here.
    Restore,
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
            Self::RetireSigningKey => "signing_key.retire",
            Self::RotateRootKey => "root_key.rotate",
            Self::RetireRootKey => "root_key.retire",
            Self::RehashSecrets => "root_key.rehash_secrets",
            Self::BackUp => "store.back_up",
            Self::Restore => "store.restore",
            Self::Refuse => "refuse",
        }
    }
}

/// An entry before it has its place in the chain. Never holds a secret or a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// 1 for the first, without gaps.
    pub sequence: i64,
    /// What happened.
    pub entry: NewEntry,
    /// The root key's version under which the link was made; never older than that of the entry before.
    pub root_key_version: u32,
    /// HMAC over the link before and this entry.
    pub link: [u8; 32],
}

/// The last entry's place and link: what to keep elsewhere to notice truncation. Written `SEQUENCE:LINK`, the
/// link as 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

impl fmt::Display for LedgerHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.sequence, Hex(&self.link))
    }
}

/// The text is no head of a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no head of a ledger: write SEQUENCE:LINK, the link as 64 hexadecimal digits")]
pub struct InvalidHead;

impl FromStr for LedgerHead {
    type Err = InvalidHead;

    fn from_str(text: &str) -> Result<Self, InvalidHead> {
        let (sequence, hex) = text.split_once(':').ok_or(InvalidHead)?;
        let sequence = sequence.parse().ok().filter(|sequence| *sequence >= 0).ok_or(InvalidHead)?;
        let mut link = [0; 32];
        if hex.len() != 2 * link.len() || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(InvalidHead);
        }
        for (place, byte) in link.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).map_err(|_| InvalidHead)?;
        }
        Ok(Self { sequence, link })
    }
}

/// The chain is broken at that entry: it, or one before it, was changed, removed or put in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is broken at entry {0}")]
pub struct BrokenChain(pub i64);

/// Checks entries that follow a head, and gives the head after them.
///
/// # Errors
/// [`BrokenChain`] at the first entry whose place or link does not follow, or that was linked under a version of the
/// root key that is unknown, or older than that of an entry before: who knows an old root key cannot go on with it.
pub fn verify_chain(
    keys: &LedgerKeys,
    head: LedgerHead,
    entries: &[LedgerEntry],
) -> Result<LedgerHead, BrokenChain> {
    verify_links(keys, head, &mut 0, entries)
}

/// The same, after an entry of that version; which becomes the last one's.
fn verify_links(
    keys: &LedgerKeys,
    mut head: LedgerHead,
    version: &mut u32,
    entries: &[LedgerEntry],
) -> Result<LedgerHead, BrokenChain> {
    for entry in entries {
        let broken = BrokenChain(entry.sequence);
        let key = keys.find(entry.root_key_version).filter(|key| *version <= key.version()).ok_or(broken)?;
        head = head.follow(key, &entry.entry);
        if head.sequence != entry.sequence || head.link != entry.link {
            return Err(broken);
        }
        *version = key.version();
    }
    Ok(head)
}

/// Why a ledger does not hold.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    /// An entry does not follow from the one before it.
    #[error(transparent)]
    Broken(#[from] BrokenChain),
    /// An entry cannot be read.
    #[error("entry {sequence} of the ledger cannot be read: {reason}")]
    Unreadable {
        /// Its place.
        sequence: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// The ledger ends before a head that was known.
    #[error("the ledger ends at entry {0}, before the known head: it was truncated, or is another one")]
    Truncated(i64),
    /// The entry at the place of the known head is another one.
    #[error("entry {0} of the ledger is not the known head: the ledger is another one")]
    Another(i64),
    /// The ledger ends under an older version of the root key than is in use.
    #[error(
        "the ledger ends at entry {sequence} under version {found} of the root key, and version {newest} is in use: \
         what was entered since that came into use is gone"
    )]
    Older {
        /// Its last entry.
        sequence: i64,
        /// That entry's version.
        found: u32,
        /// The version in use.
        newest: u32,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Walks a ledger from its first entry, page by page.
#[derive(Debug)]
pub struct ChainCheck {
    keys: LedgerKeys,
    head: LedgerHead,
    /// The root key's version of the last entry; 0 before the first.
    version: u32,
    known: Option<LedgerHead>,
    page: usize,
}

/// Entries that are read at once.
pub const PAGE: usize = 1000;

impl ChainCheck {
    /// Begins before the first entry. A head known from elsewhere must be met on the way.
    pub fn new(keys: LedgerKeys, known: Option<LedgerHead>) -> Self {
        Self { keys, head: LedgerHead::EMPTY, version: 0, known, page: PAGE }
    }

    /// Which entries to read next: those after a sequence number, and how many at most.
    pub fn wanted(&self) -> (i64, usize) {
        (self.head.sequence, self.page)
    }

    /// Takes in what was read, and gives the head once nothing is left: its sequence number is how many
    /// entries there are.
    ///
    /// # Errors
    /// At the first entry that cannot be read, does not follow, or is not the known head where that should be;
    /// at the end when the known head lies beyond; and when the store fails.
    pub fn take(
        &mut self,
        read: Result<Vec<LedgerEntry>, StoreError>,
    ) -> Result<Option<LedgerHead>, LedgerFault> {
        let entries = match read {
            Ok(entries) => entries,
            // One by one from here on, to name the entry.
            Err(StoreError::Corrupt(_) | StoreError::Unreadable(_)) if self.page > 1 => {
                self.page = 1;
                return Ok(None);
            }
            Err(StoreError::Corrupt(reason) | StoreError::Unreadable(reason)) => {
                return Err(LedgerFault::Unreadable { sequence: self.head.sequence + 1, reason });
            }
            Err(error) => return Err(error.into()),
        };
        if entries.is_empty() {
            return match self.known {
                Some(known) if known.sequence > self.head.sequence => {
                    Err(LedgerFault::Truncated(self.head.sequence))
                }
                _ if self.version > 0 && self.version < self.keys.newest().version() => {
                    Err(LedgerFault::Older {
                        sequence: self.head.sequence,
                        found: self.version,
                        newest: self.keys.newest().version(),
                    })
                }
                Some(_) | None => Ok(Some(self.head)),
            };
        }
        self.head = verify_links(&self.keys, self.head, &mut self.version, &entries)?;
        if let Some(known) = self.known
            && entries.iter().any(|entry| entry.sequence == known.sequence && entry.link != known.link)
        {
            return Err(LedgerFault::Another(known.sequence));
        }
        Ok(None)
    }
}

/// Checks every entry of a store's ledger, and gives the head.
///
/// # Errors
/// See [`ChainCheck::take`].
pub async fn verify(
    store: &dyn Store,
    keys: LedgerKeys,
    known: Option<LedgerHead>,
) -> Result<LedgerHead, LedgerFault> {
    let mut check = ChainCheck::new(keys, known);
    loop {
        let (after, limit) = check.wanted();
        if let Some(head) = check.take(store.ledger_entries(after, limit).await)? {
            return Ok(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RootKey;

    fn chain(length: u8) -> (LedgerKeys, Vec<LedgerEntry>) {
        let keys = RootKey::new(&[1; 32]).ledger_keys();
        let mut head = LedgerHead::EMPTY;
        let entries = (0..length).map(|number| {
            let entry = NewEntry {
                at: Timestamp::from_seconds(number.into()),
                actor: "local:uid=0".to_owned(),
                action: Action::Create.as_str().to_owned(),
                target: format!("key-{number}"),
                detail: String::new(),
                request_id: String::new(),
                peer: "127.0.0.1".to_owned(),
                user_agent: "a test".to_owned(),
            };
            head = head.follow(keys.newest(), &entry);
            LedgerEntry { sequence: head.sequence, entry, root_key_version: 1, link: head.link }
        });
        let entries = entries.collect();
        (keys, entries)
    }

    fn check(
        keys: &LedgerKeys,
        entries: &[LedgerEntry],
        known: Option<LedgerHead>,
    ) -> Result<i64, LedgerFault> {
        let mut check = ChainCheck::new(keys.clone(), known);
        for page in entries.chunks(2) {
            assert_eq!(check.take(Ok(page.to_vec()))?, None);
        }
        Ok(check.take(Ok(Vec::new()))?.unwrap().sequence)
    }

    #[test]
    fn a_head_is_read_as_it_is_written() {
        let head = LedgerHead { sequence: 7, link: [0xa5; 32] };
        assert_eq!(head.to_string().parse(), Ok(head));
        for junk in [
            "",
            "7",
            "7:",
            "x:00",
            "-1:00",
            &format!("7:{}", "g".repeat(64)),
            &format!("7:{}", "é".repeat(32)),
        ] {
            assert_eq!(junk.parse::<LedgerHead>(), Err(InvalidHead), "{junk}");
        }
    }

    #[test]
    fn who_changes_address_or_client_of_an_entry_breaks_the_chain_there() {
        let (key, entries) = chain(5);
        assert_eq!(check(&key, &entries, None).unwrap(), 5);
        let mut moved = entries.clone();
        moved[2].entry.peer = "192.0.2.1".to_owned();
        assert!(matches!(check(&key, &moved, None), Err(LedgerFault::Broken(BrokenChain(3)))));
        let mut disguised = entries;
        disguised[3].entry.user_agent = "another".to_owned();
        assert!(matches!(check(&key, &disguised, None), Err(LedgerFault::Broken(BrokenChain(4)))));
    }

    #[test]
    fn a_known_head_must_be_met() {
        let (key, entries) = chain(5);
        let head = |place: usize| LedgerHead { sequence: entries[place].sequence, link: entries[place].link };
        assert_eq!(check(&key, &entries, Some(head(2))).unwrap(), 5);
        assert_eq!(check(&key, &entries, Some(LedgerHead::EMPTY)).unwrap(), 5);
        assert!(matches!(check(&key, &entries[..3], Some(head(4))), Err(LedgerFault::Truncated(3))));
        let other = LedgerHead { link: [9; 32], ..head(2) };
        assert!(matches!(check(&key, &entries, Some(other)), Err(LedgerFault::Another(3))));
    }
}
