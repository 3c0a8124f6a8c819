//! The schema, one step for each version. A released step never changes.

use rusqlite::Connection;

/// The application id in the file's header: "GKEY".
pub(super) const APPLICATION_ID: i32 = 0x474b_4559;

/// The number of applied steps is the file's `user_version`.
const STEPS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_root_key.sql"),
    include_str!("migrations/0003_seal.sql"),
    include_str!("migrations/0004_signing_key_signs_from.sql"),
    include_str!("migrations/0005_roles.sql"),
    include_str!("migrations/0006_admin_expiry_and_high_s.sql"),
    include_str!("migrations/0007_limits.sql"),
    include_str!("migrations/0008_ledger_base.sql"),
];

/// The schema version of this program.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "there are a handful of steps"
)]
pub(super) const VERSION: i32 = STEPS.len() as i32;

/// The schema version of a database.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Migrates a database to [`VERSION`]. Each step is one transaction.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    loop {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
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

/// Makes an older database readable as if it were migrated, without changing it: views that only
/// this connection sees replace the tables of the missing steps.
pub(super) fn stand_in(connection: &Connection, version: i32) -> rusqlite::Result<()> {
    if version < 3 {
        let root_key_version = if version < 2 { "1 AS root_key_version," } else { "" };
        connection.execute_batch(&format!(
            "CREATE TEMP VIEW ledger AS SELECT *, {root_key_version} NULL AS state FROM main.ledger;
             CREATE TEMP VIEW denial AS SELECT *, NULL AS seal FROM main.denial;
             CREATE TEMP VIEW state AS SELECT NULL AS sealed WHERE false;"
        ))?;
    }
    if version < 2 {
        connection.execute_batch(
            "CREATE TEMP VIEW root_key AS SELECT NULL AS version, NULL AS key_check, NULL AS since,
                 NULL AS retired_at, NULL AS ledger_key WHERE false;",
        )?;
    }
    if version < 6 {
        let seal = if version < 3 { "NULL AS seal," } else { "" };
        let signs_from = if version < 4 { "created_at AS signs_from," } else { "" };
        connection.execute_batch(&format!(
            "CREATE TEMP VIEW signing_key AS SELECT *, {seal} {signs_from} NULL AS high_s_until
                 FROM main.signing_key;
             CREATE TEMP VIEW secret AS SELECT *, expires_at AS admin_expiry FROM main.secret;"
        ))?;
    }
    if version < 8 {
        connection.execute_batch(
            "CREATE TEMP VIEW ledger_base AS SELECT NULL AS sequence, NULL AS link,
                 NULL AS root_key_version WHERE false;",
        )?;
    }
    if version < 7 {
        let seal = if version < 3 { "NULL AS seal," } else { "" };
        let other_roles = if version < 5 { "NULL AS other_roles," } else { "" };
        connection.execute_batch(&format!(
            "CREATE TEMP VIEW api_key AS SELECT *, {seal} {other_roles} NULL AS limits
                 FROM main.api_key;"
        ))?;
    }
    Ok(())
}
