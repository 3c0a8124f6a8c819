//! The deny-list.

use gatekey_core::{
    ledger::NewEntry,
    store::Change,
    token::{DeniedToken, Revoked},
};
use gatekey_credentials::ClientId;
use rusqlite::{Connection, params};

use super::{api_keys, failure::Failure, rows::Columns, transaction::Transaction};

/// How many times the most live denials a key may have in all: they are kept for a while once their tokens have
/// expired, and must be bounded all the same.
const KEPT_FOR_EACH_LIVE: usize = 10;

pub(super) fn revoke(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    token: DeniedToken,
    max_denials: usize,
    entry: &NewEntry,
) -> Result<Revoked, Failure> {
    // A key made again under the client id is another key, whose tokens these are not.
    let key = api_keys::find(transaction.connection(), client_id)?.filter(|key| key.key_id == token.key_id);
    let Some(mut key) = key else { return Ok(Revoked::Absent) };
    let Denials { is_denied, live, kept } = count(transaction.connection(), client_id, &token, entry)?;
    if is_denied {
        transaction.append(entry)?;
        return Ok(Revoked::Denied);
    }
    if live >= max_denials || kept >= max_denials.saturating_mul(KEPT_FOR_EACH_LIVE) {
        api_keys::finish_change_with_new_epoch(transaction, &mut key, entry)?;
        return Ok(Revoked::EpochRaised);
    }
    transaction
        .connection()
        .prepare_cached("INSERT INTO denial (client_id, jti, expires_at) VALUES (?1, ?2, ?3)")?
        .execute(params![client_id.as_str(), token.jti, token.expires_at.as_micros()])?;
    transaction.append(entry)?;
    transaction.report(Change::TokenDenied(token));
    Ok(Revoked::Denied)
}

/// What there is of a key's denials: whether a token is among them, how many are of tokens that live, and how many
/// there are in all.
struct Denials {
    is_denied: bool,
    live: usize,
    kept: usize,
}

fn count(
    connection: &Connection,
    client_id: &ClientId,
    token: &DeniedToken,
    entry: &NewEntry,
) -> Result<Denials, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM denial WHERE client_id = ?1 AND jti = ?2),
                (SELECT count(*) FROM denial WHERE client_id = ?1 AND expires_at > ?3),
                (SELECT count(*) FROM denial WHERE client_id = ?1)",
    )?;
    let counted = select.query_row(params![client_id.as_str(), token.jti, entry.at.as_micros()], |row| {
        let columns = Columns::new("denial", row);
        Ok(columns.integer::<u8>(0).and_then(|is_denied| {
            Ok(Denials { is_denied: is_denied != 0, live: columns.integer(1)?, kept: columns.integer(2)? })
        }))
    });
    counted?
}
