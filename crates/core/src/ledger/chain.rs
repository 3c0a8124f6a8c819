//! Verification of the chain: [`verify`] reads a whole ledger, [`verify_chain`] checks entries.

use super::{LedgerBase, LedgerEntry, LedgerHead, LedgerKeys};
use crate::StoreError;

/// Maximum number of entries in one read.
pub const PAGE: usize = 1000;

/// The chain is broken at this entry: it, or one before it, was changed, removed or inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ledger is broken at entry {0}")]
pub struct BrokenChain(pub i64);

/// Why the verification of a ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerFault {
    #[error(transparent)]
    Broken(#[from] BrokenChain),
    #[error("entry {sequence} of the ledger cannot be read: {reason}")]
    Unreadable { sequence: i64, reason: String },
    #[error("the ledger ends at entry {0}, before the known head: it was truncated or replaced")]
    Truncated(i64),
    #[error("entry {0} of the ledger does not match the known head: the ledger was replaced")]
    Another(i64),
    #[error(
        "entry {known} of the known head was archived, with all entries up to {base}; name the archive that contains it"
    )]
    Archived { known: i64, base: i64 },
    /// The last entry was linked under an older version of the root key than the one in use.
    #[error(
        "the ledger ends at entry {sequence} under version {found} of the root key, but version {newest} is in use: \
         the entries since that rotation are missing"
    )]
    Older { sequence: i64, found: u32, newest: u32 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Verifies every entry of a ledger after its base, and returns its head.
///
/// `read(after, limit)` returns at most `limit` entries after a sequence number. `known` are heads
/// that were kept elsewhere; the ledger must contain them.
///
/// # Errors
/// See [`LedgerFault`].
pub async fn verify<F>(
    keys: LedgerKeys,
    base: LedgerBase,
    known: &[LedgerHead],
    mut read: impl FnMut(i64, usize) -> F,
) -> Result<LedgerHead, LedgerFault>
where
    F: Future<Output = Result<Vec<LedgerEntry>, StoreError>>,
{
    let mut check = ChainCheck::new(keys, base, known)?;
    loop {
        let page = read(check.head.sequence, check.page).await;
        if let Some(head) = check.advance(page)? {
            return Ok(head);
        }
    }
}

/// Checks entries that follow a head, and returns the head after them.
///
/// # Errors
/// At the first entry that does not follow from the one before it, or that was linked under an
/// unknown version of the root key, or under an older version than the entry before it: a leaked
/// old root key must not be able to continue the chain.
pub fn verify_chain(
    keys: &LedgerKeys,
    head: LedgerHead,
    entries: &[LedgerEntry],
) -> Result<LedgerHead, BrokenChain> {
    verify_links(keys, head, &mut 0, entries)
}

/// Checks entries that follow an entry linked under `version`, and updates `version`.
pub(super) fn verify_links(
    keys: &LedgerKeys,
    mut head: LedgerHead,
    version: &mut u32,
    entries: &[LedgerEntry],
) -> Result<LedgerHead, BrokenChain> {
    for entry in entries {
        let broken = BrokenChain(entry.sequence);
        let key = keys
            .find(entry.root_key_version)
            .filter(|key| *version <= key.version())
            .ok_or(broken)?;
        head = head.follow(key, &entry.entry, entry.state.as_ref());
        if head.sequence != entry.sequence || head.link != entry.link {
            return Err(broken);
        }
        *version = key.version();
    }
    Ok(head)
}

/// The state of [`verify`] between two pages.
struct ChainCheck {
    keys: LedgerKeys,
    head: LedgerHead,
    /// The root key's version of the last entry; 0 before the first.
    version: u32,
    known: Vec<LedgerHead>,
    page: usize,
}

impl ChainCheck {
    /// # Errors
    /// When a known head cannot be in the ledger after the base.
    fn new(
        keys: LedgerKeys,
        LedgerBase { head, root_key_version }: LedgerBase,
        known: &[LedgerHead],
    ) -> Result<Self, LedgerFault> {
        for known in known.iter().filter(|known| known.sequence > 0) {
            if known.sequence < head.sequence {
                let (known, base) = (known.sequence, head.sequence);
                return Err(LedgerFault::Archived { known, base });
            }
            if known.sequence == head.sequence && known.link != head.link {
                return Err(LedgerFault::Another(known.sequence));
            }
        }
        Ok(Self { keys, head, version: root_key_version, known: known.to_vec(), page: PAGE })
    }

    /// Checks a page, and returns the head after the last one.
    fn advance(
        &mut self,
        page: Result<Vec<LedgerEntry>, StoreError>,
    ) -> Result<Option<LedgerHead>, LedgerFault> {
        let entries = match page {
            Ok(entries) => entries,
            // Read entries one by one from here, to find the unreadable one.
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
            return self.finish().map(Some);
        }
        self.head = verify_links(&self.keys, self.head, &mut self.version, &entries)?;
        let differs = |known: &&LedgerHead| {
            entries.iter().any(|entry| entry.sequence == known.sequence && entry.link != known.link)
        };
        match self.known.iter().find(differs) {
            Some(known) => Err(LedgerFault::Another(known.sequence)),
            None => Ok(None),
        }
    }

    /// Checks that the ledger is complete after its last entry.
    fn finish(&self) -> Result<LedgerHead, LedgerFault> {
        let sequence = self.head.sequence;
        if self.known.iter().any(|known| known.sequence > sequence) {
            return Err(LedgerFault::Truncated(sequence));
        }
        let newest = self.keys.newest().version();
        if self.version > 0 && self.version < newest {
            return Err(LedgerFault::Older { sequence, found: self.version, newest });
        }
        Ok(self.head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        RootKey, Timestamp,
        ledger::{Action, NewEntry},
    };

    fn chain(length: u8) -> (LedgerKeys, Vec<LedgerEntry>) {
        let keys = RootKey::new(&[1; 32]).ledger_keys();
        let mut head = LedgerHead::EMPTY;
        let entries = (0..length).map(|number| {
            let entry = NewEntry {
                at: Timestamp::from_seconds(number.into()),
                actor: "local:uid=0".to_owned(),
                action: Action::ApiKeyDelete.name().to_owned(),
                target: format!("key-{number}"),
                detail: String::new(),
                request_id: String::new(),
                peer: "127.0.0.1".to_owned(),
                user_agent: "a test".to_owned(),
            };
            head = head.follow(keys.newest(), &entry, None);
            LedgerEntry {
                sequence: head.sequence,
                entry,
                root_key_version: 1,
                state: None,
                link: head.link,
            }
        });
        let entries = entries.collect();
        (keys, entries)
    }

    fn check(
        keys: &LedgerKeys,
        entries: &[LedgerEntry],
        known: Option<LedgerHead>,
    ) -> Result<i64, LedgerFault> {
        check_after(LedgerBase::EMPTY, keys, entries, known)
    }

    fn check_after(
        base: LedgerBase,
        keys: &LedgerKeys,
        entries: &[LedgerEntry],
        known: Option<LedgerHead>,
    ) -> Result<i64, LedgerFault> {
        let mut check = ChainCheck::new(keys.clone(), base, known.as_slice())?;
        for page in entries.chunks(2) {
            assert_eq!(check.advance(Ok(page.to_vec()))?, None);
        }
        Ok(check.advance(Ok(Vec::new()))?.unwrap().sequence)
    }

    #[test]
    fn a_changed_peer_or_user_agent_is_detected() {
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
    fn a_known_head_must_be_in_the_chain() {
        let (key, entries) = chain(5);
        let head = |place: usize| LedgerHead {
            sequence: entries[place].sequence,
            link: entries[place].link,
        };
        assert_eq!(check(&key, &entries, Some(head(2))).unwrap(), 5);
        assert_eq!(check(&key, &entries, Some(LedgerHead::EMPTY)).unwrap(), 5);
        assert!(matches!(
            check(&key, &entries[..3], Some(head(4))),
            Err(LedgerFault::Truncated(3))
        ));
        let other = LedgerHead { link: [9; 32], ..head(2) };
        assert!(matches!(check(&key, &entries, Some(other)), Err(LedgerFault::Another(3))));
    }
    #[test]
    fn a_chain_continues_from_its_base() {
        let (key, entries) = chain(5);
        let at = |place: usize| LedgerHead {
            sequence: entries[place].sequence,
            link: entries[place].link,
        };
        let base = LedgerBase { head: at(2), root_key_version: 1 };
        let after = |known| check_after(base, &key, &entries[3..], known);
        assert_eq!(after(None).unwrap(), 5);
        assert_eq!(after(Some(LedgerHead::EMPTY)).unwrap(), 5);
        assert_eq!(after(Some(at(2))).unwrap(), 5);
        assert_eq!(after(Some(at(3))).unwrap(), 5);
        assert!(matches!(after(Some(at(1))), Err(LedgerFault::Archived { known: 2, base: 3 })));
        let other = LedgerHead { link: [9; 32], ..at(2) };
        assert!(matches!(after(Some(other)), Err(LedgerFault::Another(3))));
        let moved = LedgerBase { head: at(1), ..base };
        let broken = check_after(moved, &key, &entries[3..], None);
        assert!(matches!(broken, Err(LedgerFault::Broken(BrokenChain(4)))));
        let newer = LedgerBase { root_key_version: 2, ..base };
        let broken = check_after(newer, &key, &entries[3..], None);
        assert!(matches!(broken, Err(LedgerFault::Broken(BrokenChain(4)))));
    }
}
