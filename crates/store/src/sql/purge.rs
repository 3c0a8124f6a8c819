//! Deletes expired rows.

use gatekey_core::Timestamp;
use gatekey_credentials::ClientId;

use super::{
    access::{Sql, all, values},
    api_key::rows,
    columns::Columns,
    denial,
    failure::Failure,
    signing_key,
    transaction::Transaction,
};

pub(crate) fn purge(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
    replays_before: Timestamp,
    secrets_before: Timestamp,
) -> Result<(), Failure> {
    let before = values![replays_before.as_micros()];
    transaction.sql().execute("DELETE FROM replay WHERE created_at < ?1", before)?;
    if let Some(statement) = transaction.sql().dialect().purge {
        transaction.sql().execute(statement, values![])?;
    }
    denial::delete_expired(transaction, now)?;
    signing_key::delete_expired(transaction, now)?;
    for client_id in owners(transaction.sql(), secrets_before)? {
        match rows::find_to_change(transaction, &client_id) {
            Ok(Some(key)) => rows::write(transaction, &key.purge_secrets(secrets_before))?,
            // The key is refused. It must not keep the others from being purged.
            Ok(None) | Err(Failure::Tampered(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(())
}

/// Keys with several secrets, of which one expired before an instant. A key's only secret stays.
fn owners(sql: &dyn Sql, expired_before: Timestamp) -> Result<Vec<ClientId>, Failure> {
    all(
        sql,
        "SELECT DISTINCT client_id FROM secret WHERE expires_at < ?1 AND EXISTS (
             SELECT 1 FROM secret AS other
             WHERE other.client_id = secret.client_id AND other.position <> secret.position)",
        values![expired_before.as_micros()],
        |row| Columns::new("secret", row).parsed(0),
    )
}
