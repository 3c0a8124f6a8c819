//! Commits, and finds the outcome of those whose answer was lost.

use std::time::{Duration, Instant};

use gatekey_core::Env;

use super::{
    address::DatabaseUrl,
    connection::{Answer, Connection, LOCAL_SETTINGS, Request},
    error::PostgresError,
    reconnect,
    value::Parameter,
};

/// How long the outcome of a commit is asked for before it is reported as failed.
const RESOLVED_WITHIN: Duration = Duration::from_secs(20);

/// A transaction by the number and tag of a row of changes: by the last row before it, with the tag
/// that its rows will have; later by its own last row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Commit {
    pub(super) sequence: i64,
    pub(super) tag: [u8; 16],
}

/// Commits, and looks for the transaction's last row. A server that rolled back answers COMMIT
/// without an error; only the row proves the commit.
pub(super) fn request(Commit { sequence, tag }: Commit) -> Request {
    let tag = u128::from_be_bytes(tag);
    Request::Batch(format!(
        "COMMIT; SELECT 1 FROM change WHERE sequence = {sequence} AND tag = decode('{tag:032x}', 'hex')"
    ))
}

/// What the answers to a transaction's last requests mean. [`PostgresError::Unknown`] if they leave
/// the outcome open.
pub(super) fn judge(
    sent: Result<Vec<Result<Answer, PostgresError>>, PostgresError>,
    was_not_replicated: bool,
) -> Result<(), PostgresError> {
    let Ok(mut answers) = sent else { return Err(PostgresError::Unknown) };
    let committed = answers.pop();
    for answer in answers {
        match answer {
            Ok(_) => {}
            // The transaction is over before its commit.
            Err(refused @ PostgresError::Refused(_)) if !refused.is_of_connection() => {
                return Err(refused);
            }
            Err(_) => return Err(PostgresError::Unknown),
        }
    }
    match committed {
        Some(Ok(Answer::Batch(_))) if was_not_replicated => Err(PostgresError::Unknown),
        Some(Ok(Answer::Batch(rows))) if rows.is_empty() => Err(PostgresError::RolledBack),
        Some(Ok(Answer::Batch(_))) => Ok(()),
        Some(Err(PostgresError::Refused(error)))
            if matches!(error.code().code().get(..2), Some("23" | "40")) =>
        {
            Err(PostgresError::Refused(error))
        }
        Some(_) | None => Err(PostgresError::Unknown),
    }
}

/// Finds out whether a transaction was committed. Returns the connection that did.
pub(super) fn resolve(
    url: &DatabaseUrl,
    env: &Env,
    commit: Commit,
) -> Result<Connection, PostgresError> {
    let began = Instant::now();
    for attempt in 0.. {
        let resolved = reconnect::open(url, env)
            .and_then(|connection| was_committed(&connection, commit).map(|was| (connection, was)));
        match resolved {
            Ok((connection, true)) => return Ok(connection),
            Ok((_, false)) => return Err(PostgresError::RolledBack),
            Err(error) if began.elapsed() >= RESOLVED_WITHIN => return Err(error),
            Err(_) => reconnect::wait(reconnect::pause(env, attempt)),
        }
    }
    Err(PostgresError::Unknown)
}

/// Whether a transaction was committed, durably.
///
/// The lock on the head waits until the server is done with it. A later commit proves that a
/// standby has it too: the log is one stream.
fn was_committed(connection: &Connection, commit: Commit) -> Result<bool, PostgresError> {
    connection.batch(&format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; {LOCAL_SETTINGS};
         UPDATE head SET sequence = sequence"
    ))?;
    let found = connection.rows(
        "SELECT sequence FROM change WHERE sequence = $1 AND tag = $2",
        vec![Parameter::Integer(commit.sequence), Parameter::Bytes(commit.tag.to_vec())],
    )?;
    connection.batch("COMMIT")?;
    if connection.take_not_replicated() {
        return Err(PostgresError::Unknown);
    }
    Ok(!found.is_empty())
}
