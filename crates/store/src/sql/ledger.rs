//! The ledger. The entry of a change is appended by its transaction.

use async_trait::async_trait;
use gatekey_core::{
    StoreError,
    ledger::{ArchivedRange, LedgerBase, LedgerEntry, LedgerHead, NewEntry},
    store::{LedgerArchived, LedgerStore},
};

use super::{
    access::{Row, Sql, all, one, optional, values},
    columns::Columns,
    failure::Failure,
    store::{Backend, SqlStore},
    transaction::{Transaction, ledger_base, ledger_head},
};

#[async_trait]
impl<B: Backend> LedgerStore for SqlStore<B> {
    async fn append_entry(&self, entry: NewEntry) -> Result<(), StoreError> {
        self.append("store.append_entry", move |transaction| transaction.append(&entry)).await
    }

    async fn ledger_entries(
        &self,
        after: i64,
        limit: usize,
    ) -> Result<Vec<LedgerEntry>, StoreError> {
        self.read("store.ledger_entries", move |sql| entries(sql, after, limit)).await
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
    if ledger_base(transaction.sql())? != found {
        let reason = "the base of the ledger was changed without the root key".to_owned();
        return Err(Failure::Tampered(reason));
    }
    if found.sequence() >= end.sequence() {
        return Ok(LedgerArchived::Already);
    }
    if found != base {
        return Ok(LedgerArchived::Elsewhere { base: found });
    }
    if entry_at(transaction.sql(), end.sequence())? != Some(end) {
        return Ok(LedgerArchived::Another);
    }
    // The first version of the root key has been in use since the first entry, which is deleted.
    transaction.sql().execute("UPDATE root_key SET since = (SELECT at FROM ledger WHERE sequence = 1) WHERE since IS NULL", values![])?;
    transaction.move_base(end)?;
    transaction.append(entry)?;
    Ok(LedgerArchived::Done)
}

/// An entry as the base of a ledger.
fn entry_at(sql: &dyn Sql, sequence: i64) -> Result<Option<LedgerBase>, Failure> {
    optional(
        sql,
        "SELECT link, root_key_version FROM ledger WHERE sequence = ?1",
        values![sequence],
        |row| {
            let columns = Columns::new("ledger", row);
            let head = LedgerHead { sequence, link: columns.array(0)? };
            Ok(LedgerBase { head, root_key_version: columns.integer(1)? })
        },
    )
}

fn has_archived(sql: &dyn Sql) -> Result<bool, Failure> {
    one(
        sql,
        "SELECT EXISTS (SELECT 1 FROM ledger WHERE sequence <= (SELECT sequence FROM ledger_base))",
        values![],
        |row| Columns::new("ledger", row).boolean(0),
    )
}

/// Deletes archived entries, the oldest first.
fn delete_archived(transaction: &mut Transaction<'_>, limit: usize) -> Result<usize, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX / 2);
    let deleted = all(
        transaction.sql(),
        "DELETE FROM ledger
         WHERE sequence <= ?1 AND sequence < (SELECT min(sequence) FROM ledger) + ?2
         RETURNING sequence",
        values![transaction.base().sequence(), limit],
        |_| Ok(()),
    )?;
    Ok(deleted.len())
}

/// At most `limit` entries after a sequence number. Omits archived entries, which may not be
/// deleted yet.
pub(crate) fn entries(
    sql: &dyn Sql,
    after: i64,
    limit: usize,
) -> Result<Vec<LedgerEntry>, Failure> {
    all(
        sql,
        "SELECT sequence, at, actor, action, target, detail, request_id, peer, user_agent, link,
                root_key_version, state
         FROM ledger WHERE sequence > ?1
             AND sequence > coalesce((SELECT sequence FROM ledger_base), 0)
         ORDER BY sequence LIMIT ?2",
        values![after, i64::try_from(limit).unwrap_or(i64::MAX)],
        entry,
    )
}

/// The sequence number of the last entry; 0 for none.
pub(crate) fn last_sequence(sql: &dyn Sql) -> Result<i64, Failure> {
    one(sql, "SELECT coalesce(max(sequence), 0) FROM ledger", values![], |row| {
        Columns::new("ledger", row).integer(0)
    })
}

fn entry(row: &dyn Row) -> Result<LedgerEntry, Failure> {
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
