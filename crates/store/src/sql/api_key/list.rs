//! Pages of keys: one statement for the keys and one for their secrets, at any depth of the list.

use std::collections::HashMap;

use gatekey_core::{
    ApiKey, Timestamp,
    api_key::list::{Condition, Cursor, Field, Filter, Operand, Order, OrderField, Selection},
    seal::Seal,
};

use super::rows::{self, KEY_COLUMNS, SECRET_COLUMNS};
use crate::sql::{
    access::{Dialect, Sql, Value, all, values},
    columns::{Columns, json},
    failure::Failure,
    known_seals::Seals,
};

/// At most `limit` keys of a selection, in its order, after its cursor. Fails if one is not as the
/// last change left it: a list must not show a role that nobody gave.
pub(super) fn page(
    sql: &dyn Sql,
    seals: &Seals,
    selection: &Selection,
    limit: usize,
) -> Result<Vec<ApiKey>, Failure> {
    let (keys, stored) = select(sql, selection, limit)?;
    seals.verify_all(keys.iter().zip(stored))?;
    Ok(keys)
}

/// The keys of a page, and their stored seals.
pub(crate) fn select(
    sql: &dyn Sql,
    selection: &Selection,
    limit: usize,
) -> Result<(Vec<ApiKey>, Vec<Option<Seal>>), Failure> {
    let Statement { text, values } = Statement::of(selection, limit, sql.dialect());
    let values: Vec<_> = values.iter().map(value).collect();
    let rows = all(sql, &text, &values, |row| {
        Ok((rows::key(row)?, rows::stored_seal(row)?.and_then(Seal::from_bytes)))
    })?;
    let (mut keys, stored): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    add_secrets(sql, &mut keys)?;
    Ok((keys, stored))
}

/// Takes the client ids as one JSON array, so that pages of all sizes share a prepared statement.
pub(crate) fn secrets_statement(dialect: &Dialect) -> String {
    let Dialect { secrets, texts, .. } = dialect;
    format!(
        "SELECT {SECRET_COLUMNS} FROM {secrets} WHERE client_id IN ({texts}) \
         ORDER BY client_id, position"
    )
}

fn add_secrets(sql: &dyn Sql, keys: &mut [ApiKey]) -> Result<(), Failure> {
    let client_ids: Vec<String> = keys.iter().map(|key| key.client_id.to_string()).collect();
    let mut places: HashMap<String, &mut ApiKey> =
        keys.iter_mut().map(|key| (key.client_id.to_string(), key)).collect();
    let statement = secrets_statement(sql.dialect());
    sql.each(&statement, values![&json(&client_ids)], &mut |row| {
        let owner = Columns::new("secret", row).text(0)?;
        if let Some(key) = places.get_mut(owner) {
            key.secrets.push(rows::secret(row)?);
        }
        Ok(())
    })
}

/// The statement of a selection, and its values. The caller's text is never part of the statement.
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) values: Vec<Operand>,
}

impl Statement {
    pub(crate) fn of(selection: &Selection, limit: usize, dialect: &Dialect) -> Self {
        let mut values = Values::default();
        let mut conditions = Vec::new();
        for filter in &selection.filters {
            conditions.push(condition(filter, selection.order, dialect, &mut values));
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
        let limit = values.integer(i64::try_from(limit).unwrap_or(i64::MAX));
        let text = format!(
            "SELECT {KEY_COLUMNS}, seal FROM api_key{conditions} ORDER BY {order} LIMIT {limit}"
        );
        Self { text, values: values.0 }
    }
}

/// The values of a statement. Each call returns the parameter of its value.
#[derive(Default)]
struct Values(Vec<Operand>);

impl Values {
    fn push(&mut self, operand: Operand) -> String {
        self.0.push(operand);
        format!("?{}", self.0.len())
    }

    /// Up to a NUL, which PostgreSQL refuses and no stored text has.
    fn text(&mut self, text: &str) -> String {
        self.push(Operand::Text(until_nul(text).to_owned()))
    }

    fn operand(&mut self, operand: &Operand) -> String {
        match operand {
            Operand::Text(text) => self.text(text),
            Operand::Instant(_) => self.push(operand.clone()),
        }
    }

