//! [`Change`]: a committed change, reported to the state in memory.

use std::sync::Arc;

use gatekey_credentials::ClientId;

use crate::{ApiKey, KeyId, api_key::KeyChange, signing_key::SealedSigningKey, token::DeniedToken};

/// A committed change, reported to the state in memory.
#[derive(Debug, Clone)]
pub enum Change {
    /// A key was created or changed; this is its new state.
    KeyPut(Box<ApiKey>),
    KeyDeleted {
        /// A later key can have the same client id.
        client_id: ClientId,
        /// No later key has the same id.
        key_id: KeyId,
    },
    TokenDenied(DeniedToken),
    /// The key's epoch was raised, which revokes its denied tokens too.
    DenialsDropped(KeyId),
    /// All signing keys, in their new state.
    SigningKeys(Vec<SealedSigningKey>),
    /// Discard everything: the changes after this one in the same call are the whole state.
    Reset,
}

impl Change {
    /// The changes to report for a changed key.
    pub fn of_key(change: &KeyChange) -> Vec<Self> {
        let mut changes = Vec::new();
        if !change.is_empty() {
            changes.push(Self::KeyPut(Box::new(change.key.clone())));
        }
        if change.epoch_raised {
            // After the key: an observer must never lack both the denials and the new epoch.
            changes.push(Self::DenialsDropped(change.key.key_id));
        }
        changes
    }
}

/// Receives every committed change, in the order of the commits. Must not block.
pub trait ChangeObserver: Send + Sync {
    fn observe(&self, changes: &[Change]);
}

/// Notifies several observers of each change.
pub struct Observers(pub Vec<Arc<dyn ChangeObserver>>);

impl ChangeObserver for Observers {
    fn observe(&self, changes: &[Change]) {
        for observer in &self.0 {
            observer.observe(changes);
        }
    }
}
