//! The ledger.

use gatekey_core::{
    RootKey,
    ledger::{BrokenChain, LedgerHead, NewEntry, verify_chain},
};

use crate::world::{NOW, World, entry, later};

for_each_store!(
    an_empty_ledger_has_an_empty_head,
    an_entry_is_stored_unchanged,
    entries_are_read_in_ordered_pages,
    the_chain_continues_after_a_restart,
    the_chain_verifies_only_under_its_own_key,
    a_removed_entry_breaks_the_chain,
);

async fn an_empty_ledger_has_an_empty_head(world: &mut World) {
    assert_eq!(world.store().ledger_head().await.unwrap(), LedgerHead::EMPTY);
    assert_eq!(world.store().ledger_entries(0, 10).await.unwrap(), []);
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
