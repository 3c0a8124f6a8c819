//! Versions of the root key: what the database knows of them, and what hangs on each.

use std::collections::BTreeMap;

use gatekey_core::{
    LedgerKeys, RootKey, Timestamp,
    ledger::{Action, NewEntry},
    root_key::{Rehash, Reseal, RootKeyMismatch, RootKeyRetired, RootKeyRotation, StoredRootKey},
    store::Change,
};
use gatekey_credentials::ClientId;
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    api_keys,
    failure::Failure,
    key_ring,
    rows::{Columns, micros},
    transaction::{Transaction, ledger_head},
};

/// Keys that are named to who wants to retire a version that their secrets need.
const NAMED: i64 = 5;

/// Secrets that may still prove themselves at `?1` or later.
const NOT_OVER: &str = "(expires_at IS NULL OR (expires_at > ?1 AND expires_at > not_before))";

/// Why a root key was not settled.
pub(super) enum Unsettled {
    /// It does not belong to the database.
    Mismatch(RootKeyMismatch),
    /// The database cannot be read or written.
    Failure(Failure),
}

impl From<RootKeyMismatch> for Unsettled {
    fn from(mismatch: RootKeyMismatch) -> Self {
        Self::Mismatch(mismatch)
    }
}

impl From<Failure> for Unsettled {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<rusqlite::Error> for Unsettled {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failure(error.into())
    }
}

/// Settles which versions of the root key are in use, and gives what links the ledger. A database that knows none
/// yet is told of its first.
pub(super) fn settle(connection: &mut Connection, root_key: &RootKey) -> Result<LedgerKeys, Unsettled> {
    let transaction = connection.transaction()?;
    let known = known(&transaction, root_key)?;
    root_key.settle(&known)?;
    if all(&transaction)?.is_empty() {
        for first in &known {
            insert(&transaction, first)?;
        }
    }
    transaction.commit()?;
    Ok(root_key.ledger_keys())
}

/// What the database knows of each version; of one that knows none yet, what it should know.
pub(super) fn known(connection: &Connection, root_key: &RootKey) -> Result<Vec<StoredRootKey>, Unsettled> {
    let known = all(connection)?;
    if !known.is_empty() {
        return Ok(known);
    }
    // Whoever entered something without a row did so before there were versions.
    let from_before = ledger_head(connection)?.sequence > 0;
    let signing_keys = key_ring::all(connection)?;
    Ok(vec![root_key.first_of_store(from_before, signing_keys.last())?])
}

pub(super) fn all(connection: &Connection) -> Result<Vec<StoredRootKey>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT version, key_check, coalesce(since, (SELECT at FROM ledger WHERE sequence = 1)), retired_at, ledger_key
         FROM root_key ORDER BY version",
    )?;
    let mut rows = select.query([])?;
    let mut known = Vec::new();
    while let Some(row) = rows.next()? {
        let columns = Columns::new("root_key", row);
        known.push(StoredRootKey {
            version: columns.integer(0)?,
            check: columns.array(1)?,
            since: columns.optional_instant(2)?,
            retired_at: columns.optional_instant(3)?,
            ledger_key: columns.optional_bytes(4)?.map(<[u8]>::to_vec),
        });
    }
    Ok(known)
}

fn insert(connection: &Connection, key: &StoredRootKey) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO root_key (version, key_check, since, retired_at, ledger_key) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            key.version,
            key.check,
            micros(key.since),
            micros(key.retired_at),
            key.ledger_key
        ])?;
    Ok(())
}

/// How many secrets were hashed under each version that may still prove themselves.
pub(super) fn secrets(connection: &Connection, now: Timestamp) -> Result<BTreeMap<u32, u64>, Failure> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT pepper_version, count(*) FROM secret WHERE {NOT_OVER} GROUP BY pepper_version"
    ))?;
    let mut rows = select.query([now.as_micros()])?;
    let mut counts = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let columns = Columns::new("secret", row);
        counts.insert(columns.integer(0)?, columns.integer(1)?);
    }
    Ok(counts)
}

pub(super) fn rotate(
    transaction: &mut Transaction<'_>,
    rotation: RootKeyRotation,
    entry: &NewEntry,
) -> Result<(), Failure> {
    let RootKeyRotation { key, ledger_key, sealed_ledger_keys, reseal } = rotation;
    insert(transaction.connection(), &key)?;
    for (version, sealed) in sealed_ledger_keys {
        transaction
            .connection()
            .prepare_cached("UPDATE root_key SET ledger_key = ?2 WHERE version = ?1")?
            .execute(params![version, sealed])?;
    }
    seal_anew(transaction, &reseal)?;
    transaction.link_under(ledger_key);
    transaction.append(entry)
}

