//! Signing keys, sealed.

use async_trait::async_trait;
use gatekey_core::{
    StoreError, Timestamp,
    ledger::NewEntry,
    signing_key::{self, SealedSigningKey, SigningKeyRetired},
    store::{Change, SigningKeyStore},
};
use rusqlite::{Connection, params};

use super::{
    columns::{Columns, micros},
    failure::Failure,
    store::SqliteStore,
    transaction::Transaction,
};

#[async_trait]
impl SigningKeyStore for SqliteStore {
    async fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError> {
        self.read("store.signing_keys", all).await
    }

    async fn rotate_signing_key(
        &self,
        key: SealedSigningKey,
        others_published_until: Timestamp,
        entry: NewEntry,
    ) -> Result<(), StoreError> {
        self.write("store.rotate_signing_key", move |transaction| {
            let mut keys = all(transaction.connection())?;
            signing_key::rotate(&mut keys, key, others_published_until);
            put(transaction, keys)?;
            transaction.append(&entry)
        })
        .await
    }

    async fn retire_signing_key(
        &self,
        kid: &str,
        entry: NewEntry,
    ) -> Result<SigningKeyRetired, StoreError> {
        let kid = kid.to_owned();
        self.write("store.retire_signing_key", move |transaction| {
            let mut keys = all(transaction.connection())?;
            let outcome = signing_key::retire(&mut keys, &kid, entry.at);
            if outcome == SigningKeyRetired::Done {
                put(transaction, keys)?;
                transaction.append(&entry)?;
            }
            Ok(outcome)
        })
        .await
    }
}

/// Every signing key, in the order of creation.
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

/// Writes all signing keys: their dates and sealed bytes, and the rows of new ones.
pub(super) fn put(
    transaction: &mut Transaction<'_>,
    keys: Vec<SealedSigningKey>,
) -> Result<(), Failure> {
    let mut insert = transaction.connection().prepare_cached(
        "INSERT INTO signing_key (kid, algorithm, sealed, created_at, published_until)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (kid) DO UPDATE SET sealed = excluded.sealed, published_until = excluded.published_until",
    )?;
    for key in &keys {
        insert.execute(params![
            key.kid,
            key.algorithm.as_str(),
            key.sealed,
            key.created_at.as_micros(),
            micros(key.published_until)
        ])?;
    }
    drop(insert);
    transaction.report(Change::SigningKeys(keys));
    Ok(())
}
