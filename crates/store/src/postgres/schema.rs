//! The schema, one step for each version. A released step never changes.
//!
//! A step only adds, so that nodes of the release before keep working beside newer ones; what they
//! still need is removed a release later. `schema_version` says which programs may use a database.

use gatekey_core::Env;

use super::{connection::Connection, error::PostgresError, reconnect};

/// The number of applied steps is the version in `schema_version`.
const STEPS: &[Step] = &[Step { statements: include_str!("schema/0001_initial.sql"), oldest: 1 }];

struct Step {
    statements: &'static str,
    /// The oldest version of which a program may use the database after this step.
    oldest: i64,
}

/// The schema version of this program.
const VERSION: usize = STEPS.len();

/// How often a step is tried that another node may be making too.
const ATTEMPTS: u32 = 20;

/// Migrates a database to [`VERSION`], beside other nodes that do the same. Each step is one
/// transaction.
pub(super) fn migrate(connection: &Connection, env: &Env) -> Result<(), PostgresError> {
    for attempt in 0..ATTEMPTS {
        match step(connection) {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            // Another node made the step at the same time, or holds a lock that it needs.
            Err(PostgresError::Refused(error))
                if matches!(
                    error.code().code(),
                    "23505" | "42P07" | "42710" | "55P03" | "40P01"
                ) =>
            {
                connection.batch("ROLLBACK")?;
                reconnect::wait(reconnect::pause(env, attempt));
            }
            Err(error) => return Err(error),
        }
    }
    Err(PostgresError::Unusable("the schema could not be migrated beside other nodes".to_owned()))
}

/// Makes one step. Returns whether none is left.
fn step(connection: &Connection) -> Result<bool, PostgresError> {
    let version = version(connection)?;
    let done = usize::try_from(version.number).unwrap_or(usize::MAX);
    if version.oldest > i64::try_from(VERSION).unwrap_or(i64::MAX) {
        return Err(PostgresError::Unusable(format!(
            "its schema {} is too new for this version of Gatekey, which has {VERSION}; run a newer version",
            version.number
        )));
    }
    let Some(Step { statements, oldest }) = STEPS.get(done) else { return Ok(true) };
    let number = done + 1;
    let versions = if done == 0 {
        format!(
            "CREATE TABLE schema_version (
                 id BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
                 version BIGINT NOT NULL,
                 min_reader BIGINT NOT NULL,
                 min_writer BIGINT NOT NULL
             );
             INSERT INTO schema_version (id, version, min_reader, min_writer)
                 VALUES (1, {number}, {oldest}, {oldest})"
        )
    } else {
        format!(
            "UPDATE schema_version SET version = {number}, min_reader = {oldest}, min_writer = {oldest}
                 WHERE version = {done}"
        )
    };
    // The table of versions first: of several nodes, one makes or locks it, and the others wait.
    connection.batch(&format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
         SET LOCAL lock_timeout = '5s';
         {versions};
         {statements};
         COMMIT"
    ))?;
    tracing::info!(version = number, "migrated the schema of the database");
    Ok(number == VERSION)
}

struct Version {
    number: i64,
    oldest: i64,
}

/// The version of a database; 0 if it is empty.
fn version(connection: &Connection) -> Result<Version, PostgresError> {
    let exists = connection.rows("SELECT to_regclass('schema_version') IS NOT NULL", Vec::new())?;
    if !exists.first().is_some_and(|row| row.get(0)) {
        return Ok(Version { number: 0, oldest: 0 });
    }
    let select = "SELECT version, min_writer FROM schema_version";
    let rows = connection.rows(select, Vec::new()).map_err(|error| match error {
        PostgresError::Refused(error) if error.code().code() == "42703" => PostgresError::Unusable(
            "it belongs to another program; give Gatekey its own".to_owned(),
        ),
        error => error,
    })?;
    let row = rows
        .first()
        .ok_or_else(|| PostgresError::Unusable("its table schema_version has no row".to_owned()))?;
    Ok(Version { number: row.get(0), oldest: row.get(1) })
}
