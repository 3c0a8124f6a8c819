//! Lists: order, pages, filters.

use std::collections::BTreeSet;

use gatekey_core::{
    ApiKey, Timestamp,
    api_key::list::{
        Condition, Cursor, Field, FieldKind, Filter, Operand, Order, OrderField, Selection,
    },
    api_key::{LastAdmin, Roles},
};
use gatekey_credentials::Role;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::world::{NOW, World, entry, later, new_key, rotation_at};

for_each_store!(
    an_empty_store_lists_nothing,
    a_list_is_in_byte_order,
    every_order_works_in_both_directions,
    a_page_continues_after_a_deleted_key,
    every_condition_compares_as_named,
    an_absent_field_equals_nothing,
    equality_and_containment_are_case_sensitive,
    wildcards_and_quotes_match_themselves,
    a_key_must_match_all_filters,
    a_filter_takes_a_hundred_values,
    listing_and_finding_return_the_same_key,
    any_selection_in_pages_is_the_whole_list,
);

const ORDERS: [OrderField; 3] =
    [OrderField::ClientId, OrderField::ClientName, OrderField::CreatedAt];

const FIELDS: [Field; 7] = [
    Field::ClientId,
    Field::ClientName,
    Field::Role,
    Field::CreatedAt,
    Field::UpdatedAt,
    Field::ExpiresAt,
    Field::DisabledAt,
];

fn by(field: OrderField, descending: bool) -> Selection {
    Selection { order: Order { field, descending }, ..Selection::default() }
}

fn filtered(filters: Vec<Filter>) -> Selection {
    Selection { filters, ..Selection::default() }
}

fn text(value: &str) -> Operand {
    Operand::Text(value.to_owned())
}

fn is(field: Field, value: &str) -> Filter {
    Filter { field, condition: Condition::In(vec![text(value)]) }
}

