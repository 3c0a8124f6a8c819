//! From the rows and states of an answer to the changes that memory is notified of.

use std::collections::BTreeSet;

use super::{Changed, KeyState, Named, Row};
use crate::{signing_key::SealedSigningKey, store::Change};

/// The changes that bring memory to the state beside the rows, each key once.
pub(super) fn changes(rows: &[Row], named: &Named) -> Vec<Change> {
    let (mut changes, mut seen) = (Vec::new(), BTreeSet::new());
    for row in rows {
        let Changed::Key { client_id, key_id } = &row.changed else { continue };
        let now = named.keys.get(client_id);
        // Also if the client id has another key now: the denials of the earlier one must go.
        if now.is_none_or(|now| now.key.key_id != *key_id) && seen.insert((client_id, *key_id)) {
            changes.push(Change::KeyDeleted { client_id: client_id.clone(), key_id: *key_id });
        }
    }
    let client_ids: BTreeSet<_> = rows.iter().filter_map(client_id).collect();
    for client_id in client_ids {
        if let Some(state) = named.keys.get(client_id) {
            // In the same notification as the denials that are left, which is applied as one.
            changes.push(Change::DenialsDropped(state.key.key_id));
            put(state, &mut changes);
        }
    }
    changes.extend(named.signing_keys.clone().map(Change::SigningKeys));
    changes
}

/// The changes that replace everything in memory.
pub(super) fn everything(keys: &[KeyState], signing_keys: Vec<SealedSigningKey>) -> Vec<Change> {
    let mut changes = vec![Change::Reset];
    for state in keys {
        put(state, &mut changes);
    }
    changes.push(Change::SigningKeys(signing_keys));
    changes
}

fn client_id(row: &Row) -> Option<&gatekey_credentials::ClientId> {
    match &row.changed {
        Changed::Key { client_id, .. } => Some(client_id),
        Changed::SigningKeys | Changed::RootKeys | Changed::Everything => None,
    }
}

fn put(state: &KeyState, changes: &mut Vec<Change>) {
    changes.push(Change::KeyPut(Box::new(state.key.clone())));
    changes.extend(state.denials.iter().cloned().map(Change::TokenDenied));
}
