//! The schema, one step for each version. A step that was released never changes.

use rusqlite::Connection;

/// Says in the file's header that it is ours: "GKEY".
pub(super) const APPLICATION_ID: i32 = 0x474b_4559;

/// Step by step; the number of steps done is the file's `user_version`.
const STEPS: &[&str] =
    &[include_str!("migrations/0001_initial.sql"), include_str!("migrations/0002_root_key.sql")];

/// The version of the schema that this program knows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "there are a handful of steps"
)]
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// The version of a database.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a database to the version that this program knows. Each step is done whole or not at all.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    loop {
        let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let version = version(&transaction)?;
        let Some(step) = usize::try_from(version).ok().and_then(|done| STEPS.get(done)) else {
            return Ok(());
        };
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
}

/// Has what is only looked at answer as if it were of the version that this program knows: with views that this
/// connection alone sees, in place of what the steps not done would make.
pub(super) fn stand_in(connection: &Connection, version: i32) -> rusqlite::Result<()> {
    if version < 2 {
        connection.execute_batch(
            "CREATE TEMP VIEW ledger AS SELECT *, 1 AS root_key_version FROM main.ledger;
             CREATE TEMP VIEW root_key AS SELECT NULL AS version, NULL AS key_check, NULL AS since,
                 NULL AS retired_at, NULL AS ledger_key WHERE false;",
        )?;
    }
    Ok(())
}
