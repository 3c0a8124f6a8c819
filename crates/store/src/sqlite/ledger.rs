//! The ledger. The entry of a change is appended by its transaction.

use async_trait::async_trait;
use gatekey_core::{
    StoreError,
    ledger::{LedgerEntry, LedgerHead, NewEntry},
    store::LedgerStore,
};
use rusqlite::{Connection, Row, params};

use super::{columns::Columns, failure::Failure, store::SqliteStore, transaction::ledger_head};

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
}

/// At most `limit` entries after a sequence number.
pub(super) fn entries(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<LedgerEntry>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT sequence, at, actor, action, target, detail, request_id, peer, user_agent, link, root_key_version,
                state
         FROM ledger WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
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