    fn integer(&mut self, integer: i64) -> String {
        self.push(Operand::Instant(Timestamp::from_micros(integer)))
    }
}

fn condition(filter: &Filter, order: Order, dialect: &Dialect, values: &mut Values) -> String {
    let column = column(filter.field);
    let mut compare = |operator: &str, operand: &Operand| {
        // Otherwise the database could use another index than the order's, and have to sort.
        let hint = if column == order_column(order.field) { "" } else { dialect.without_index };
        format!("{hint}{column} {operator} {}", values.operand(operand))
    };
    match &filter.condition {
        // With one value the index keeps its order; with several the database has to sort.
        Condition::In(wanted) => {
            let wanted = wanted.iter().filter(|wanted| !has_nul(wanted));
            let wanted: Vec<_> = wanted.map(|wanted| values.operand(wanted)).collect();
            match &*wanted {
                [] => "false".to_owned(),
                [one] => format!("{column} = {one}"),
                many => format!("{column} IN ({})", many.join(", ")),
            }
        }
        Condition::NotEqual(operand) if has_nul(operand) => "true".to_owned(),
        Condition::NotEqual(operand) => compare("IS DISTINCT FROM", operand),
        // A text with a NUL follows the same text until there, and precedes all longer ones.
        Condition::AtLeast(operand) if has_nul(operand) => compare(">", operand),
        Condition::Below(operand) if has_nul(operand) => compare("<=", operand),
        Condition::Above(operand) => compare(">", operand),
        Condition::AtLeast(operand) => compare(">=", operand),
        Condition::Below(operand) => compare("<", operand),
        Condition::AtMost(operand) => compare("<=", operand),
        Condition::Contains(part)
        | Condition::ContainsIgnoringCase(part)
        | Condition::EndsWith(part)
            if part.contains('\0') =>
        {
            "false".to_owned()
        }
        Condition::NotEndsWith(end) if end.contains('\0') => format!("{column} IS NOT NULL"),
        // Not LIKE, which ignores case and has wildcards.
        Condition::Contains(part) => contains(column, part, dialect, values),
        Condition::ContainsIgnoringCase(part) => {
            contains(&(dialect.lower)(column), &part.to_lowercase(), dialect, values)
        }
        Condition::EndsWith(end) => ends_with(column, end, values),
        Condition::NotEndsWith(end) => format!("NOT ({})", ends_with(column, end, values)),
        Condition::Exists => format!("{column} IS NOT NULL"),
        Condition::Absent => format!("{column} IS NULL"),
    }
}

fn has_nul(operand: &Operand) -> bool {
    matches!(operand, Operand::Text(text) if text.contains('\0'))
}

fn until_nul(text: &str) -> &str {
    text.split_once('\0').map_or(text, |(before, _)| before)
}

fn contains(text: &str, part: &str, dialect: &Dialect, values: &mut Values) -> String {
    format!("{}({text}, {}) > 0", dialect.position, values.text(part))
}

/// Of a text shorter than the end, `substr` returns a part that is shorter too and never matches.
fn ends_with(column: &str, end: &str, values: &mut Values) -> String {
    let end = values.text(end);
    format!("substr({column}, length({column}) - length({end}) + 1) = {end}")
}

/// Compares row values, which takes one seek in the order's index.
fn after(order: Order, cursor: &Cursor, values: &mut Values) -> String {
    let beyond = if order.descending { '<' } else { '>' };
    let value = match order.field {
        OrderField::ClientId => {
            return format!("client_id {beyond} {}", values.text(&cursor.client_id));
        }
        OrderField::ClientName => values.text(&cursor.text),
        OrderField::CreatedAt => match cursor.instant {
            Some(instant) => values.integer(instant.as_micros()),
            None => "NULL".to_owned(),
        },
    };
    let client_id = values.text(&cursor.client_id);
    format!("({}, client_id) {beyond} ({value}, {client_id})", order_column(order.field))
}

fn value(operand: &Operand) -> Value<'_> {
    match operand {
        Operand::Text(text) => Value::Text(text),
        Operand::Instant(instant) => Value::Integer(instant.as_micros()),
    }
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
