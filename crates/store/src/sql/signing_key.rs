//! Signing keys, sealed.

use async_trait::async_trait;
use gatekey_core::{
    StoreError, Timestamp,
    ledger::NewEntry,
    seal::{Seal, SealedRow, Table},
    signing_key::{self, SealedSigningKey, SigningKeyAdded, SigningKeyRetired},
    store::{Change, SigningKeyStore},
};

use super::{
    access::{self, Sql, values},
    columns::{Columns, micros},
    failure::Failure,
    store::{Backend, SqlStore},
    transaction::Transaction,
};

#[async_trait]
impl<B: Backend> SigningKeyStore for SqlStore<B> {
    async fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError> {
        self.read("store.signing_keys", all).await
    }

    async fn rotate_signing_key(
        &self,
        key: SealedSigningKey,
        after: Option<&str>,
        others_published_until: Timestamp,
        entry: NewEntry,
    ) -> Result<SigningKeyAdded, StoreError> {
        let after = after.map(str::to_owned);
        self.write("store.rotate_signing_key", move |transaction| {
            let mut keys = verified(transaction)?;
            if keys.last().map(|last| &last.kid) != after.as_ref() {
                return Ok(SigningKeyAdded::Overtaken);
            }
            signing_key::rotate(&mut keys, key, others_published_until, entry.at);
            put(transaction, keys)?;
            transaction.append(&entry)?;
            Ok(SigningKeyAdded::Done)
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
            let mut keys = verified(transaction)?;
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
pub(crate) fn all(sql: &dyn Sql) -> Result<Vec<SealedSigningKey>, Failure> {
    let mut keys = Vec::new();
    each(sql, |key, _| keys.push(key))?;
    Ok(keys)
}

/// Every signing key, to be changed. Fails if they are not as the last change left them.
pub(crate) fn verified(transaction: &Transaction<'_>) -> Result<Vec<SealedSigningKey>, Failure> {
    let mut keys = Vec::new();
    let mut changed = None;
    let mut seals = Vec::new();
    each(transaction.sql(), |key, seal| {
        if !transaction.verify(SealedRow::SigningKey(&key), seal) {
            changed = Some(key.kid.clone());
        }
        keys.push(key);
        seals.push(seal.and_then(Seal::from_bytes));
    })?;
    match changed {
        None if transaction.has_seals(Table::SigningKeys, &seals)? => Ok(keys),
        None => Err(replaced()),
        Some(kid) => {
            Err(Failure::Tampered(format!("signing key {kid} was changed without the root key")))
        }
    }
}

fn replaced() -> Failure {
    Failure::Tampered("signing keys were removed or put back without the root key".to_owned())
}

/// Passes each signing key with its stored seal to `take`, in the order of creation.
pub(crate) fn each(
    sql: &dyn Sql,
    mut take: impl FnMut(SealedSigningKey, Option<&[u8]>),
) -> Result<(), Failure> {
    sql.each(
        "SELECT kid, algorithm, sealed, created_at, signs_from, published_until, high_s_until, seal
         FROM signing_key ORDER BY position",
        values![],
        &mut |row| {
            let columns = Columns::new("signing_key", row);
            let key = SealedSigningKey {
                kid: columns.string(0)?,
                algorithm: columns.parsed(1)?,
                sealed: columns.bytes(2)?.to_vec(),
                created_at: columns.instant(3)?,
                signs_from: columns.instant(4)?,
                published_until: columns.optional_instant(5)?,
                high_s_until: columns.optional_instant(6)?,
            };
            take(key, columns.optional_bytes(7)?);
            Ok(())
        },
    )
}

/// Deletes the keys that are no longer published, and reports the others if there were any. A key
/// that does not match its seal stays in the digest, so that its deletion is noticed, and is not
/// reported.
pub(crate) fn delete_expired(
    transaction: &mut Transaction<'_>,
    now: Timestamp,
) -> Result<(), Failure> {
    let (mut left, mut seals, mut all) = (Vec::new(), Vec::new(), Vec::new());
    each(transaction.sql(), |key, seal| {
        all.push(seal.and_then(Seal::from_bytes));
        let matches = transaction.verify(SealedRow::SigningKey(&key), seal);
        match key.published_until {
            _ if !matches => {}
            Some(until) if until <= now => seals.push(seal.map(<[u8]>::to_vec)),
            _ => left.push(key),
        }
    })?;
    if !transaction.has_seals(Table::SigningKeys, &all)? {
        tracing::error!(error = %replaced(), "not purging signing keys");
        return Ok(());
    }
    for seal in seals {
        transaction.unseal(Table::SigningKeys, seal.as_deref())?;
    }
    let deleted = access::all(
        transaction.sql(),
        "DELETE FROM signing_key WHERE published_until <= ?1 RETURNING kid",
        values![now.as_micros()],
        |_| Ok(()),
    )?;
    if !deleted.is_empty() {
        transaction.report(Change::SigningKeys(left));
    }
    Ok(())
}

/// Writes all signing keys, and reports them.
pub(crate) fn put(
    transaction: &mut Transaction<'_>,
    keys: Vec<SealedSigningKey>,
) -> Result<(), Failure> {
    put_sealed(transaction, &keys)?;
    transaction.report(Change::SigningKeys(keys));
    Ok(())
}

/// Writes all signing keys: their dates, sealed bytes and seals, and the rows of new ones.
pub(crate) fn put_sealed(
    transaction: &mut Transaction<'_>,
    keys: &[SealedSigningKey],
) -> Result<(), Failure> {
    let mut earlier = Vec::new();
    each(transaction.sql(), |_, seal| earlier.push(seal.map(<[u8]>::to_vec)))?;
    for seal in earlier {
        transaction.unseal(Table::SigningKeys, seal.as_deref())?;
    }
    for key in keys {
        let seal = transaction.seal(SealedRow::SigningKey(key))?;
        transaction.sql().execute(
            "INSERT INTO signing_key (kid, algorithm, sealed, created_at, signs_from,
                 published_until, high_s_until, seal, position)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8,
                 (SELECT coalesce(max(position), 0) + 1 FROM signing_key))
             ON CONFLICT (kid) DO UPDATE SET sealed = excluded.sealed,
                 published_until = excluded.published_until, seal = excluded.seal",
            values![
                &key.kid,
                key.algorithm.as_str(),
                &key.sealed,
                key.created_at.as_micros(),
                key.signs_from.as_micros(),
                micros(key.published_until),
                micros(key.high_s_until),
                &seal,
            ],
        )?;
    }
    Ok(())
}
