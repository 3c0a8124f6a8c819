//! How SQLite runs the statements of lists.

use gatekey_core::{
    Timestamp,
    api_key::list::{Condition, Cursor, Field, Filter, Operand, Order, OrderField, Selection},
};
use rusqlite::{Connection, StatementStatus, params_from_iter};

use super::{access::DIALECT, connection::define_lower_case, migrations};
use crate::sql::api_key::list::{Statement, secrets_statement, select};

const FIELDS: [OrderField; 3] =
    [OrderField::ClientId, OrderField::ClientName, OrderField::CreatedAt];

fn orders() -> impl Iterator<Item = Order> {
    FIELDS.into_iter().flat_map(|field| [true, false].map(|descending| Order { field, descending }))
}

fn cursor(number: i64) -> Cursor {
    Cursor {
        text: format!("Key {number:06}"),
        instant: Some(Timestamp::from_micros(number)),
        client_id: format!("key-{number:06}"),
    }
}

fn database(keys: i64) -> Connection {
    let mut connection = Connection::open_in_memory().unwrap();
    migrations::migrate(&mut connection).unwrap();
    connection
        .execute(
            "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
             INSERT INTO api_key
             SELECT printf('key-%06d', n), printf('%032x', n), '', NULL, printf('Key %06d', n), '[]', '',
                    '', 'web', '[]', '', '', '', '', '', 'client_secret_basic', 'none', n, n, NULL,
                    NULL, 1, NULL, NULL, NULL FROM n",
            [keys],
        )
        .unwrap();
    connection
        .execute(
            "INSERT INTO secret SELECT client_id, 1, substr(key_id, 17), '', 1, zeroblob(32), 1, 1, NULL,
             NULL, NULL FROM api_key",
            [],
        )
        .unwrap();
    connection
}

fn statement(selection: &Selection, limit: usize) -> (String, Vec<rusqlite::types::Value>) {
    let Statement { text, values } = Statement::of(selection, limit, &DIALECT);
    let values = values.into_iter().map(|value| match value {
        Operand::Text(text) => text.into(),
        Operand::Instant(instant) => instant.as_micros().into(),
    });
    (text, values.collect())
}

fn plan(connection: &Connection, selection: &Selection) -> String {
    let (statement, values) = statement(selection, 100);
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
    let steps = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
    steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
}

#[test]
fn every_order_uses_its_index_without_sorting() {
    let connection = database(0);
    for order in orders() {
        for after in [None, Some(cursor(1))] {
            let selection = Selection { filters: Vec::new(), order, after };
            let plan = plan(&connection, &selection);
            let index = match order.field {
                OrderField::ClientId => "PRIMARY KEY",
                OrderField::ClientName => "INDEX api_key_by_client_name",
                OrderField::CreatedAt => "INDEX api_key_by_created_at",
            };
            assert!(!plan.contains("TEMP B-TREE"), "{order:?}: {plan}");
            if selection.after.is_some() {
                assert!(
                    plan.contains(&format!("SEARCH api_key USING {index}")),
                    "{order:?}: {plan}"
                );
            } else if order.field != OrderField::ClientId {
                // The table itself is in the order of client ids.
                assert!(plan.contains(&format!("SCAN api_key USING {index}")), "{order:?}: {plan}");
            }
        }
    }
}

fn filter(field: Field, condition: Condition) -> Vec<Filter> {
    vec![Filter { field, condition }]
}

fn text(text: &str) -> Operand {
    Operand::Text(text.to_owned())
}

#[test]
fn a_filtered_list_still_uses_its_index() {
    let connection = database(0);
    define_lower_case(&connection).unwrap();
    let instant = || Operand::Instant(Timestamp::from_micros(1));
    for order in orders() {
        for filters in [
            filter(Field::ClientName, Condition::Contains("deploy".to_owned())),
            filter(Field::ClientName, Condition::ContainsIgnoringCase("deploy".to_owned())),
            filter(Field::ClientName, Condition::EndsWith("deploy".to_owned())),
            filter(Field::ClientName, Condition::AtLeast(text("deploy"))),
            filter(Field::ClientName, Condition::NotEqual(text("deploy"))),
            filter(Field::CreatedAt, Condition::Below(instant())),
            filter(Field::ExpiresAt, Condition::Above(instant())),
            filter(Field::Role, Condition::Absent),
        ] {
            let selection = Selection { filters, order, after: Some(cursor(1)) };
            let plan = plan(&connection, &selection);
            assert!(!plan.contains("TEMP B-TREE"), "{selection:?}: {plan}");
        }
    }
    // Many keys can share a name, so the seek must include the client id.
    let filters = filter(Field::ClientName, Condition::In(vec![text("ci")]));
    let plan =
        plan(&connection, &Selection { filters, order: Order::default(), after: Some(cursor(1)) });
    assert!(plan.contains("api_key_by_client_name (client_name=? AND client_id>?)"), "{plan}");
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn a_page_costs_the_same_at_any_depth() {
    let connection = database(20_000);
    for order in orders() {
        let cost = |after| {
            let selection = Selection { filters: Vec::new(), order, after };
            let (statement, values) = statement(&selection, 100);
            let mut select = connection.prepare(&statement).unwrap();
            let mut rows = select.query(params_from_iter(values)).unwrap();
            let mut count = 0;
            while rows.next().unwrap().is_some() {
                count += 1;
            }
            drop(rows);
            assert_eq!(count, 100);
            select.get_status(StatementStatus::VmStep)
        };
        let first = cost(None);
        let depths = [1000, 10_000, 19_000].map(|depth| {
            let from = if order.descending { 20_000 - depth } else { depth };
            cost(Some(cursor(from)))
        });
        assert!(depths.windows(2).all(|pair| pair[0] == pair[1]), "{order:?}: {depths:?} steps");
        // The comparison with the cursor is the only difference.
        assert!(
            depths[0] * 10 <= first * 12,
            "{order:?}: {first} steps at first, {depths:?} later"
        );
    }
}

#[test]
fn a_page_takes_two_statements() {
    let connection = database(300);
    // A statement prepared for one page serves all; no statement is prepared per key.
    for limit in [1, 2, 100, 300] {
        let (keys, _) = select(&connection, &Selection::default(), limit).unwrap();
        assert_eq!(keys.len(), limit);
        assert!(keys.iter().all(|key| key.secrets.len() == 1));
    }
    let runs = |statement: &str| {
        let select = connection.prepare_cached(statement).unwrap();
        select.get_status(StatementStatus::Run)
    };
    assert_eq!(runs(&statement(&Selection::default(), 1).0), 4);
    assert_eq!(runs(&secrets_statement(&DIALECT)), 4);
    let mut explain =
        connection.prepare(&format!("EXPLAIN QUERY PLAN {}", secrets_statement(&DIALECT))).unwrap();
    let steps = explain.query_map(["[]"], |row| row.get::<_, String>(3)).unwrap();
    let plan: Vec<_> = steps.collect::<Result<_, _>>().unwrap();
    assert!(
        plan.iter().any(|step| step.starts_with("SEARCH secret USING PRIMARY KEY")),
        "{plan:?}"
    );
}
