//! [`Transaction`]: the unit of work. The calls of a batch share one, each in a savepoint.

use std::panic::{AssertUnwindSafe, catch_unwind};

use gatekey_core::{
    LedgerKey, LedgerKeys,
    ledger::{LedgerHead, NewEntry},
    store::Change,
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    columns::Columns,
    failure::{CommitFailed, Failure, spoils_connection},
};

/// A transaction on the writing connection, with the ledger's head and the changes to report.
pub(super) struct Transaction<'a> {
    connection: &'a Connection,
    ledger_keys: &'a mut LedgerKeys,
    /// Links entries: the one of the newest root key.
    ledger_key: LedgerKey,
    head: LedgerHead,
    changes: Vec<Change>,
    /// Set when SQLite rolled back the whole transaction, with every call in it.
    failed: Option<CommitFailed>,
    spoils_connection: bool,
}

/// How a transaction ended.
pub(super) struct Finished {
    /// The ledger's head and the changes to report.
    pub(super) outcome: Result<(LedgerHead, Vec<Change>), CommitFailed>,
    /// Whether the connection must be replaced.
    pub(super) spoils_connection: bool,
}

impl<'a> Transaction<'a> {
    /// Takes over a connection whose transaction has begun, and the ledger's head in it.
    pub(super) fn new(
        connection: &'a Connection,
        ledger_keys: &'a mut LedgerKeys,
        head: LedgerHead,
    ) -> Result<Self, Failure> {
        // Read from the database: a rotation whose commit was reported as failed can be durable.
        let newest = newest_root_key(connection)?;
        let unknown = || {
            Failure::Corrupt(format!(
                "version {newest} of the root key was created by another process"
            ))
        };
        let ledger_key = ledger_keys.find(newest).cloned().ok_or_else(unknown)?;
        Ok(Self {
            connection,
            ledger_keys,
            ledger_key,
            head,
            changes: Vec::new(),
            failed: None,
            spoils_connection: false,
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        self.connection
    }

    /// The newest version of the root key.
    pub(super) fn root_key_version(&self) -> u32 {
        self.ledger_key.version()
    }

    /// Appends an entry to the ledger.
    pub(super) fn append(&mut self, entry: &NewEntry) -> Result<(), Failure> {
        let head = self.head.follow(&self.ledger_key, entry);
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO ledger (sequence, at, actor, action, target, detail, request_id, peer, user_agent, \
             link, root_key_version)
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
            self.ledger_key.version(),
        ])?;
        self.head = head;
        Ok(())
    }

    /// Links later entries under another key.
    pub(super) fn link_under(&mut self, key: LedgerKey) {
        // Kept even if the transaction fails: a commit reported as failed can still be durable.
        *self.ledger_keys = self.ledger_keys.with_newest(&key);
        self.ledger_key = key;
    }

    /// Reports a change to the observer, after the commit.
    pub(super) fn report(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Runs the work of one call. If it fails or panics, its effects are rolled back.
    pub(super) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (head, changes, ledger_key) = (self.head, self.changes.len(), self.ledger_key.clone());
        let attempted = self.execute("SAVEPOINT call").map_err(Failure::from).and_then(|()| {
            let result =
                catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or(Err(Failure::Panicked))?;
            self.execute("RELEASE call")?;
            Ok(result)
        });
        if let Err(failure) = &attempted {
            self.head = head;
            self.changes.truncate(changes);
            self.ledger_key = ledger_key;
            self.spoils_connection |= failure.spoils_connection();
            let undone =
                self.execute("ROLLBACK TO call").and_then(|()| self.execute("RELEASE call"));
            if undone.is_err() {
                // SQLite itself rolls back the whole transaction when the disk is full or fails.
                self.failed = Some(failure.into());
            }
        }
        attempted
    }

    /// Whether SQLite rolled back the whole transaction. No further call can run in it.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Commits, unless the transaction has failed.
    pub(super) fn commit(self) -> Finished {
        let Self { connection, head, changes, failed, mut spoils_connection, .. } = self;
        let outcome = match failed {
            Some(failed) => Err(failed),
            None => connection.execute_batch("COMMIT").map_err(|error| {
                spoils_connection |= self::spoils_connection(&error);
                CommitFailed::from(&error)
            }),
        };
        if outcome.is_err() && !connection.is_autocommit() {
            spoils_connection |= connection.execute_batch("ROLLBACK").is_err();
        }
        Finished { outcome: outcome.map(|()| (head, changes)), spoils_connection }
    }

    fn execute(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(drop)
    }
}

/// The sequence number and link of the last entry.
pub(super) fn ledger_head(connection: &Connection) -> Result<LedgerHead, Failure> {
    let mut select = connection
        .prepare_cached("SELECT sequence, link FROM ledger ORDER BY sequence DESC LIMIT 1")?;
    let head = select
        .query_row([], |row| {
            let columns = Columns::new("ledger", row);
            Ok(columns
                .integer(0)
                .and_then(|sequence| Ok(LedgerHead { sequence, link: columns.array(1)? })))
        })
        .optional()?;
    head.unwrap_or(Ok(LedgerHead::EMPTY))
}

fn newest_root_key(connection: &Connection) -> Result<u32, Failure> {
    let mut select = connection.prepare_cached("SELECT max(version) FROM root_key")?;
    select.query_row([], |row| Ok(Columns::new("root_key", row).integer(0)))?
}
