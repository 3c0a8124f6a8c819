//! [`Replay`]: recognizes a create that a client repeats because it lost the response.

use super::{ApiKey, KeyChange, StoredSecret};
use crate::{Timestamp, ledger::NewEntry};

/// How to recognize a repeated create. The repetition adds a secret to the existing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// The caller, as the ledger names it.
    pub actor: String,
    pub request_id: String,
    /// The SHA-256 digest of the request.
    pub digest: [u8; 32],
    /// A create before this instant cannot be repeated.
    pub since: Timestamp,
    /// How often a create can be repeated.
    pub limit: u32,
    /// The ledger entry of a repetition.
    pub entry: NewEntry,
}

/// A create that a store remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedCreate {
    pub created_at: Timestamp,
    pub actor: String,
    pub request_id: String,
    pub digest: [u8; 32],
    /// How often it was repeated.
    pub repeats: u32,
}

impl Replay {
    /// Adds secrets to an existing key if this call repeats the key's create. Otherwise `None`: the
    /// client id is taken.
    pub fn repeat(
        &self,
        key: ApiKey,
        create: Option<&RememberedCreate>,
        secrets: Vec<StoredSecret>,
    ) -> Option<KeyChange> {
        create.filter(|create| self.is_repetition_of(create))?;
        Some(key.add_secrets(secrets, self.entry.at))
    }

    fn is_repetition_of(&self, create: &RememberedCreate) -> bool {
        self.actor == create.actor
            && self.request_id == create.request_id
            && self.digest == create.digest
            && self.since <= create.created_at
            && create.repeats < self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_recent_call_is_a_repetition() {
        let at = Timestamp::from_seconds(1_767_225_600);
        let entry = NewEntry {
            at,
            actor: String::new(),
            action: String::new(),
            target: String::new(),
            detail: String::new(),
            request_id: String::new(),
            peer: String::new(),
            user_agent: String::new(),
        };
        let replay = Replay {
            actor: "local:uid=0".to_owned(),
            request_id: "request".to_owned(),
            digest: [7; 32],
            since: at,
            limit: 3,
            entry,
        };
        let create = RememberedCreate {
            created_at: at,
            actor: replay.actor.clone(),
            request_id: replay.request_id.clone(),
            digest: replay.digest,
            repeats: 2,
        };
        assert!(replay.is_repetition_of(&create));
        let micros = at.as_micros();
        for other in [
            RememberedCreate { created_at: Timestamp::from_micros(micros - 1), ..create.clone() },
            RememberedCreate { actor: "local:uid=1".to_owned(), ..create.clone() },
            RememberedCreate { request_id: "Request".to_owned(), ..create.clone() },
            RememberedCreate { digest: [8; 32], ..create.clone() },
            RememberedCreate { repeats: 3, ..create.clone() },
        ] {
            assert!(!replay.is_repetition_of(&other), "{other:?}");
        }
    }
}
