//! Copies everything from one database to another, as it is: no secret, token, seal or link of the
//! ledger changes.

use super::{
    access::{Cell, Row, Sql, Value, all},
    columns::Columns,
    failure::Failure,
};

/// Rows read at once.
const PAGE: usize = 500;

struct Table {
    name: &'static str,
    /// The first columns, in whose order the rows are copied.
    key: &'static [&'static str],
    others: &'static [&'static str],
}

/// In an order in which rows refer to earlier ones only.
const TABLES: &[Table] = &[
    Table {
        name: "api_key",
        key: &["client_id"],
        others: &[
            "client_name",
            "key_id",
            "organization",
            "role",
            "other_roles",
            "redirect_uris",
            "response_types",
            "grant_types",
            "application_type",
            "contacts",
            "logo_uri",
            "client_uri",
            "policy_uri",
            "tos_uri",
            "jwks_uri",
            "token_endpoint_auth_method",
            "consent_method",
            "limits",
            "created_at",
            "updated_at",
            "expires_at",
            "disabled_at",
            "epoch",
            "seal",
        ],
    },
    Table {
        name: "secret",
        key: &["client_id", "position"],
        others: &[
            "secret_id",
            "label",
            "pepper_version",
            "mac",
            "created_at",
            "not_before",
            "expires_at",
            "admin_expiry",
        ],
    },
    Table { name: "denial", key: &["client_id", "jti"], others: &["expires_at", "seal"] },
    Table {
        name: "replay",
        key: &["created_at", "client_id"],
        others: &["actor", "request_id", "digest", "repeats"],
    },
    Table {
        name: "signing_key",
        key: &["position"],
        others: &[
            "kid",
            "algorithm",
            "sealed",
            "created_at",
            "signs_from",
            "published_until",
            "high_s_until",
            "seal",
        ],
    },
    Table { name: "sealed", key: &["name"], others: &["bytes"] },
    Table {
        name: "root_key",
        key: &["version"],
        others: &["key_check", "since", "retired_at", "ledger_key"],
    },
    Table { name: "ledger_base", key: &["id"], others: &["sequence", "link", "root_key_version"] },
    Table {
        name: "ledger",
        key: &["sequence"],
        others: &[
            "at",
            "actor",
            "action",
            "target",
            "detail",
            "request_id",
            "peer",
            "user_agent",
            "link",
            "root_key_version",
            "state",
        ],
    },
    Table { name: "state", key: &["id"], others: &["sealed"] },
];

/// Copies everything into an empty database.
pub(crate) fn copy(from: &dyn Sql, to: &dyn Sql) -> Result<(), Failure> {
    for table in TABLES {
        copy_table(table, from, to)?;
    }
    copy_uses(from, to)
}

fn copy_table(table: &Table, from: &dyn Sql, to: &dyn Sql) -> Result<(), Failure> {
    let Table { name, key, others } = table;
    let columns = [*key, *others].concat();
    let select = |condition: &str| {
        let (columns, order) = (columns.join(", "), key.join(", "));
        format!("SELECT {columns} FROM {name} {condition} ORDER BY {order} LIMIT {PAGE}")
    };
    let (first, later) = (select(""), select(&format!("WHERE {}", after(key))));
    let insert = |columns: &[&str]| {
        format!("INSERT INTO {name} ({}) VALUES ({})", columns.join(", "), places(columns.len()))
    };
    let has_lower_name = *name == "api_key" && to.dialect().has_lower_name;
    let insert = if has_lower_name {
        insert(&[&*columns, &["lower_client_name"]].concat())
    } else {
        insert(&columns)
    };
    let mut last: Option<Vec<Copied>> = None;
    loop {
        let read = |row: &dyn Row| (0..columns.len()).map(|at| copied(name, row, at)).collect();
        let rows: Vec<Vec<Copied>> = match &last {
            None => all(from, &first, &[], read)?,
            Some(last) => {
                let last: Vec<_> = last[..key.len()].iter().map(Copied::value).collect();
                all(from, &later, &last, read)?
            }
        };
        for row in &rows {
            let mut values: Vec<_> = row.iter().map(Copied::value).collect();
            let lower = match &row[key.len()] {
                Copied::Text(client_name) if has_lower_name => Some(client_name.to_lowercase()),
                _ => None,
            };
            values.extend(lower.as_ref().map(Value::from));
            to.execute(&insert, &values)?;
        }
        let is_last = rows.len() < PAGE;
        last = rows.into_iter().next_back();
        if is_last {
            return Ok(());
        }
    }
}

fn copy_uses(from: &dyn Sql, to: &dyn Sql) -> Result<(), Failure> {
    let secrets = from.dialect().secrets;
    let select = format!(
        "SELECT secret_id, last_used_at FROM {secrets}
         WHERE last_used_at IS NOT NULL AND secret_id > ?1 ORDER BY secret_id LIMIT {PAGE}"
    );
    let mut after = String::new();
    loop {
        let uses: Vec<(String, i64)> = all(from, &select, &[Value::Text(&after)], |row| {
            let columns = Columns::new("secret", row);
            Ok((columns.string(0)?, columns.integer(1)?))
        })?;
        for (secret_id, at) in &uses {
            let values = [Value::from(secret_id), Value::from(*at)];
            to.execute(to.dialect().record_use, &values)?;
        }
        match uses.into_iter().next_back() {
            Some((last, _)) => after = last,
            None => return Ok(()),
        }
    }
}

/// `(a, b) > (?1, ?2)`.
fn after(key: &[&str]) -> String {
    format!("({}) > ({})", key.join(", "), places(key.len()))
}

fn places(count: usize) -> String {
    (1..=count).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
}

enum Copied {
    Null,
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Copied {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(integer) => Value::Integer(*integer),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

fn copied(table: &'static str, row: &dyn Row, index: usize) -> Result<Copied, Failure> {
    match row.cell(index) {
        Cell::Null => Ok(Copied::Null),
        Cell::Integer(integer) => Ok(Copied::Integer(integer)),
        Cell::Text(text) => Ok(Copied::Text(text.to_owned())),
        Cell::Bytes(bytes) => Ok(Copied::Bytes(bytes.to_vec())),
        Cell::Other => Err(Columns::new(table, row).contradiction(index)),
    }
}
