//! Versions of the root key, and everything sealed or hashed under them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use gatekey_core::{
    LedgerKeys, RootKey, StoreError, Timestamp,
    ledger::NewEntry,
    root_key::{
        Rehash, Reseal, RootKeyMismatch, RootKeyRetired, RootKeyRotation, SHOWN_KEYS, StoredRootKey,
    },
    seal::Sealed,
    store::{Change, RootKeyStore},
};
use gatekey_credentials::ClientId;

use super::{
    access::{self, Session, Sql, optional, values},
    api_key::rows,
    columns::{Columns, micros},
    failure::Failure,
    seal, signing_key,
    store::{Backend, SqlStore},
    touched::Touched,
    transaction::{Transaction, ledger_head},
};

/// Matches secrets that can be valid at `?1` or later.
const NOT_OVER: &str = "(expires_at IS NULL OR (expires_at > ?1 AND expires_at > not_before))";

#[async_trait]
impl<B: Backend> RootKeyStore for SqlStore<B> {
    async fn root_keys(&self) -> Result<Vec<StoredRootKey>, StoreError> {
        self.read("store.root_keys", all).await
    }

    async fn secrets_by_root_key(&self, now: Timestamp) -> Result<BTreeMap<u32, u64>, StoreError> {
        self.read("store.secrets_by_root_key", move |sql| secrets(sql, now)).await
    }

    async fn rotate_root_key(
        &self,
        rotation: RootKeyRotation,
        entry: NewEntry,
    ) -> Result<(), StoreError> {
        self.write("store.rotate_root_key", move |transaction| {
            rotate(transaction, rotation, &entry)
        })
        .await
    }

    async fn retire_root_key(
        &self,
        version: u32,
        now: Timestamp,
        reseal: Reseal,
        entry: NewEntry,
    ) -> Result<RootKeyRetired, StoreError> {
        self.write("store.retire_root_key", move |transaction| {
            retire(transaction, version, now, &reseal, &entry)
        })
        .await
    }

    async fn rehash_secrets(
        &self,
        rehashes: Vec<Rehash>,
        entry: NewEntry,
    ) -> Result<(), StoreError> {
        self.write("store.rehash_secrets", move |transaction| {
            rehash(transaction, &rehashes, &entry)
        })
        .await
    }

    async fn seal_store(&self, entry: NewEntry) -> Result<Option<Sealed>, StoreError> {
        if !self.read("store.predates_seals", seal::predates).await? {
            return Ok(None);
        }
        self.write("store.seal_store", move |transaction| seal::seal_store(transaction, &entry))
            .await
    }

    async fn reseal_rows(
        &self,
        after: Option<ClientId>,
        limit: usize,
    ) -> Result<Option<ClientId>, StoreError> {
        self.write("store.reseal_rows", move |transaction| {
            seal::reseal_rows(transaction, after.as_ref(), limit)
        })
        .await
    }

    async fn find_sealed(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.read("store.find_sealed", move |sql| find_sealed(sql, &name)).await
    }

    async fn replace_sealed(
        &self,
        name: &str,
        earlier: Option<Vec<u8>>,
        sealed: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.write("store.replace_sealed", move |transaction| {
            let is_unchanged = find_sealed(transaction.sql(), &name)? == earlier;
            if is_unchanged {
                put_sealed(transaction.sql(), &name, &sealed)?;
            }
            Ok(is_unchanged)
        })
        .await
    }
}

/// Why a root key does not fit a database.
pub(crate) enum SettleError {
    Mismatch(RootKeyMismatch),
    Failure(Failure),
}

impl From<RootKeyMismatch> for SettleError {
    fn from(mismatch: RootKeyMismatch) -> Self {
        Self::Mismatch(mismatch)
    }
}

