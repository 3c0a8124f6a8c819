//! The ledger. The entry of a change is appended by its transaction.

use async_trait::async_trait;
use gatekey_core::{
    StoreError,
    ledger::{ArchivedRange, LedgerBase, LedgerEntry, LedgerHead, NewEntry},
    store::{LedgerArchived, LedgerStore},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    columns::Columns,
    failure::Failure,
    store::SqliteStore,
    transaction::{Transaction, ledger_base, ledger_head},
};

#[async_trait]
impl LedgerStore for SqliteStore {
    async fn append_entry(&self, entry: NewEntry) -> Result<(), StoreError> {
        self.write("store.append_entry", move |transaction| transaction.append(&entry)).await
    }

    async fn ledger_entries(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.read("store.ledger_entries", move |connection| entries(connection, after, limit)).await
    }

    async fn ledger_head(&self) -> Result<LedgerHead, StoreError> {
        self.read("store.ledger_head", ledger_head).await
    }

    async fn ledger_base(&self) -> Result<LedgerBase, StoreError> {
        self.read("store.ledger_base", ledger_base).await
    }

    async fn archive_ledger(
        &self,
        range: ArchivedRange,
        entry: NewEntry,
    ) -> Result<LedgerArchived, StoreError> {
        self.write("store.archive_ledger", move |transaction| archive(transaction, range, &entry))
            .await
    }

    async fn delete_archived(&self, limit: usize) -> Result<usize, StoreError> {
        // Most purges find none: they need no transaction.
        if !self.read("store.has_archived", has_archived).await? {
            return Ok(0);
        }
        self.write("store.delete_archived", move |transaction| delete_archived(transaction, limit))
            .await
    }
}

/// Moves the base of the ledger to the end of a range. Its entries are deleted later.
fn archive(
    transaction: &mut Transaction<'_>,
    range: ArchivedRange,
    entry: &NewEntry,
) -> Result<LedgerArchived, Failure> {
    let ArchivedRange { base, end } = range;
    let found = transaction.base();
    if ledger_base(transaction.connection())? != found {
        let reason = "the base of the ledger was changed without the root key".to_owned();
        return Err(Failure::Tampered(reason));
    }
    if found.sequence() >= end.sequence() {
        return Ok(LedgerArchived::Already);
    }
    if found != base {
        return Ok(LedgerArchived::Elsewhere { base: found });
    }
    if entry_at(transaction.connection(), end.sequence())? != Some(end) {
        return Ok(LedgerArchived::Another);
    }
    // The first version of the root key has been in use since the first entry, which is deleted.
    transaction
        .connection()
        .prepare_cached(
            "UPDATE root_key SET since = (SELECT at FROM ledger WHERE sequence = 1) WHERE since IS NULL",
        )?
        .execute([])?;
    transaction.move_base(end)?;
    transaction.append(entry)?;
    Ok(LedgerArchived::Done)
}

/// An entry as the base of a ledger.
fn entry_at(connection: &Connection, sequence: i64) -> Result<Option<LedgerBase>, Failure> {
    let mut select = connection
        .prepare_cached("SELECT link, root_key_version FROM ledger WHERE sequence = ?1")?;
    let entry = select.query_row([sequence], |row| {
        let columns = Columns::new("ledger", row);
        Ok(columns.array(0).and_then(|link| {
            let head = LedgerHead { sequence, link };
            Ok(LedgerBase { head, root_key_version: columns.integer(1)? })
        }))
    });
    entry.optional()?.transpose()
}

fn has_archived(connection: &Connection) -> Result<bool, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM ledger WHERE sequence <= (SELECT sequence FROM ledger_base))",
    )?;
    Ok(select.query_row([], |row| row.get(0))?)
}

/// Deletes archived entries, the oldest first.
fn delete_archived(transaction: &mut Transaction<'_>, limit: usize) -> Result<usize, Failure> {
    let mut delete = transaction.connection().prepare_cached(
        "DELETE FROM ledger WHERE sequence <= min(?1, (SELECT min(sequence) FROM ledger) + ?2 - 1)",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX / 2);
    Ok(delete.execute(params![transaction.base().sequence(), limit])?)
}

/// At most `limit` entries after a sequence number. Omits archived entries, which may not be
/// deleted yet.
pub(super) fn entries(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<LedgerEntry>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT sequence, at, actor, action, target, detail, request_id, peer, user_agent, link, root_key_version,
                state
         FROM ledger WHERE sequence > max(?1, coalesce((SELECT sequence FROM ledger_base), 0)) ORDER BY sequence LIMIT ?2",
    )?;
    let mut rows = select.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(entries)
}

/// The sequence number of the last entry; 0 for none.
pub(super) fn last_sequence(connection: &Connection) -> Result<i64, Failure> {
    let select = "SELECT coalesce(max(sequence), 0) FROM ledger";
    Ok(connection.query_row(select, [], |row| row.get(0))?)
}

fn entry(row: &Row<'_>) -> Result<LedgerEntry, Failure> {
    let columns = Columns::new("ledger", row);
    Ok(LedgerEntry {
        sequence: columns.integer(0)?,
        entry: NewEntry {
            at: columns.instant(1)?,
            actor: columns.string(2)?,
            action: columns.string(3)?,
            target: columns.string(4)?,
            detail: columns.string(5)?,
            request_id: columns.string(6)?,
            peer: columns.string(7)?,
            user_agent: columns.string(8)?,
        },
        link: columns.array(9)?,
        root_key_version: columns.integer(10)?,
        state: columns.optional_array(11)?,
    })
}
