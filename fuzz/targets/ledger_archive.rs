//! Archives of the ledger: only an archive that was written under the root key verifies.

#![no_main]

use std::sync::LazyLock;

use gatekey_core::{
    LedgerKeys, RootKey, Timestamp,
    ledger::{ArchiveDraft, ArchiveReader, ContentDigest, LedgerBase, LedgerEntry, NewEntry},
};
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<LedgerKeys> = LazyLock::new(|| RootKey::new(&[7; 32]).ledger_keys());

/// An archive with three entries, which inputs are spliced into.
static ARCHIVE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut head = LedgerBase::EMPTY.head;
    let entries: Vec<_> = (1..4)
        .map(|number| {
            let entry = NewEntry {
                at: Timestamp::from_seconds(number),
                actor: "server".to_owned(),
                action: "api_key.create".to_owned(),
                target: "ci".to_owned(),
                detail: String::new(),
                request_id: String::new(),
                peer: String::new(),
                user_agent: String::new(),
            };
            head = head.follow(KEYS.newest(), &entry, None);
            let (sequence, link) = (head.sequence, head.link);
            LedgerEntry { sequence, entry, root_key_version: 1, state: None, link }
        })
        .collect();
    let mut draft = ArchiveDraft::new(KEYS.clone(), LedgerBase::EMPTY);
    draft.add(&entries).expect("the entries are linked");
    let header = draft.finish(Timestamp::from_seconds(9), "fuzz").expect("there are entries");
    let lines = ContentDigest::default().write(&entries);
    format!("{}{lines}", header.lines()).into_bytes()
});

fn verifies(archive: &[u8]) -> bool {
    let reader = ArchiveReader::new(archive);
    reader.is_ok_and(|reader| reader.verify(&KEYS, |_| ()).is_ok())
}

fuzz_target!(|input: (&[u8], u16, u16)| {
    let (bytes, from, to) = input;
    assert!(!verifies(bytes) || bytes == *ARCHIVE);
    // The input instead of a part of an archive.
    let (from, to) = (usize::from(from) % ARCHIVE.len(), usize::from(to) % ARCHIVE.len());
    let (from, to) = (from.min(to), from.max(to));
    let spliced = [&ARCHIVE[..from], bytes, &ARCHIVE[to..]].concat();
    assert_eq!(verifies(&spliced), spliced == *ARCHIVE);
});