impl From<Failure> for SettleError {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Settles which versions of the root key are in use, and returns the keys that link the ledger. A
/// database without any version gets its first.
pub(crate) fn settle(session: &dyn Session, root_key: &RootKey) -> Result<LedgerKeys, SettleError> {
    session.begin(&[])?;
    let settled = settle_in_transaction(session, root_key).and_then(|()| {
        let head = ledger_head(session)?;
        Ok(session.commit(&[Touched::RootKeys], head)?)
    });
    if settled.is_err() {
        // The first error tells more.
        let _ = session.roll_back();
    }
    settled.map(|()| root_key.ledger_keys())
}

fn settle_in_transaction(sql: &dyn Sql, root_key: &RootKey) -> Result<(), SettleError> {
    let known = known(sql, root_key)?;
    root_key.settle(&known)?;
    if all(sql)?.is_empty() {
        for first in &known {
            insert(sql, first)?;
        }
    }
    Ok(seal::begin(sql, &root_key.seal_keys())?)
}

/// The versions that the database knows, or the first version that it must get.
pub(crate) fn known(sql: &dyn Sql, root_key: &RootKey) -> Result<Vec<StoredRootKey>, SettleError> {
    let known = all(sql)?;
    if !known.is_empty() {
        return Ok(known);
    }
    // A ledger with entries but without a version is from before there were versions.
    let predates_versions = ledger_head(sql)?.sequence > 0;
    let signing_keys = signing_key::all(sql)?;
    Ok(vec![root_key.first_of_store(predates_versions, signing_keys.last())?])
}

fn all(sql: &dyn Sql) -> Result<Vec<StoredRootKey>, Failure> {
    access::all(
        sql,
        "SELECT version, key_check, coalesce(since, (SELECT at FROM ledger WHERE sequence = 1)),
                retired_at, ledger_key
         FROM root_key ORDER BY version",
        values![],
        |row| {
            let columns = Columns::new("root_key", row);
            Ok(StoredRootKey {
                version: columns.integer(0)?,
                check: columns.array(1)?,
                since: columns.optional_instant(2)?,
                retired_at: columns.optional_instant(3)?,
                ledger_key: columns.optional_bytes(4)?.map(<[u8]>::to_vec),
            })
        },
    )
}

fn insert(sql: &dyn Sql, key: &StoredRootKey) -> Result<(), Failure> {
    sql.execute(
        "INSERT INTO root_key (version, key_check, since, retired_at, ledger_key)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        values![
            key.version,
            &key.check,
            micros(key.since),
            micros(key.retired_at),
            key.ledger_key.as_ref(),
        ],
    )
}

/// The number of secrets by root key version, of those that can be valid at `now` or later.
fn secrets(sql: &dyn Sql, now: Timestamp) -> Result<BTreeMap<u32, u64>, Failure> {
    let counts = access::all(
        sql,
        &format!(
            "SELECT pepper_version, count(*) FROM secret WHERE {NOT_OVER} GROUP BY pepper_version"
        ),
        values![now.as_micros()],
        |row| {
            let columns = Columns::new("secret", row);
            Ok((columns.integer(0)?, columns.integer(1)?))
        },
    )?;
    Ok(counts.into_iter().collect())
}

/// Some of the keys with secrets that [`secrets`] counts under a version.
fn owners(sql: &dyn Sql, version: u32, now: Timestamp) -> Result<Vec<ClientId>, Failure> {
    access::all(
        sql,
        &format!(
            "SELECT DISTINCT client_id FROM secret WHERE {NOT_OVER} AND pepper_version = ?2
             ORDER BY client_id LIMIT ?3"
        ),
        values![now.as_micros(), version, SHOWN_KEYS],
        |row| Columns::new("secret", row).parsed(0),
    )
}

fn rotate(
    transaction: &mut Transaction<'_>,
    rotation: RootKeyRotation,
    entry: &NewEntry,
) -> Result<(), Failure> {
    let RootKeyRotation { key, ledger_key, seal_key, sealed_ledger_keys, reseal } = rotation;
    insert(transaction.sql(), &key)?;
    transaction.seal_under(seal_key);
    for (version, sealed) in sealed_ledger_keys {
        transaction.sql().execute(
            "UPDATE root_key SET ledger_key = ?2 WHERE version = ?1",
            values![version, &sealed],
        )?;
    }
    reseal_all(transaction, &reseal)?;
    transaction.link_under(ledger_key);
    transaction.touch(Touched::RootKeys);
    transaction.append(entry)
}

