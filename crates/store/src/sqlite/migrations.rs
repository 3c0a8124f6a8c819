//! The schema, one step for each version. A step that was released never changes.

use rusqlite::Connection;

/// Says in the file's header that it is ours: "GKEY".
pub(super) const APPLICATION_ID: i32 = 0x474b_4559;

/// Step by step; the number of steps done is the file's `user_version`.
const STEPS: &[&str] = &[include_str!("migrations/0001_initial.sql")];

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