pub(super) fn retire(
    transaction: &mut Transaction<'_>,
    version: u32,
    now: Timestamp,
    reseal: &Reseal,
    entry: &NewEntry,
) -> Result<RootKeyRetired, Failure> {
    let known = all(transaction.connection())?;
    match known.iter().find(|known| known.version == version) {
        None => return Ok(RootKeyRetired::Absent),
        Some(known) if known.retired_at.is_some() => return Ok(RootKeyRetired::Already),
        Some(_) if version == transaction.root_key_version() => return Ok(RootKeyRetired::Newest),
        Some(_) => {}
    }
    let secrets = secrets(transaction.connection(), now)?.get(&version).copied().unwrap_or_default();
    if secrets > 0 {
        let client_ids = owners(transaction.connection(), version, now)?;
        return Ok(RootKeyRetired::Needed { secrets, client_ids });
    }
    seal_anew(transaction, reseal)?;
    transaction
        .connection()
        .prepare_cached("UPDATE root_key SET retired_at = ?2 WHERE version = ?1")?
        .execute(params![version, entry.at.as_micros()])?;
    transaction.append(entry)?;
    Ok(RootKeyRetired::Done)
}

/// Some of the keys whose secrets need a version.
fn owners(connection: &Connection, version: u32, now: Timestamp) -> Result<Vec<ClientId>, Failure> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT DISTINCT client_id FROM secret WHERE {NOT_OVER} AND pepper_version = ?2 ORDER BY client_id LIMIT ?3"
    ))?;
    let mut rows = select.query(params![now.as_micros(), version, NAMED])?;
    let mut owners = Vec::new();
    while let Some(row) = rows.next()? {
        owners.push(Columns::new("secret", row).parsed(0)?);
    }
    Ok(owners)
}

/// Seals under the newest version all that is sealed, whatever it was sealed under.
fn seal_anew(transaction: &mut Transaction<'_>, reseal: &Reseal) -> Result<(), Failure> {
    let sealed_anew = |name: &str, sealed: &[u8]| {
        reseal(name, sealed)
            .map_err(|_| Failure::Corrupt(format!("{name} does not open under any version of the root key")))
    };
    let mut keys = key_ring::all(transaction.connection())?;
    let mut update =
        transaction.connection().prepare_cached("UPDATE signing_key SET sealed = ?2 WHERE kid = ?1")?;
    for key in &mut keys {
        key.sealed = sealed_anew(&key.sealing_name(), &key.sealed)?;
        update.execute(params![key.kid, key.sealed])?;
    }
    drop(update);
    let mut named = Vec::new();
    let mut select = transaction.connection().prepare_cached("SELECT name, bytes FROM sealed")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let columns = Columns::new("sealed", row);
        let name = columns.string(0)?;
        let bytes = sealed_anew(&name, columns.bytes(1)?)?;
        named.push((name, bytes));
    }
    drop(rows);
    drop(select);
    let mut update =
        transaction.connection().prepare_cached("UPDATE sealed SET bytes = ?2 WHERE name = ?1")?;
    for (name, bytes) in named {
        update.execute(params![name, bytes])?;
    }
    drop(update);
    transaction.report(Change::SigningKeys(keys));
    Ok(())
}

pub(super) fn rehash_secrets(
    transaction: &mut Transaction<'_>,
    rehashes: &[Rehash],
    entry: &NewEntry,
) -> Result<(), Failure> {
    let newest = transaction.root_key_version();
    let mut count = 0;
    let mut owners = Vec::new();
    let mut update = transaction.connection().prepare_cached(
        "UPDATE secret SET pepper_version = ?2, mac = ?3 WHERE secret_id = ?1 AND pepper_version = ?4 AND mac = ?5
         RETURNING client_id",
    )?;
    // One that was noted before yet another rotation may be of a version that is retired by now.
    for Rehash { secret_id, from, to } in rehashes.iter().filter(|rehash| rehash.to.pepper_version == newest)
    {
        let values = params![secret_id.to_string(), to.pepper_version, to.mac, from.pepper_version, from.mac];
        let owner = update
            .query_row(values, |row| Ok(Columns::new("secret", row).parsed::<ClientId>(0)))
            .optional()?;
        if let Some(owner) = owner {
            owners.push(owner?);
            count += 1;
        }
    }
    drop(update);
    if count == 0 {
        return Ok(());
    }
    owners.sort();
    owners.dedup();
    for client_id in owners {
        if let Some(key) = api_keys::find(transaction.connection(), &client_id)? {
            transaction.report(Change::KeyPut(Box::new(key)));
        }
    }
    transaction.append(&NewEntry {
        detail: Action::RootKeyRehashSecrets { secrets: count }.detail(),
        ..entry.clone()
    })
}