fn retire(
    transaction: &mut Transaction<'_>,
    version: u32,
    now: Timestamp,
    reseal: &Reseal,
    entry: &NewEntry,
) -> Result<RootKeyRetired, Failure> {
    if let Some(refused) = RootKeyRetired::refuse(version, &all(transaction.sql())?) {
        return Ok(refused);
    }
    if let Some(&secrets) = secrets(transaction.sql(), now)?.get(&version) {
        let client_ids = owners(transaction.sql(), version, now)?;
        return Ok(RootKeyRetired::Needed { secrets, client_ids });
    }
    reseal_all(transaction, reseal)?;
    seal::reseal_rows(transaction, None, usize::MAX)?;
    transaction.sql().execute(
        "UPDATE root_key SET retired_at = ?2 WHERE version = ?1",
        values![version, entry.at.as_micros()],
    )?;
    transaction.touch(Touched::RootKeys);
    transaction.append(entry)?;
    Ok(RootKeyRetired::Done)
}

/// Seals everything sealed again, under the newest version.
fn reseal_all(transaction: &mut Transaction<'_>, reseal: &Reseal) -> Result<(), Failure> {
    let reseal = |name: &str, sealed: &[u8]| {
        reseal(name, sealed).map_err(|_| {
            Failure::Corrupt(format!("{name} cannot be decrypted with any version of the root key"))
        })
    };
    let mut keys = signing_key::verified(transaction)?;
    for key in &mut keys {
        key.sealed = reseal(&key.sealing_name(), &key.sealed)?;
    }
    signing_key::put(transaction, keys)?;
    for (name, sealed) in all_sealed(transaction.sql())? {
        put_sealed(transaction.sql(), &name, &reseal(&name, &sealed)?)?;
    }
    Ok(())
}

fn rehash(
    transaction: &mut Transaction<'_>,
    rehashes: &[Rehash],
    entry: &NewEntry,
) -> Result<(), Failure> {
    let newest = transaction.root_key_version();
    let mut by_owner: BTreeMap<ClientId, Vec<&Rehash>> = BTreeMap::new();
    for rehash in rehashes.iter().filter(|rehash| rehash.is_current(newest)) {
        if let Some(owner) = owner(transaction.sql(), rehash)? {
            by_owner.entry(owner).or_default().push(rehash);
        }
    }
    let mut secrets = 0;
    for (client_id, rehashes) in by_owner {
        let mut key = match rows::find_to_change(transaction, &client_id) {
            Ok(Some(key)) => key,
            // The key is refused. It must not keep the others from being rehashed.
            Ok(None) | Err(Failure::Tampered(_)) => continue,
            Err(failure) => return Err(failure),
        };
        for Rehash { secret_id, to, .. } in rehashes {
            transaction.sql().execute(
                "UPDATE secret SET pepper_version = ?2, mac = ?3 WHERE secret_id = ?1",
                values![&secret_id.to_string(), to.pepper_version, &to.mac],
            )?;
            if let Some(secret) = key.secrets.iter_mut().find(|secret| secret.id == *secret_id) {
                secret.hash = *to;
            }
            secrets += 1;
        }
        rows::put_seal(transaction, &key)?;
        transaction.report(Change::KeyPut(Box::new(key)));
    }
    if secrets == 0 {
        return Ok(());
    }
    transaction.append(&Rehash::entry(entry, secrets))
}

/// The key with the secret, if the secret still has the hash to replace.
fn owner(sql: &dyn Sql, rehash: &Rehash) -> Result<Option<ClientId>, Failure> {
    let Rehash { secret_id, from, .. } = rehash;
    optional(
        sql,
        "SELECT client_id FROM secret WHERE secret_id = ?1 AND pepper_version = ?2 AND mac = ?3",
        values![&secret_id.to_string(), from.pepper_version, &from.mac],
        |row| Columns::new("secret", row).parsed(0),
    )
}

pub(crate) fn find_sealed(sql: &dyn Sql, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    optional(sql, "SELECT bytes FROM sealed WHERE name = ?1", values![name], |row| {
        Columns::new("sealed", row).bytes(0).map(<[u8]>::to_vec)
    })
}

fn all_sealed(sql: &dyn Sql) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    access::all(sql, "SELECT name, bytes FROM sealed", values![], |row| {
        let columns = Columns::new("sealed", row);
        Ok((columns.string(0)?, columns.bytes(1)?.to_vec()))
    })
}

pub(crate) fn put_sealed(sql: &dyn Sql, name: &str, sealed: &[u8]) -> Result<(), Failure> {
    sql.execute(
        "INSERT INTO sealed (name, bytes) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes",
        values![name, sealed],
    )
}
