//! Deletes expired rows.

use gatekey_core::Timestamp;
use gatekey_credentials::ClientId;
use rusqlite::Connection;

use super::{
    api_key::rows, columns::Columns, denial, failure::Failure, signing_key,
    transaction::Transaction,
};

pub(super) fn purge(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
    replays_before: Timestamp,
    secrets_before: Timestamp,
) -> Result<(), Failure> {
    let delete = |statement: &str, at: Timestamp| {
        transaction.connection().prepare_cached(statement)?.execute([at.as_micros()])
    };
    delete("DELETE FROM replay WHERE created_at < ?1", replays_before)?;
    denial::delete_expired(transaction, now)?;
    signing_key::delete_expired(transaction, now)?;
    for client_id in owners(transaction.connection(), secrets_before)? {
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
fn owners(connection: &Connection, expired_before: Timestamp) -> Result<Vec<ClientId>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT DISTINCT client_id FROM secret WHERE expires_at < ?1 AND EXISTS (
             SELECT 1 FROM secret AS other
             WHERE other.client_id = secret.client_id AND other.position <> secret.position)",
    )?;
    let mut rows = select.query([expired_before.as_micros()])?;
    let mut owners = Vec::new();
    while let Some(row) = rows.next()? {
        owners.push(Columns::new("secret", row).parsed(0)?);
    }
    Ok(owners)
}
