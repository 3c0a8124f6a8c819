//! The ledger.

use gatekey_core::{
    Actor, Caller, RootKey,
    ledger::{ArchivedRange, BrokenChain, LedgerBase, LedgerHead, NewEntry, verify_chain},
    root_key::RootKeys,
    store::LedgerArchived,
};

use crate::world::{ENV, NOW, World, entry, later};

for_each_store!(
    an_empty_ledger_has_an_empty_head,
    an_entry_is_stored_unchanged,
    an_entry_with_a_nul_is_stored_without,
    entries_are_read_in_ordered_pages,
    the_chain_continues_after_a_restart,
    the_chain_verifies_only_under_its_own_key,
    a_removed_entry_breaks_the_chain,
    an_archived_ledger_begins_after_its_archive,
    archived_entries_are_deleted_in_batches,
    only_the_next_entries_are_archived,
    an_archive_keeps_the_root_keys_age,
    a_base_survives_a_root_key_rotation,
);

async fn an_empty_ledger_has_an_empty_head(world: &mut World) {
    assert_eq!(world.store().ledger_head().await.unwrap(), LedgerHead::EMPTY);
    assert_eq!(world.store().ledger_entries(0, 10).await.unwrap(), []);
}

async fn an_entry_with_a_nul_is_stored_without(world: &mut World) {
    world.store().append_entry(entry(NOW, "a\0b")).await.unwrap();
    assert_eq!(world.ledger_targets().await, ["a\u{fffd}b"]);
}

async fn an_entry_is_stored_unchanged(world: &mut World) {
    let hostile = NewEntry {
        at: later(9),
        actor: "key:a/0".to_owned(),
        action: "api_key.create".to_owned(),
        target: "'; DROP TABLE ledger; --".to_owned(),
        detail: String::new(),
        request_id: "line\nbreak".to_owned(),
        peer: "[::1]:1".to_owned(),
        user_agent: "ключ 🔑".to_owned(),
    };
    world.store().append_entry(hostile.clone()).await.unwrap();
    let entries = world.store().ledger_entries(0, 10).await.unwrap();
    assert_eq!((entries.len(), entries[0].sequence, &entries[0].entry), (1, 1, &hostile));
    assert_eq!(world.mirror.changes(), 0);
}

async fn entries_are_read_in_ordered_pages(world: &mut World) {
    for number in 1..=7 {
        world.store().append_entry(entry(NOW, &number.to_string())).await.unwrap();
    }
    let sequences = async |after, limit| -> Vec<i64> {
        let entries = world.store().ledger_entries(after, limit).await.unwrap();
        entries.iter().map(|entry| entry.sequence).collect()
    };
    assert_eq!(sequences(0, 3).await, [1, 2, 3]);
    assert_eq!(sequences(3, 3).await, [4, 5, 6]);
    assert_eq!(sequences(6, 3).await, [7]);
    assert!(sequences(7, 3).await.is_empty() && sequences(0, 0).await.is_empty());
}

async fn the_chain_continues_after_a_restart(world: &mut World) {
    world.create("one").await;
    let head = world.store().ledger_head().await.unwrap();
    world.reopen().await;
    assert_eq!(world.store().ledger_head().await.unwrap(), head);
    world.create("two").await;
    assert_eq!(world.ledger_targets().await, ["one", "two"]);
}

async fn the_chain_verifies_only_under_its_own_key(world: &mut World) {
    world.create("ci").await;
    let entries = world.verified_ledger().await;
    let other = RootKey::new(&[2; 32]).ledger_keys();
    assert_eq!(verify_chain(&other, LedgerHead::EMPTY, &entries), Err(BrokenChain(1)));
}

async fn a_removed_entry_breaks_the_chain(world: &mut World) {
    for id in ["a", "b", "c"] {
        world.create(id).await;
    }
    let mut entries = world.verified_ledger().await;
    entries.remove(1);
    let key = crate::world::root_key().ledger_keys();
    assert_eq!(verify_chain(&key, LedgerHead::EMPTY, &entries), Err(BrokenChain(3)));
}

async fn archive(world: &World, range: ArchivedRange) -> LedgerArchived {
    world.store().archive_ledger(range, entry(NOW, "archive")).await.unwrap()
}

