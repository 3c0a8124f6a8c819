//! Signing keys, sealed.

use gatekey_core::{
    Timestamp,
    ledger::NewEntry,
    signing_key::{SealedSigningKey, SigningKeyRetired},
    store::Change,
};
use rusqlite::{Connection, params};

use super::{
    failure::Failure,
    rows::{Columns, micros},
    transaction::Transaction,
};

pub(super) fn rotate(
    transaction: &mut Transaction<'_>,
    key: &SealedSigningKey,
    others_published_until: Timestamp,
    entry: &NewEntry,
) -> Result<(), Failure> {
    // A key retired earlier keeps its earlier date: it has signed nothing since.
    transaction
        .connection()
        .prepare_cached("UPDATE signing_key SET published_until = ?1 WHERE published_until IS NULL")?
        .execute([others_published_until.as_micros()])?;
    let mut insert = transaction.connection().prepare_cached(
        "INSERT INTO signing_key (kid, algorithm, sealed, created_at, published_until)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    insert.execute(params![
        key.kid,
        key.algorithm.as_str(),
        key.sealed,
        key.created_at.as_micros(),
        micros(key.published_until)
    ])?;
    drop(insert);
    transaction.append(entry)?;
    let keys = all(transaction.connection())?;
    transaction.report(Change::SigningKeys(keys));
    Ok(())
}

/// Every signing key, in the order in which they were made.
pub(super) fn retire(
    transaction: &mut Transaction<'_>,
    kid: &str,
    entry: &NewEntry,
) -> Result<SigningKeyRetired, Failure> {
    let mut keys = all(transaction.connection())?;
    let Some(key) = keys.iter_mut().find(|key| key.kid == kid) else { return Ok(SigningKeyRetired::Absent) };
    let Some(until) = key.published_until else { return Ok(SigningKeyRetired::Signs) };
    key.published_until = Some(until.min(entry.at));
    transaction
        .connection()
        .prepare_cached("UPDATE signing_key SET published_until = ?2 WHERE kid = ?1")?
        .execute(params![kid, micros(key.published_until)])?;
    transaction.append(entry)?;
    transaction.report(Change::SigningKeys(keys));
    Ok(SigningKeyRetired::Done)
}

pub(super) fn all(connection: &Connection) -> Result<Vec<SealedSigningKey>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT kid, algorithm, sealed, created_at, published_until FROM signing_key ORDER BY position",
    )?;
    let mut rows = select.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let columns = Columns::new("signing_key", row);
        keys.push(SealedSigningKey {
            kid: columns.string(0)?,
            algorithm: columns.parsed(1)?,
            sealed: columns.bytes(2)?.to_vec(),
            created_at: columns.instant(3)?,
            published_until: columns.optional_instant(4)?,
        });
    }
    Ok(keys)
}
