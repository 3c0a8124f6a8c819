//! [`Touched`]: what a transaction changed, for others that have the same in memory.

use gatekey_core::{KeyId, store::Change};
use gatekey_credentials::ClientId;

/// What a transaction changed, but not how: a reader that needs the new state reads it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Touched {
    /// A key, its secrets or its denials.
    Key {
        client_id: ClientId,
        key_id: KeyId,
    },
    SigningKeys,
    RootKeys,
    /// All keys.
    Everything,
}

impl Touched {
    /// What a reported change touches; `None` if another one of the same call does, or if the
    /// change does not name its key.
    pub(crate) fn by(change: &Change) -> Option<Self> {
        match change {
            Change::KeyPut(key) => {
                Some(Self::Key { client_id: key.client_id.clone(), key_id: key.key_id })
            }
            Change::KeyDeleted { client_id, key_id } => {
                Some(Self::Key { client_id: client_id.clone(), key_id: *key_id })
            }
            Change::SigningKeys(_) => Some(Self::SigningKeys),
            Change::Reset => Some(Self::Everything),
            Change::TokenDenied(_) | Change::DenialsDropped(_) => None,
        }
    }
}