async fn create_three(world: &World) {
    for id in ["a", "b", "c"] {
        world.create(id).await;
    }
}

async fn an_archived_ledger_begins_after_its_archive(world: &mut World) {
    create_three(world).await;
    let range = world.range(2).await;
    assert_eq!(archive(world, range).await, LedgerArchived::Done);
    // Whether or not the archived entries are deleted yet.
    for _ in 0..2 {
        assert_eq!(world.ledger_targets().await, ["c", "archive"]);
        assert_eq!(world.store().ledger_base().await.unwrap(), range.end);
        assert_eq!(world.store().verify_seals().await.unwrap().faults(), [""; 0]);
        world.store().delete_archived(9).await.unwrap();
        world.reopen().await;
    }
    world.create("d").await;
    assert_eq!(world.ledger_targets().await, ["c", "archive", "d"]);
    // Up to its head.
    assert_eq!(archive(world, world.range(5).await).await, LedgerArchived::Done);
    assert_eq!(world.store().delete_archived(9).await.unwrap(), 3);
    assert_eq!(world.ledger_targets().await, ["archive"]);
    assert_eq!(world.store().ledger_head().await.unwrap().sequence, 6);
}

async fn archived_entries_are_deleted_in_batches(world: &mut World) {
    create_three(world).await;
    assert_eq!(world.store().delete_archived(9).await.unwrap(), 0);
    archive(world, world.range(3).await).await;
    for deleted in [2, 1, 0] {
        assert_eq!(world.store().delete_archived(2).await.unwrap(), deleted);
    }
    assert_eq!(world.ledger_targets().await, ["archive"]);
}

async fn only_the_next_entries_are_archived(world: &mut World) {
    create_three(world).await;
    let (first, next) = (world.range(1).await, world.range(2).await);
    let ArchivedRange { base, end } = next;
    let other = LedgerBase { head: LedgerHead { link: [9; 32], ..end.head }, ..end };
    let later = LedgerBase { head: LedgerHead { sequence: 9, ..end.head }, ..end };
    let newer = LedgerBase { root_key_version: 2, ..end };
    for end in [other, later, newer] {
        let range = ArchivedRange { base, end };
        assert_eq!(archive(world, range).await, LedgerArchived::Another);
    }
    let gap = ArchivedRange { base: first.end, end };
    assert_eq!(archive(world, gap).await, LedgerArchived::Elsewhere { base });
    assert_eq!(world.ledger_targets().await, ["a", "b", "c"]);
    assert_eq!(archive(world, first).await, LedgerArchived::Done);
    assert_eq!(archive(world, first).await, LedgerArchived::Already);
    assert_eq!(archive(world, next).await, LedgerArchived::Elsewhere { base: first.end });
    assert_eq!(archive(world, gap).await, LedgerArchived::Done);
    assert_eq!(world.ledger_targets().await, ["c", "archive", "archive"]);
}

async fn an_archive_keeps_the_root_keys_age(world: &mut World) {
    world.create("a").await;
    let known = world.store().root_keys().await.unwrap();
    assert!(known[0].since.is_some());
    archive(world, world.range(1).await).await;
    world.store().delete_archived(9).await.unwrap();
    assert_eq!(world.store().root_keys().await.unwrap(), known);
}

async fn a_base_survives_a_root_key_rotation(world: &mut World) {
    create_three(world).await;
    let range = world.range(2).await;
    archive(world, range).await;
    let (actor, text) = (Actor::Local { uid: 0 }, String::new());
    let caller = Caller { actor, request_id: text.clone(), peer: text.clone(), user_agent: text };
    let root_keys = RootKeys::new(world.root_key.clone(), world.store().clone(), ENV.clone());
    root_keys.rotate(&caller).await.unwrap();
    // Otherwise it would keep the store open.
    drop(root_keys);
    world.reopen().await;
    assert_eq!(world.store().ledger_base().await.unwrap(), range.end);
    assert_eq!(world.store().verify_seals().await.unwrap().faults(), [""; 0]);
    let last = world.verified_ledger().await.pop().unwrap();
    assert_eq!((last.sequence, last.root_key_version), (5, 2));
    assert_eq!(archive(world, world.range(5).await).await, LedgerArchived::Done);
    assert_eq!(world.store().ledger_base().await.unwrap().root_key_version, 2);
}
