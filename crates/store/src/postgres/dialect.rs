//! What PostgreSQL's SQL needs instead of SQLite's.

use crate::sql::access::Dialect;

pub(super) static DIALECT: Dialect = Dialect {
    secrets: "secret LEFT JOIN secret_use USING (secret_id)",
    texts: "SELECT json_array_elements_text(CAST(?1 AS json))",
    position: "strpos",
    lower: |column| match column {
        "client_name" => "lower_client_name".to_owned(),
        // ASCII, in the collation of bytes.
        column => format!("lower({column})"),
    },
    has_lower_name: true,
    // Only of a secret that exists.
    record_use: "INSERT INTO secret_use (secret_id, last_used_at)
         SELECT secret_id, ?2 FROM secret WHERE secret_id = ?1
         ON CONFLICT (secret_id) DO UPDATE SET last_used_at = excluded.last_used_at
             WHERE secret_use.last_used_at < excluded.last_used_at",
    // The last one stays: it is the place in the history of changes.
    purge: Some(
        "DELETE FROM change
         WHERE at < now() - INTERVAL '1 hour' AND sequence < (SELECT sequence FROM head)",
    ),
    without_index: "",
};

/// Whether a statement of this crate writes.
pub(super) fn is_write(statement: &str) -> bool {
    !statement.trim_start().starts_with("SELECT")
}
