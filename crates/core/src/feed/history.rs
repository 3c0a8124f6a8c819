//! [`LostHistory`]: a database that lost changes, and its [`Repair`].

use std::collections::BTreeMap;

use gatekey_credentials::ClientId;

use super::{Position, Revocation, Tag};
use crate::{
    ApiKey, KeyId, Timestamp,
    api_key::{KeyChange, Restrictions, raised_epoch},
};

/// The database lost changes that this node has seen, as after a failover to a standby that lacked
/// them. If they were acknowledged, revocations may be among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LostHistory {
    /// The last change that this node has seen.
    pub ours: Position,
    /// The last change that the database has.
    pub theirs: Position,
    /// The last repair that this node knows.
    pub repaired: Option<Tag>,
}

impl LostHistory {
    /// Decides again under the lock of the head, where no other node repairs: `None` if the
    /// history has our last change after all, as on a former primary's successor.
    ///
    /// `at_ours` is the tag of the change with the number of our last one, `repaired` the last
    /// repair of the database, and `revoked` what this node saw being revoked.
    pub fn repair(
        &self,
        at_ours: Option<Tag>,
        repaired: Option<Tag>,
        revoked: BTreeMap<KeyId, (ClientId, Revocation)>,
    ) -> Option<Repair> {
        if at_ours == Some(self.ours.tag) {
            return None;
        }
        // Another node may have raised the epochs, but cannot know everything that this one saw.
        Some(Repair { raises_epochs: repaired == self.repaired, revoked })
    }
}

/// What to do with each key of a database that lost changes, in one transaction that also appends
/// the entry and a row for everything.
#[derive(Debug)]
pub struct Repair {
    raises_epochs: bool,
    revoked: BTreeMap<KeyId, (ClientId, Revocation)>,
}

/// What a repair does with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RepairStep {
    Leave,
    Delete,
    Change(Box<KeyChange>),
}

impl Repair {
    /// Decides about a key. `least` is at least the epoch of every token: the microseconds since
    /// 1970, as after a restore.
    pub fn step(&self, key: &ApiKey, least: u64, at: Timestamp) -> RepairStep {
        let restrictions = match self.revoked.get(&key.key_id) {
            Some((_, Revocation::Deleted)) => return RepairStep::Delete,
            Some((_, Revocation::Restricted(restrictions))) => restrictions.clone(),
            None => Restrictions::default(),
        };
        let least = if self.raises_epochs { Some(raised_epoch(key.epoch, least)) } else { None };
        let change = key.clone().restrict(&restrictions, least, at);
        if change.is_empty() { RepairStep::Leave } else { RepairStep::Change(Box::new(change)) }
    }

    /// Whether it changes keys that this node saw nothing of.
    pub fn raises_epochs(&self) -> bool {
        self.raises_epochs
    }
}
