//! The ledger's table: appended to in the transaction of the change it records, never changed.

use gatekey_core::{
    LedgerKey,
    ledger::{LedgerEntry, LedgerHead, NewEntry},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{failure::Failure, rows::Columns};

/// Appends an entry after a head, and gives the head after it.
pub(super) fn append(
    connection: &Connection,
    head: LedgerHead,
    key: &LedgerKey,
    entry: &NewEntry,
) -> Result<LedgerHead, Failure> {
    let head = head.follow(key, entry);
    let mut insert = connection.prepare_cached(
        "INSERT INTO ledger (sequence, at, actor, action, target, detail, request_id, peer, user_agent, link, \
         root_key_version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    )?;
    insert.execute(params![
        head.sequence,
        entry.at.as_micros(),
        entry.actor,
        entry.action,
        entry.target,
        entry.detail,
        entry.request_id,
        entry.peer,
        entry.user_agent,
        head.link,
        key.version(),
    ])?;
    Ok(head)
}

/// Where the ledger stands.
pub(super) fn head(connection: &Connection) -> Result<LedgerHead, Failure> {
    let mut select =
        connection.prepare_cached("SELECT sequence, link FROM ledger ORDER BY sequence DESC LIMIT 1")?;
    let head = select
        .query_row([], |row| {
            let columns = Columns::new("ledger", row);
            Ok(columns.integer(0).and_then(|sequence| Ok(LedgerHead { sequence, link: columns.array(1)? })))
        })
        .optional()?;
    head.unwrap_or(Ok(LedgerHead::EMPTY))
}

/// At most so many entries after a sequence number.
pub(super) fn entries(
    connection: &Connection,
    after: i64,
    limit: usize,
) -> Result<Vec<LedgerEntry>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT sequence, at, actor, action, target, detail, request_id, peer, user_agent, link, root_key_version
         FROM ledger WHERE sequence > ?1 ORDER BY sequence LIMIT ?2",
    )?;
    let mut rows = select.query(params![after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(entry(row)?);
    }
    Ok(entries)
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
    })
}
