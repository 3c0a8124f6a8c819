//! The rows of the deny-list.

use gatekey_core::{
    Timestamp,
    seal::{SealedRow, Table},
    store::Change,
    token::DeniedToken,
};
use gatekey_credentials::ClientId;

use super::{
    access::{Row, Sql, Value, all, values},
    columns::Columns,
    failure::Failure,
    touched::Touched,
    transaction::Transaction,
};

/// Adds a token to the deny-list, and reports it.
pub(crate) fn insert(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    token: DeniedToken,
) -> Result<(), Failure> {
    let seal = transaction.seal(SealedRow::Denial(&token))?;
    transaction.sql().execute(
        "INSERT INTO denial (client_id, jti, expires_at, seal) VALUES (?1, ?2, ?3, ?4)",
        values![client_id.as_str(), &token.jti, token.expires_at.as_micros(), &seal],
    )?;
    transaction.touch(Touched::Key { client_id: client_id.clone(), key_id: token.key_id });
    transaction.report(Change::TokenDenied(token));
    Ok(())
}

/// Seals the denials of a key that are not sealed under the newest version. One that does not match
/// its seal loses it.
pub(crate) fn reseal(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
) -> Result<(), Failure> {
    let select = format!("{DENIALS} WHERE denial.client_id = ?1");
    for (denied, stored) in all(transaction.sql(), &select, values![client_id.as_str()], denial)? {
        if let Some(seal) =
            transaction.sealed_again(SealedRow::Denial(&denied), stored.as_deref())?
        {
            transaction.sql().execute(
                "UPDATE denial SET seal = ?3 WHERE client_id = ?1 AND jti = ?2",
                values![client_id.as_str(), &denied.jti, seal.as_ref()],
            )?;
        }
    }
    Ok(())
}

/// Deletes the denials of a key.
pub(crate) fn delete_all(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
) -> Result<(), Failure> {
    delete(transaction, "WHERE denial.client_id = ?1", values![client_id.as_str()])
}

/// Deletes the denials of expired tokens.
pub(crate) fn delete_expired(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
) -> Result<(), Failure> {
    delete(transaction, "WHERE denial.expires_at <= ?1", values![now.as_micros()])
}

/// A denial that does not match its seal stays in the digest, so that its deletion is noticed.
fn delete(
    transaction: &mut Transaction<'_>,
    condition: &str,
    values: &[Value<'_>],
) -> Result<(), Failure> {
    let found = all(transaction.sql(), &format!("{DENIALS} {condition}"), values, denial)?;
    if found.is_empty() {
        return Ok(());
    }
    for (denied, seal) in found {
        if transaction.verify(SealedRow::Denial(&denied), seal.as_deref()) {
            transaction.unseal(Table::Denials, seal.as_deref())?;
        }
    }
    transaction.sql().execute(&format!("DELETE FROM denial {condition}"), values)
}

const DENIALS: &str = "SELECT jti, denial.expires_at, key_id, denial.seal FROM denial JOIN api_key \
                       USING (client_id)";

/// Passes each entry of the deny-list with its stored seal to `take`.
pub(crate) fn each(
    sql: &dyn Sql,
    mut take: impl FnMut(DeniedToken, Option<&[u8]>),
) -> Result<(), Failure> {
    sql.each(DENIALS, values![], &mut |row| {
        let (denied, seal) = denial(row)?;
        take(denied, seal.as_deref());
        Ok(())
    })
}

fn denial(row: &dyn Row) -> Result<(DeniedToken, Option<Vec<u8>>), Failure> {
    let columns = Columns::new("denial", row);
    let denied = DeniedToken {
        jti: columns.string(0)?,
        expires_at: columns.instant(1)?,
        key_id: Columns::new("api_key", row).parsed(2)?,
    };
    Ok((denied, columns.optional_bytes(3)?.map(<[u8]>::to_vec)))
}
