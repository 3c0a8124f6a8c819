//! Lists: order, pages, filters.

use std::collections::BTreeSet;

use gatekey_core::{
    ApiKey, Timestamp,
    list::{Cursor, Field, Filter, Order, Selection},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::world::{NOW, World, entry, later, new_key, rotation_at};

for_each_store!(
    an_empty_store_lists_nothing,
    a_list_is_in_the_order_of_bytes,
    every_order_works_both_ways_and_client_ids_break_ties,
    a_page_continues_after_a_key_that_was_deleted_meanwhile,
    equality_and_containment_tell_upper_and_lower_case_apart,
    filters_take_wildcards_and_quotes_for_themselves,
    all_filters_must_hold,
    a_filter_takes_as_many_values_as_may_be_asked_for,
    a_listed_key_is_the_key_that_is_found,
    pages_put_together_are_the_list_whatever_the_keys_and_the_selection,
);

const FIELDS: [Field; 3] = [Field::ClientId, Field::ClientName, Field::CreatedAt];

fn by(field: Field, descending: bool) -> Selection {
    Selection { order: Order { field, descending }, ..Selection::default() }
}

fn filtered(filters: Vec<Filter>) -> Selection {
    Selection { filters, ..Selection::default() }
}

fn is(field: Field, value: &str) -> Filter {
    Filter::In(field, vec![value.to_owned()])
}

fn contains(field: Field, value: &str) -> Filter {
    Filter::Contains(field, value.to_owned())
}

async fn client_ids(world: &World, selection: Selection) -> Vec<String> {
    let keys = world.store().list_keys(selection, 1000).await.unwrap();
    keys.iter().map(|key| key.client_id.to_string()).collect()
}

async fn create_named(world: &World, id: &str, name: &str, created_at: Timestamp) {
    let mut key = new_key(id);
    name.clone_into(&mut key.application.client_name);
    key.created_at = created_at;
    world.create_key(key).await.unwrap();
}

/// As a caller continues: after the last key of a page.
fn cursor_after(order: Order, key: &ApiKey) -> Cursor {
    let client_id = key.client_id.to_string();
    match order.field {
        Field::ClientId => Cursor { text: String::new(), instant: None, client_id },
        Field::ClientName => Cursor { text: key.application.client_name.clone(), instant: None, client_id },
        Field::CreatedAt => Cursor { text: String::new(), instant: Some(key.created_at), client_id },
    }
}

async fn pages(world: &World, selection: &Selection, size: usize) -> Vec<String> {
    let mut selection = selection.clone();
    let mut client_ids = Vec::new();
    loop {
        let page = world.store().list_keys(selection.clone(), size).await.unwrap();
        assert!(page.len() <= size);
        assert!(client_ids.len() < 1000, "the pages go in circles");
        client_ids.extend(page.iter().map(|key| key.client_id.to_string()));
        match page.last() {
            Some(last) if page.len() == size => selection.after = Some(cursor_after(selection.order, last)),
            Some(_) | None => return client_ids,
        }
    }
}

async fn an_empty_store_lists_nothing(world: &mut World) {
    assert!(client_ids(world, Selection::default()).await.is_empty());
}

async fn a_list_is_in_the_order_of_bytes(world: &mut World) {
    for id in ["b", "A", "a", "_0", "B", "-a", "a-b", "a.b", "ab", "10", "9"] {
        world.create(id).await;
    }
    let mut expected = ["b", "A", "a", "_0", "B", "-a", "a-b", "a.b", "ab", "10", "9"];
    expected.sort_unstable();
    assert_eq!(client_ids(world, Selection::default()).await, expected);
}

async fn every_order_works_both_ways_and_client_ids_break_ties(world: &mut World) {
    for (id, name, seconds) in [("d", "same", 1), ("b", "same", 3), ("c", "other", 1), ("a", "Zoo", 2)] {
        create_named(world, id, name, later(seconds)).await;
    }
    for (field, expected) in [
        (Field::ClientId, ["a", "b", "c", "d"]),
        (Field::ClientName, ["a", "c", "b", "d"]),
        (Field::CreatedAt, ["c", "d", "a", "b"]),
    ] {
        assert_eq!(client_ids(world, by(field, false)).await, expected, "{field:?}");
        let mut backwards = expected;
        backwards.reverse();
        assert_eq!(client_ids(world, by(field, true)).await, backwards, "{field:?}");
        for size in 1..=5 {
            assert_eq!(pages(world, &by(field, false), size).await, expected, "{field:?} by {size}");
            assert_eq!(pages(world, &by(field, true), size).await, backwards, "{field:?} by {size}");
        }
    }
}

async fn a_page_continues_after_a_key_that_was_deleted_meanwhile(world: &mut World) {
    for id in ["a", "b", "c", "d"] {
        world.create(id).await;
    }
    for field in FIELDS {
        let selection = by(field, false);
        let page = world.store().list_keys(selection.clone(), 2).await.unwrap();
        let last = page.last().unwrap().clone();
        world.store().delete_key(&last.client_id, entry(NOW, "b")).await.unwrap();
        let after = Some(cursor_after(selection.order, &last));
        assert_eq!(client_ids(world, Selection { after, ..selection }).await, ["c", "d"], "{field:?}");
        world.create_key(last).await.unwrap();
    }
}

async fn equality_and_containment_tell_upper_and_lower_case_apart(world: &mut World) {
    create_named(world, "ci", "Deploy Éclair", NOW).await;
    create_named(world, "CI", "deploy éclair", NOW).await;
    for (filter, expected) in [
        (is(Field::ClientId, "ci"), vec!["ci"]),
        (is(Field::ClientName, "deploy éclair"), vec!["CI"]),
        (contains(Field::ClientName, "Deploy"), vec!["ci"]),
        (contains(Field::ClientName, "éclair"), vec!["CI"]),
        (contains(Field::ClientName, "eploy"), vec!["CI", "ci"]),
        (contains(Field::ClientId, "C"), vec!["CI"]),
        (contains(Field::ClientId, ""), vec!["CI", "ci"]),
        (is(Field::ClientId, "c"), vec![]),
    ] {
        assert_eq!(client_ids(world, filtered(vec![filter.clone()])).await, expected, "{filter:?}");
    }
}

async fn filters_take_wildcards_and_quotes_for_themselves(world: &mut World) {
    create_named(world, "percent", "100%", NOW).await;
    create_named(world, "plain", "100", NOW).await;
    create_named(world, "quote", "it's _x_ \\ \"", NOW).await;
    for (part, expected) in [
        ("%", vec!["percent"]),
        ("_", vec!["quote"]),
        ("'", vec!["quote"]),
        ("\\", vec!["quote"]),
        ("\"", vec!["quote"]),
        ("1%0", vec![]),
        ("' OR 1=1 --", vec![]),
        ("100\0", vec![]),
    ] {
        let listed = client_ids(world, filtered(vec![contains(Field::ClientName, part)])).await;
        assert_eq!(listed, expected, "contains {part:?}");
        let listed = client_ids(world, filtered(vec![is(Field::ClientName, part)])).await;
        assert!(listed.is_empty(), "equals {part:?}");
    }
}

async fn all_filters_must_hold(world: &mut World) {
    for (id, name) in [("a1", "one"), ("a2", "two"), ("b1", "one")] {
        create_named(world, id, name, NOW).await;
    }
    let filters = vec![contains(Field::ClientId, "a"), is(Field::ClientName, "one")];
    assert_eq!(client_ids(world, filtered(filters)).await, ["a1"]);
    let filters = vec![is(Field::ClientId, "a1"), is(Field::ClientId, "a2")];
    assert!(client_ids(world, filtered(filters)).await.is_empty());
}

async fn a_filter_takes_as_many_values_as_may_be_asked_for(world: &mut World) {
    for id in ["key-3", "key-99", "other"] {
        world.create(id).await;
    }
    let values: Vec<String> = (0..100).rev().map(|number| format!("key-{number}")).collect();
    let filters = vec![Filter::In(Field::ClientId, values); 100];
    assert_eq!(client_ids(world, filtered(filters)).await, ["key-3", "key-99"]);
    assert!(client_ids(world, filtered(vec![Filter::In(Field::ClientId, Vec::new())])).await.is_empty());
}

async fn a_listed_key_is_the_key_that_is_found(world: &mut World) {
    for id in ["a", "b", "c"] {
        world.create(id).await;
        world.rotate(id, rotation_at(NOW, 60)).await;
    }
    let listed = world.store().list_keys(Selection::default(), 2).await.unwrap();
    assert_eq!(Some(&listed[0]), world.find("a").await.as_ref());
    assert_eq!(Some(&listed[1]), world.find("b").await.as_ref());
    assert_eq!(listed.len(), 2);
}

/// What the list should be, without a database.
fn expected(keys: &[ApiKey], selection: &Selection) -> Vec<String> {
    let text = |key: &ApiKey, field| match field {
        Field::ClientId => key.client_id.to_string(),
        Field::ClientName => key.application.client_name.clone(),
        Field::CreatedAt => unreachable!("orders only"),
    };
    let holds = |key: &ApiKey, filter: &Filter| match filter {
        Filter::In(field, values) => values.contains(&text(key, *field)),
        Filter::Contains(field, part) => text(key, *field).contains(part),
    };
    let mut keys: Vec<_> =
        keys.iter().filter(|key| selection.filters.iter().all(|f| holds(key, f))).collect();
    keys.sort_by_key(|key| {
        let first = match selection.order.field {
            Field::ClientId => (String::new(), NOW),
            Field::ClientName => (key.application.client_name.clone(), NOW),
            Field::CreatedAt => (String::new(), key.created_at),
        };
        (first, key.client_id.clone())
    });
    if selection.order.descending {
        keys.reverse();
    }
    keys.iter().map(|key| key.client_id.to_string()).collect()
}

fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let field = || prop_oneof![Just(Field::ClientId), Just(Field::ClientName)];
    let filter = prop_oneof![
        (field(), prop::collection::vec("[abA]{1,2}", 0..4)).prop_map(|(f, values)| Filter::In(f, values)),
        (field(), "[abA]{0,2}").prop_map(|(f, part)| Filter::Contains(f, part)),
    ];
    prop::collection::vec(filter, 0..3)
}

async fn pages_put_together_are_the_list_whatever_the_keys_and_the_selection(world: &mut World) {
    let ids: BTreeSet<String> = ["a", "A", "b", "B"]
        .iter()
        .flat_map(|one| ["", "a", "b", "A", "-", ".b"].map(|two| format!("{one}{two}")))
        .collect();
    let mut keys = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let mut key = new_key(id);
        ["a", "ab", "A", "bé", "aA"][number % 5].clone_into(&mut key.application.client_name);
        key.created_at = later(number as u64 % 4);
        keys.push(world.create_key(key).await.unwrap());
    }
    let order = (prop::sample::select(FIELDS.to_vec()), any::<bool>())
        .prop_map(|(field, descending)| Order { field, descending });
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        TestRunner::new(ProptestConfig {
            cases: 100,
            failure_persistence: None,
            ..ProptestConfig::default()
        })
        .run(&(filters(), order, 1usize..9), |(filters, order, size)| {
            let selection = Selection { filters, order, after: None };
            let listed = runtime.block_on(pages(world, &selection, size));
            prop_assert_eq!(listed, expected(&keys, &selection));
            Ok(())
        })
        .unwrap();
    });
}
