//! Pages of keys: one statement for the keys and one for their secrets, at any depth of the list.

use std::collections::HashMap;

use gatekey_core::{
    ApiKey,
    api_key::list::{Condition, Cursor, Field, Filter, Operand, Order, OrderField, Selection},
    seal::Seal,
};
use rusqlite::{Connection, params_from_iter, types::Value};

use super::rows::{self, KEY_COLUMNS, SECRET_COLUMNS};
use crate::sqlite::{
    columns::{Columns, json, micros},
    connection::LOWER_CASE,
    failure::Failure,
    known_seals::Seals,
};

/// At most `limit` keys of a selection, in its order, after its cursor. Fails if one is not as the
/// last change left it: a list must not show a role that nobody gave.
pub(super) fn page(
    connection: &Connection,
    seals: &Seals,
    selection: &Selection,
    limit: usize,
) -> Result<Vec<ApiKey>, Failure> {
    let (keys, stored) = select(connection, selection, limit)?;
    seals.verify_all(keys.iter().zip(stored))?;
    Ok(keys)
}

/// The keys of a page, and their stored seals.
fn select(
    connection: &Connection,
    selection: &Selection,
    limit: usize,
) -> Result<(Vec<ApiKey>, Vec<Option<Seal>>), Failure> {
    let (statement, values) = statement(selection, limit);
    let mut select = connection.prepare_cached(&statement)?;
    let mut rows = select.query(params_from_iter(values))?;
    let (mut keys, mut stored) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        keys.push(rows::key(row)?);
        stored.push(rows::stored_seal(row)?.and_then(Seal::from_bytes));
    }
    add_secrets(connection, &mut keys)?;
    Ok((keys, stored))
}

/// Takes the client ids as one JSON array, so that pages of all sizes share a prepared statement.
fn secrets_statement() -> String {
    format!(
        "SELECT {SECRET_COLUMNS} FROM secret WHERE client_id IN (SELECT value FROM json_each(?1)) \
         ORDER BY client_id, position"
    )
}

fn add_secrets(connection: &Connection, keys: &mut [ApiKey]) -> Result<(), Failure> {
    let client_ids: Vec<String> = keys.iter().map(|key| key.client_id.to_string()).collect();
    let mut places: HashMap<String, &mut ApiKey> =
        keys.iter_mut().map(|key| (key.client_id.to_string(), key)).collect();
    let mut select = connection.prepare_cached(&secrets_statement())?;
    let mut rows = select.query([json(&client_ids)])?;
    while let Some(row) = rows.next()? {
        let owner = Columns::new("secret", row).text(0)?;
        if let Some(key) = places.get_mut(owner) {
            key.secrets.push(rows::secret(row)?);
        }
    }
    Ok(())
}

/// The statement of a selection, and its values. The caller's text is never part of the statement.
fn statement(selection: &Selection, limit: usize) -> (String, Vec<Value>) {
    let mut conditions = Vec::new();
    let mut values = Vec::new();
    for filter in &selection.filters {
        conditions.push(condition(filter, selection.order, &mut values));
    }
    if let Some(cursor) = &selection.after {
        conditions.push(after(selection.order, cursor, &mut values));
    }
    let conditions = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    let direction = if selection.order.descending { "DESC" } else { "ASC" };
    let order = match selection.order.field {
        OrderField::ClientId => format!("client_id {direction}"),
        field @ (OrderField::ClientName | OrderField::CreatedAt) => {
            format!("{} {direction}, client_id {direction}", order_column(field))
        }
    };
    values.push(Value::Integer(i64::try_from(limit).unwrap_or(i64::MAX)));
    (
        format!("SELECT {KEY_COLUMNS}, seal FROM api_key{conditions} ORDER BY {order} LIMIT ?"),
        values,
    )
}

