//! The rows of the deny-list.

use gatekey_core::{
    Timestamp,
    seal::{SealedRow, Table},
    store::Change,
    token::DeniedToken,
};
use gatekey_credentials::ClientId;
use rusqlite::{Connection, Params, Rows, params};

use super::{columns::Columns, failure::Failure, transaction::Transaction};

/// Adds a token to the deny-list, and reports it.
pub(super) fn insert(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    token: DeniedToken,
) -> Result<(), Failure> {
    let seal = transaction.seal(SealedRow::Denial(&token))?;
    transaction
        .connection()
        .prepare_cached(
            "INSERT INTO denial (client_id, jti, expires_at, seal) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![client_id.as_str(), token.jti, token.expires_at.as_micros(), seal])?;
    transaction.report(Change::TokenDenied(token));
    Ok(())
}

/// Seals the denials of a key that are not sealed under the newest version. One that does not match
/// its seal loses it.
pub(super) fn reseal(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
) -> Result<(), Failure> {
    let mut denials = Vec::new();
    let mut select = transaction
        .connection()
        .prepare_cached(&format!("{DENIALS} WHERE denial.client_id = ?1"))?;
    read(&mut select.query([client_id.as_str()])?, |denied, seal| {
        denials.push((denied, seal.map(<[u8]>::to_vec)));
    })?;
    drop(select);
    for (denied, stored) in denials {
        if let Some(seal) =
            transaction.sealed_again(SealedRow::Denial(&denied), stored.as_deref())?
        {
            transaction
                .connection()
                .prepare_cached("UPDATE denial SET seal = ?3 WHERE client_id = ?1 AND jti = ?2")?
                .execute(params![client_id.as_str(), denied.jti, seal])?;
        }
    }
    Ok(())
}

/// Deletes the denials of a key.
pub(super) fn delete_all(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
) -> Result<(), Failure> {
    delete(transaction, "WHERE denial.client_id = ?1", [client_id.as_str()])
}

/// Deletes the denials of expired tokens.
pub(super) fn delete_expired(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
) -> Result<(), Failure> {
    delete(transaction, "WHERE denial.expires_at <= ?1", [now.as_micros()])
}

/// A denial that does not match its seal stays in the digest, so that its deletion is noticed.
fn delete(
    transaction: &mut Transaction<'_>,
    condition: &str,
    values: impl Params + Clone,
) -> Result<(), Failure> {
    let mut seals = Vec::new();
    let mut select = transaction.connection().prepare_cached(&format!("{DENIALS} {condition}"))?;
    read(&mut select.query(values.clone())?, |denied, seal| {
        if transaction.verify(SealedRow::Denial(&denied), seal) {
            seals.push(seal.map(<[u8]>::to_vec));
        }
    })?;
    drop(select);
    for seal in seals {
        transaction.unseal(Table::Denials, seal.as_deref())?;
    }
    transaction
        .connection()
        .prepare_cached(&format!("DELETE FROM denial {condition}"))?
        .execute(values)?;
    Ok(())
}

const DENIALS: &str = "SELECT jti, denial.expires_at, key_id, denial.seal FROM denial JOIN api_key \
                       USING (client_id)";

/// Passes each entry of the deny-list with its stored seal to `take`.
pub(super) fn each(
    connection: &Connection,
    take: impl FnMut(DeniedToken, Option<&[u8]>),
) -> Result<(), Failure> {
    let mut select = connection.prepare(DENIALS)?;
    read(&mut select.query([])?, take)
}

fn read(
    rows: &mut Rows<'_>,
    mut take: impl FnMut(DeniedToken, Option<&[u8]>),
) -> Result<(), Failure> {
    while let Some(row) = rows.next()? {
        let columns = Columns::new("denial", row);
        let denied = DeniedToken {
            jti: columns.string(0)?,
            expires_at: columns.instant(1)?,
            key_id: Columns::new("api_key", row).parsed(2)?,
        };
        take(denied, columns.optional_bytes(3)?);
    }
    Ok(())
}
