//! [`Answer`]: what a poll reads, in one snapshot of the database.

use std::{collections::BTreeMap, time::Duration};

use gatekey_credentials::ClientId;

use super::{Position, Tag};
use crate::{
    ApiKey, KeyId, Timestamp, root_key::StoredRootKey, signing_key::SealedSigningKey,
    token::DeniedToken,
};

/// A node that finds the beat this old, by the database's clock, makes the next one.
pub const BEAT_INTERVAL: Duration = Duration::from_millis(500);

/// One run of one database server. Another process, a restart and a promotion each have another.
///
/// On PostgreSQL, of `pg_postmaster_start_time()` and the timeline. A connection does not identify
/// a server, because a pooler can change the server behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerId(pub [u8; 16]);

/// A row that the nodes advance, in transactions of its own, to prove that a server still is the
/// primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Beat {
    pub number: u64,
    /// By the database's clock.
    pub at: Timestamp,
}

/// What a poll reads, in one snapshot of the database.
#[derive(Debug, Clone)]
pub struct Answer {
    pub server: ServerId,
    /// Whether the server accepts writes. A standby has earlier states, and later beats.
    pub is_primary: bool,
    /// The database's clock, read for this answer.
    pub at: Timestamp,
    pub head: Position,
    /// The last repair of a lost history, if there ever was one.
    pub repaired: Option<Tag>,
    pub beat: Beat,
    pub found: Found,
}

/// What a poll reads of the changes.
#[derive(Debug, Clone)]
pub enum Found {
    /// The changes after the cursor.
    Changes {
        /// The tag of the change at the cursor, if its row still exists.
        at_cursor: Option<Tag>,
        /// The sequence number of the oldest row that is kept. The newest row always is.
        oldest: u64,
        /// In the order of their numbers; possibly not all of them.
        rows: Vec<Row>,
        /// The state of everything that the rows name.
        named: Named,
    },
    /// Everything, as a full load reads it.
    All { keys: Vec<KeyState>, signing_keys: Vec<SealedSigningKey>, root_keys: Vec<StoredRootKey> },
}

/// A row of the table of changes: what changed, but not how. The state is read beside it, so that
/// reading a row again does no harm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub position: Position,
    pub changed: Changed,
}

/// What a change concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// A key, its secrets or its denials.
    Key {
        client_id: ClientId,
        /// A later key can have the same client id.
        key_id: KeyId,
    },
    SigningKeys,
    RootKeys,
    /// All keys, as after a restore or repair.
    Everything,
}

/// The state of the keys that rows name, in the same snapshot or a later one.
#[derive(Debug, Clone, Default)]
pub struct Named {
    /// The key that has each client id now, if one does.
    pub keys: BTreeMap<ClientId, KeyState>,
    /// If a row names them.
    pub signing_keys: Option<Vec<SealedSigningKey>>,
    /// If a row names them.
    pub root_keys: Option<Vec<StoredRootKey>>,
}

/// A key with its denials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyState {
    pub key: ApiKey,
    pub denials: Vec<DeniedToken>,
}