fn contains(field: Field, value: &str) -> Filter {
    Filter { field, condition: Condition::Contains(value.to_owned()) }
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

/// The cursor of the next page, after the last key of this one.
fn cursor_after(order: Order, key: &ApiKey) -> Cursor {
    let client_id = key.client_id.to_string();
    match order.field {
        OrderField::ClientId => Cursor { text: String::new(), instant: None, client_id },
        OrderField::ClientName => {
            Cursor { text: key.application.client_name.clone(), instant: None, client_id }
        }
        OrderField::CreatedAt => {
            Cursor { text: String::new(), instant: Some(key.created_at), client_id }
        }
    }
}

async fn pages(world: &World, selection: &Selection, size: usize) -> Vec<String> {
    let mut selection = selection.clone();
    let mut client_ids = Vec::new();
    loop {
        let page = world.store().list_keys(selection.clone(), size).await.unwrap();
        assert!(page.len() <= size);
        assert!(client_ids.len() < 1000, "the pages repeat");
        client_ids.extend(page.iter().map(|key| key.client_id.to_string()));
        match page.last() {
            Some(last) if page.len() == size => {
                selection.after = Some(cursor_after(selection.order, last));
            }
            Some(_) | None => return client_ids,
        }
    }
}

async fn an_empty_store_lists_nothing(world: &mut World) {
    assert!(client_ids(world, Selection::default()).await.is_empty());
}

async fn a_list_is_in_byte_order(world: &mut World) {
    for id in ["b", "A", "a", "_0", "B", "-a", "a-b", "a.b", "ab", "10", "9"] {
        world.create(id).await;
    }
    let mut expected = ["b", "A", "a", "_0", "B", "-a", "a-b", "a.b", "ab", "10", "9"];
    expected.sort_unstable();
    assert_eq!(client_ids(world, Selection::default()).await, expected);
}

async fn every_order_works_in_both_directions(world: &mut World) {
    for (id, name, seconds) in
        [("d", "same", 1), ("b", "same", 3), ("c", "other", 1), ("a", "Zoo", 2)]
    {
        create_named(world, id, name, later(seconds)).await;
    }
    for (field, expected) in [
        (OrderField::ClientId, ["a", "b", "c", "d"]),
        (OrderField::ClientName, ["a", "c", "b", "d"]),
        (OrderField::CreatedAt, ["c", "d", "a", "b"]),
    ] {
        assert_eq!(client_ids(world, by(field, false)).await, expected, "{field:?}");
        let mut backwards = expected;
        backwards.reverse();
        assert_eq!(client_ids(world, by(field, true)).await, backwards, "{field:?}");
        for size in 1..=5 {
            assert_eq!(
                pages(world, &by(field, false), size).await,
                expected,
                "{field:?} by {size}"
            );
            assert_eq!(
                pages(world, &by(field, true), size).await,
                backwards,
                "{field:?} by {size}"
            );
        }
    }
}

async fn a_page_continues_after_a_deleted_key(world: &mut World) {
    for id in ["a", "b", "c", "d"] {
        world.create(id).await;
    }
    for field in ORDERS {
        let selection = by(field, false);
        let page = world.store().list_keys(selection.clone(), 2).await.unwrap();
        let last = page.last().unwrap().clone();
        world.store().delete_key(&last.client_id, LastAdmin::Keep, entry(NOW, "b")).await.unwrap();
        let after = Some(cursor_after(selection.order, &last));
        assert_eq!(
            client_ids(world, Selection { after, ..selection }).await,
            ["c", "d"],
            "{field:?}"
        );
        world.create_key(last).await.unwrap();
    }
}

async fn every_condition_compares_as_named(world: &mut World) {
    for (id, name, seconds) in
        [("a", "Straße", 1), ("b", "STRASSE", 2), ("c", "Élan", 3), ("d", "élan", 4)]
    {
        create_named(world, id, name, later(seconds)).await;
    }
    let at = |seconds| Operand::Instant(later(seconds));
    for (field, condition, expected) in [
        (Field::ClientId, Condition::NotEqual(text("b")), "acd"),
        (Field::ClientId, Condition::Above(text("b")), "cd"),
        (Field::ClientId, Condition::AtLeast(text("b")), "bcd"),
        (Field::ClientId, Condition::Below(text("b")), "a"),
        (Field::ClientId, Condition::AtMost(text("b")), "ab"),
        (Field::ClientName, Condition::EndsWith("ße".to_owned()), "a"),
        (Field::ClientName, Condition::EndsWith("Straße".to_owned()), "a"),
        (Field::ClientName, Condition::EndsWith("die Straße".to_owned()), ""),
        (Field::ClientName, Condition::EndsWith(String::new()), "abcd"),
        (Field::ClientName, Condition::EndsWith("e\0".to_owned()), ""),
        (Field::ClientName, Condition::EndsWith("%".to_owned()), ""),
        (Field::ClientName, Condition::NotEndsWith("lan".to_owned()), "ab"),
        (Field::ClientName, Condition::ContainsIgnoringCase("sTrA".to_owned()), "ab"),
        (Field::ClientName, Condition::ContainsIgnoringCase("ÉL".to_owned()), "cd"),
        (Field::ClientName, Condition::ContainsIgnoringCase(String::new()), "abcd"),
        (Field::CreatedAt, Condition::In(vec![at(1), at(3), at(9)]), "ac"),
        (Field::CreatedAt, Condition::NotEqual(at(1)), "bcd"),
        (Field::CreatedAt, Condition::Above(at(2)), "cd"),
        (Field::CreatedAt, Condition::AtLeast(at(2)), "bcd"),
        (Field::CreatedAt, Condition::Below(at(2)), "a"),
        (Field::CreatedAt, Condition::AtMost(at(2)), "ab"),
    ] {
        let filter = Filter { field, condition };
        let listed = client_ids(world, filtered(vec![filter.clone()])).await;
        assert_eq!(listed.concat(), expected, "{filter:?}");
    }
}

async fn an_absent_field_equals_nothing(world: &mut World) {
    let mut key = new_key("dated");
    (key.expires_at, key.disabled_at, key.roles) =
        (Some(later(5)), Some(later(5)), Role::Admin.into());
    world.create_key(key).await.unwrap();
    let mut key = new_key("undated");
    (key.expires_at, key.disabled_at, key.roles) = (None, None, Roles::NONE);
    world.create_key(key).await.unwrap();
    for (field, value) in [
        (Field::ExpiresAt, Operand::Instant(later(5))),
        (Field::DisabledAt, Operand::Instant(later(5))),
        (Field::Role, text("admin")),
    ] {
        for (condition, expected) in [
            (Condition::Exists, vec!["dated"]),
            (Condition::Absent, vec!["undated"]),
            (Condition::In(vec![value.clone()]), vec!["dated"]),
            (Condition::NotEqual(value), vec!["undated"]),
        ] {
            let filter = Filter { field, condition };
            assert_eq!(
                client_ids(world, filtered(vec![filter.clone()])).await,
                expected,
                "{filter:?}"
            );
        }
    }
    for condition in
        [Condition::Above(Operand::Instant(NOW)), Condition::AtMost(Operand::Instant(later(10)))]
    {
        let filter = Filter { field: Field::ExpiresAt, condition };
        assert_eq!(
            client_ids(world, filtered(vec![filter.clone()])).await,
            ["dated"],
            "{filter:?}"
        );
    }
}

async fn equality_and_containment_are_case_sensitive(world: &mut World) {
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

async fn wildcards_and_quotes_match_themselves(world: &mut World) {
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

async fn a_key_must_match_all_filters(world: &mut World) {
    for (id, name) in [("a1", "one"), ("a2", "two"), ("b1", "one")] {
        create_named(world, id, name, NOW).await;
    }
    let filters = vec![contains(Field::ClientId, "a"), is(Field::ClientName, "one")];
    assert_eq!(client_ids(world, filtered(filters)).await, ["a1"]);
    let filters = vec![is(Field::ClientId, "a1"), is(Field::ClientId, "a2")];
    assert!(client_ids(world, filtered(filters)).await.is_empty());
}

async fn a_filter_takes_a_hundred_values(world: &mut World) {
    for id in ["key-3", "key-99", "other"] {
        world.create(id).await;
    }
    let any_of = |values| Filter { field: Field::ClientId, condition: Condition::In(values) };
    let values: Vec<_> = (0..100).rev().map(|number| text(&format!("key-{number}"))).collect();
    let filters = vec![any_of(values); 100];
    assert_eq!(client_ids(world, filtered(filters)).await, ["key-3", "key-99"]);
    assert!(client_ids(world, filtered(vec![any_of(Vec::new())])).await.is_empty());
}

async fn listing_and_finding_return_the_same_key(world: &mut World) {
    for id in ["a", "b", "c"] {
        world.create(id).await;
        world.rotate(id, rotation_at(NOW, 60)).await;
    }
    let listed = world.store().list_keys(Selection::default(), 2).await.unwrap();
    assert_eq!(Some(&listed[0]), world.find("a").await.as_ref());
    assert_eq!(Some(&listed[1]), world.find("b").await.as_ref());
    assert_eq!(listed.len(), 2);
}

/// A field's value; `None` when it is absent.
fn value(key: &ApiKey, field: Field) -> Option<Operand> {
    match field {
        Field::ClientId => Some(text(key.client_id.as_str())),
        Field::ClientName => Some(text(&key.application.client_name)),
        Field::Role => key.role().map(|role| text(role.as_str())),
        Field::CreatedAt => Some(Operand::Instant(key.created_at)),
        Field::UpdatedAt => Some(Operand::Instant(key.updated_at)),
        Field::ExpiresAt => key.expires_at.map(Operand::Instant),
        Field::DisabledAt => key.disabled_at.map(Operand::Instant),
    }
}

fn holds(key: &ApiKey, filter: &Filter) -> bool {
    let value = value(key, filter.field);
    let value = value.as_ref();
    let with_text = |compare: &dyn Fn(&str) -> bool| match value {
        Some(Operand::Text(text)) => compare(text),
        Some(Operand::Instant(_)) | None => false,
    };
    match &filter.condition {
        Condition::In(values) => value.is_some_and(|value| values.contains(value)),
        Condition::NotEqual(other) => value != Some(other),
        Condition::Above(other) => value.is_some_and(|value| value > other),
        Condition::AtLeast(other) => value.is_some_and(|value| value >= other),
        Condition::Below(other) => value.is_some_and(|value| value < other),
        Condition::AtMost(other) => value.is_some_and(|value| value <= other),
        Condition::Contains(part) => with_text(&|text| text.contains(part)),
        Condition::ContainsIgnoringCase(part) => {
            with_text(&|text| text.to_lowercase().contains(&part.to_lowercase()))
        }
        Condition::EndsWith(end) => with_text(&|text| text.ends_with(end)),
        Condition::NotEndsWith(end) => with_text(&|text| !text.ends_with(end)),
        Condition::Exists => value.is_some(),
        Condition::Absent => value.is_none(),
    }
}

/// The expected list, computed without a database.
fn expected(keys: &[ApiKey], selection: &Selection) -> Vec<String> {
    let mut keys: Vec<_> =
        keys.iter().filter(|key| selection.filters.iter().all(|f| holds(key, f))).collect();
    keys.sort_by_key(|key| {
        let first = match selection.order.field {
            OrderField::ClientId => (String::new(), NOW),
            OrderField::ClientName => (key.application.client_name.clone(), NOW),
            OrderField::CreatedAt => (String::new(), key.created_at),
        };
        (first, key.client_id.clone())
    });
    if selection.order.descending {
        keys.reverse();
    }
    keys.iter().map(|key| key.client_id.to_string()).collect()
}

fn operand(kind: FieldKind) -> BoxedStrategy<Operand> {
    match kind {
        FieldKind::Text => "[abAé]{0,2}".prop_map(Operand::Text).boxed(),
        FieldKind::Name => {
            prop::sample::select(Role::ALL.to_vec()).prop_map(|role| text(role.as_str())).boxed()
        }
        FieldKind::Instant => {
            (0_u64..5).prop_map(|seconds| Operand::Instant(later(seconds))).boxed()
        }
    }
}

/// Any condition that a field of this kind supports.
fn condition(kind: FieldKind) -> BoxedStrategy<Condition> {
    let equality = prop_oneof![
        prop::collection::vec(operand(kind), 0..4).prop_map(Condition::In),
        operand(kind).prop_map(Condition::NotEqual),
        Just(Condition::Exists),
        Just(Condition::Absent),
    ];
    let order = prop_oneof![
        operand(kind).prop_map(Condition::Above),
        operand(kind).prop_map(Condition::AtLeast),
        operand(kind).prop_map(Condition::Below),
        operand(kind).prop_map(Condition::AtMost),
    ];
    let part = || "[abABéÉ]{0,2}";
    let parts = prop_oneof![
        part().prop_map(Condition::Contains),
        part().prop_map(Condition::ContainsIgnoringCase),
        part().prop_map(Condition::EndsWith),
        part().prop_map(Condition::NotEndsWith),
    ];
    match kind {
        FieldKind::Text => prop_oneof![equality, order, parts].boxed(),
        FieldKind::Name => equality.boxed(),
        FieldKind::Instant => prop_oneof![equality, order].boxed(),
    }
}

fn filters() -> impl Strategy<Value = Vec<Filter>> {
    let filter = prop::sample::select(FIELDS.to_vec()).prop_flat_map(|field| {
        condition(field.kind()).prop_map(move |condition| Filter { field, condition })
    });
    prop::collection::vec(filter, 0..3)
}

async fn any_selection_in_pages_is_the_whole_list(world: &mut World) {
    let ids: BTreeSet<String> = ["a", "A", "b", "B"]
        .iter()
        .flat_map(|one| ["", "a", "b", "A", "-", ".b"].map(|two| format!("{one}{two}")))
        .collect();
    let mut keys = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let mut key = new_key(id);
        ["a", "ab", "A", "bé", "aA"][number % 5].clone_into(&mut key.application.client_name);
        key.roles = [None, Some(Role::Admin), Some(Role::Viewer)][number % 3].into();
        key.created_at = later(number as u64 % 4);
        key.updated_at = later(number as u64 % 5);
        key.expires_at = (number % 2 == 0).then(|| later(number as u64 % 3));
        key.disabled_at = (number % 7 < 2).then(|| later(number as u64 % 2));
        keys.push(world.create_key(key).await.unwrap());
    }
    let order = (prop::sample::select(ORDERS.to_vec()), any::<bool>())
        .prop_map(|(field, descending)| Order { field, descending });
    let runtime = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        TestRunner::new(ProptestConfig {
            cases: 400,
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