fn condition(filter: &Filter, order: Order, values: &mut Vec<Value>) -> String {
    let column = column(filter.field);
    let mut compare = |operator: &str, operand: &Operand| {
        values.push(value(operand));
        // The plus stops SQLite from using another index than the order's, and having to sort.
        let plus = if column == order_column(order.field) { "" } else { "+" };
        format!("{plus}{column} {operator} ?")
    };
    match &filter.condition {
        Condition::In(wanted) => {
            values.extend(wanted.iter().map(value));
            // With one value the index keeps its order; with several SQLite has to sort.
            match wanted.len() {
                1 => format!("{column} = ?"),
                many => format!("{column} IN ({})", vec!["?"; many].join(", ")),
            }
        }
        Condition::NotEqual(operand) => compare("IS NOT", operand),
        Condition::Above(operand) => compare(">", operand),
        Condition::AtLeast(operand) => compare(">=", operand),
        Condition::Below(operand) => compare("<", operand),
        Condition::AtMost(operand) => compare("<=", operand),
        Condition::Contains(part) => {
            values.push(Value::Text(part.clone()));
            // Not LIKE, which ignores case and has wildcards.
            format!("instr({column}, ?) > 0")
        }
        Condition::ContainsIgnoringCase(part) => {
            values.push(Value::Text(part.to_lowercase()));
            // Not lower(), which only converts ASCII.
            format!("instr({LOWER_CASE}({column}), ?) > 0")
        }
        Condition::EndsWith(end) => {
            values.extend([Value::Text(end.clone()), Value::Text(end.clone())]);
            ends_with(column)
        }
        Condition::NotEndsWith(end) => {
            values.extend([Value::Text(end.clone()), Value::Text(end.clone())]);
            format!("NOT ({})", ends_with(column))
        }
        Condition::Exists => format!("{column} IS NOT NULL"),
        Condition::Absent => format!("{column} IS NULL"),
    }
}

/// Of a text shorter than the end, `substr` returns a part that is shorter too and never matches.
fn ends_with(column: &str) -> String {
    format!("substr({column}, length({column}) - length(?) + 1) = ?")
}

fn value(operand: &Operand) -> Value {
    match operand {
        Operand::Text(text) => Value::Text(text.clone()),
        Operand::Instant(instant) => Value::Integer(instant.as_micros()),
    }
}

/// Compares row values, which takes one seek in the order's index.
fn after(order: Order, cursor: &Cursor, values: &mut Vec<Value>) -> String {
    let beyond = if order.descending { '<' } else { '>' };
    let client_id = Value::Text(cursor.client_id.clone());
    let value = match order.field {
        OrderField::ClientId => {
            values.push(client_id);
            return format!("client_id {beyond} ?");
        }
        OrderField::ClientName => Value::Text(cursor.text.clone()),
        OrderField::CreatedAt => micros(cursor.instant).into(),
    };
    values.extend([value, client_id]);
    format!("({}, client_id) {beyond} (?, ?)", order_column(order.field))
}

fn column(field: Field) -> &'static str {
    match field {
        Field::ClientId => "client_id",
        Field::ClientName => "client_name",
        Field::Role => "role",
        Field::CreatedAt => "created_at",
        Field::UpdatedAt => "updated_at",
        Field::ExpiresAt => "expires_at",
        Field::DisabledAt => "disabled_at",
    }
}

fn order_column(field: OrderField) -> &'static str {
    match field {
        OrderField::ClientId => "client_id",
        OrderField::ClientName => "client_name",
        OrderField::CreatedAt => "created_at",
    }
}

#[cfg(test)]
mod tests {
    use gatekey_core::Timestamp;
    use rusqlite::StatementStatus;

    use super::*;
    use crate::sqlite::{connection::define_lower_case, migrations};

    const FIELDS: [OrderField; 3] =
        [OrderField::ClientId, OrderField::ClientName, OrderField::CreatedAt];

    fn orders() -> impl Iterator<Item = Order> {
        FIELDS
            .into_iter()
            .flat_map(|field| [true, false].map(|descending| Order { field, descending }))
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

    fn plan(connection: &Connection, selection: &Selection) -> String {
        let (statement, values) = statement(selection, 100);
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}")).unwrap();
        let steps =
            explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
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
                    assert!(
                        plan.contains(&format!("SCAN api_key USING {index}")),
                        "{order:?}: {plan}"
                    );
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
        let plan = plan(
            &connection,
            &Selection { filters, order: Order::default(), after: Some(cursor(1)) },
        );
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
            assert!(
                depths.windows(2).all(|pair| pair[0] == pair[1]),
                "{order:?}: {depths:?} steps"
            );
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
        assert_eq!(runs(&secrets_statement()), 4);
        let mut explain =
            connection.prepare(&format!("EXPLAIN QUERY PLAN {}", secrets_statement())).unwrap();
        let steps = explain.query_map(["[]"], |row| row.get::<_, String>(3)).unwrap();
        let plan: Vec<_> = steps.collect::<Result<_, _>>().unwrap();
        assert!(
            plan.iter().any(|step| step.starts_with("SEARCH secret USING PRIMARY KEY")),
            "{plan:?}"
        );
    }
}
