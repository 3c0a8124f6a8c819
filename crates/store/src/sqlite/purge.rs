//! Forgetting what has had its time.

use std::collections::BTreeSet;

use gatekey_core::{Timestamp, store::Change};
use gatekey_credentials::ClientId;

use super::{api_keys, failure::Failure, key_ring, rows::Columns, transaction::Transaction};

pub(super) fn purge(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
    replays_before: Timestamp,
    secrets_before: Timestamp,
) -> Result<(), Failure> {
    let delete = |statement: &str, at: Timestamp| {
        transaction.connection().prepare_cached(statement)?.execute([at.as_micros()])
    };
    delete("DELETE FROM denial WHERE expires_at <= ?1", now)?;
    delete("DELETE FROM replay WHERE created_at < ?1", replays_before)?;
    let signing_keys = delete("DELETE FROM signing_key WHERE published_until <= ?1", now)?;
    if signing_keys > 0 {
        let left = key_ring::all(transaction.connection())?;
        transaction.report(Change::SigningKeys(left));
    }
    for client_id in delete_secrets(transaction, secrets_before)? {
        if let Some(key) = api_keys::find(transaction.connection(), &client_id)? {
            transaction.report(Change::KeyPut(Box::new(key)));
        }
    }
    Ok(())
}

/// Deletes secrets that expired before, but never the last of a key; gives the keys that had them.
fn delete_secrets(transaction: &Transaction<'_>, before: Timestamp) -> Result<BTreeSet<ClientId>, Failure> {
    let mut delete = transaction.connection().prepare_cached(
        "DELETE FROM secret WHERE expires_at < ?1 AND EXISTS (
             SELECT 1 FROM secret AS kept
             WHERE kept.client_id = secret.client_id AND kept.position <> secret.position
               AND (kept.expires_at IS NULL OR kept.expires_at >= ?1 OR kept.position > secret.position))
         RETURNING client_id",
    )?;
    let mut rows = delete.query([before.as_micros()])?;
    let mut owners = BTreeSet::new();
    while let Some(row) = rows.next()? {
        owners.insert(Columns::new("secret", row).parsed(0)?);
    }
    Ok(owners)
}
