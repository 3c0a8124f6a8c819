//! [`Transaction`]: the unit of work. The calls of a batch share one, each in a savepoint.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
};

use gatekey_core::{
    ApiKey, LedgerKey, LedgerKeys,
    ledger::{LedgerBase, LedgerHead, NewEntry},
    seal::{Digest, Seal, SealKey, SealKeys, SealedRow, State, Table},
    store::Change,
};
use gatekey_credentials::ClientId;

use super::{
    access::{Session, Sql, Value, all, optional, values},
    columns::Columns,
    failure::{CommitFailed, Failure},
    known_seals::{SealChanges, Seals},
    state,
    touched::Touched,
};

/// A transaction on the writing connection, with the ledger's head and the changes to report.
pub(crate) struct Transaction<'a> {
    session: &'a dyn Session,
    ledger_keys: &'a mut LedgerKeys,
    seals: &'a Seals,
    /// The stored seals of keys that were read to be changed, until they are.
    noted_seals: RefCell<HashMap<ClientId, Option<Vec<u8>>>>,
    /// What the changes made of the known seals.
    seal_changes: SealChanges<'a>,
    /// Links entries: the one of the newest root key.
    ledger_key: LedgerKey,
    /// Seals rows: the one of the newest root key.
    seal_key: SealKey,
    /// Verifies the seals of rows.
    all_seal_keys: SealKeys,
    head: LedgerHead,
    /// Where the ledger begins, according to the state.
    base: LedgerBase,
    /// The digest of all seals; `None` until the database is sealed.
    digest: Option<Digest>,
    /// The state before the first change.
    stored: Option<State>,
    changes: Vec<Change>,
    touched: Vec<Touched>,
    /// Set when the whole transaction is lost, with every call in it.
    failed: Option<CommitFailed>,
    spoils_connection: bool,
}

/// What identifies the content of a database: the ledger's head, and the digest of all seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) head: LedgerHead,
    /// `None` until the database is sealed.
    pub(crate) digest: Option<Digest>,
}

impl Content {
    pub(crate) fn new(head: LedgerHead, state: Option<&State>) -> Self {
        Self { head, digest: state.map(|state| state.digest.clone()) }
    }
}

/// How a transaction ended.
pub(crate) struct Finished {
    /// What is stored now, and the changes to report.
    pub(crate) outcome: Result<(Content, Vec<Change>), CommitFailed>,
    /// Whether the connection must be replaced.
    pub(crate) spoils_connection: bool,
}

impl<'a> Transaction<'a> {
    /// Takes over a connection whose transaction has begun, with the ledger's head, the state and
    /// the key of the newest root key in it.
    pub(crate) fn new(
        session: &'a dyn Session,
        ledger_keys: &'a mut LedgerKeys,
        seals: &'a Seals,
        head: LedgerHead,
        stored: Option<State>,
        seal_key: SealKey,
    ) -> Result<Self, Failure> {
        let all_seal_keys = seals.keys();
        let newest = seal_key.version();
        let unknown = || state::unknown_root_key(newest);
        let ledger_key = ledger_keys.find(newest).cloned().ok_or_else(unknown)?;
        if stored.as_ref().is_some_and(|state| state.head != head) {
            let reason = "the ledger was changed without the root key".to_owned();
            return Err(Failure::Tampered(reason));
        }
        Ok(Self {
            session,
            ledger_keys,
            seals,
            noted_seals: RefCell::default(),
            seal_changes: SealChanges::new(seals),
            ledger_key,
            seal_key,
            all_seal_keys,
            head,
            base: stored.as_ref().map_or(LedgerBase::EMPTY, |state| state.base),
            digest: stored.as_ref().map(|state| state.digest.clone()),
            stored,
            changes: Vec::new(),
            touched: Vec::new(),
            failed: None,
            spoils_connection: false,
        })
    }

    pub(crate) fn sql(&self) -> &'a dyn Sql {
        self.session
    }

    /// The newest version of the root key.
    pub(crate) fn root_key_version(&self) -> u32 {
        self.ledger_key.version()
    }

    /// Appends an entry to the ledger.
    pub(crate) fn append(&mut self, entry: &NewEntry) -> Result<(), Failure> {
        let entry = &*without_nul(entry);
        let state = self.digest()?.entry_mac(&self.seal_key);
        let head = self.head.follow(&self.ledger_key, entry, Some(&state));
        self.session.execute(
            "INSERT INTO ledger (sequence, at, actor, action, target, detail, request_id, peer,
                 user_agent, link, root_key_version, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            values![
                head.sequence,
                entry.at.as_micros(),
                &entry.actor,
                &entry.action,
                &entry.target,
                &entry.detail,
                &entry.request_id,
                &entry.peer,
                &entry.user_agent,
                &head.link,
                self.ledger_key.version(),
                &state,
            ],
        )?;
        self.head = head;
        Ok(())
    }

    /// Where the ledger begins: sealed, unlike what [`ledger_base`] reads.
    pub(crate) fn base(&self) -> LedgerBase {
        self.base
    }

    /// Begins the ledger after a later entry.
    pub(crate) fn move_base(&mut self, base: LedgerBase) -> Result<(), Failure> {
        let LedgerBase { head: LedgerHead { sequence, link }, root_key_version } = base;
        self.session.execute(
            "INSERT INTO ledger_base (id, sequence, link, root_key_version) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence, link = excluded.link,
                 root_key_version = excluded.root_key_version",
            values![sequence, &link, root_key_version],
        )?;
        self.base = base;
        Ok(())
    }

    /// Links later entries under another key.
    pub(crate) fn link_under(&mut self, key: LedgerKey) {
        // Kept even if the transaction fails: a commit reported as failed can still be durable.
        *self.ledger_keys = self.ledger_keys.with_newest(&key);
        self.ledger_key = key;
    }

    /// Seals later rows under another key.
    pub(crate) fn seal_under(&mut self, key: SealKey) {
        // Kept even if the transaction fails, as in `link_under`.
        self.seals.add_key(&key);
        self.all_seal_keys = self.all_seal_keys.with_newest(&key);
        self.seal_key = key;
    }

    /// The keys that link the ledger.
    pub(crate) fn ledger_keys(&self) -> &LedgerKeys {
        self.ledger_keys
    }

    /// Whether the database is sealed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.digest.is_some()
    }

    /// Begins to seal the rows of a database that is older than seals.
    pub(crate) fn begin_seal(&mut self) {
        self.digest = Some(Digest::default());
    }

    /// The digest of all seals.
    pub(crate) fn digest(&self) -> Result<&Digest, Failure> {
        self.digest.as_ref().ok_or_else(not_sealed)
    }

    /// Whether a row and its stored seal match.
    pub(crate) fn verify(&self, row: SealedRow<'_>, stored: Option<&[u8]>) -> bool {
        let seal = stored.and_then(Seal::from_bytes);
        seal.is_some_and(|seal| row.verify(&self.all_seal_keys, &seal))
    }

    /// Seals a row that is about to be written, and returns the bytes to store in it.
    pub(crate) fn seal(&mut self, row: SealedRow<'_>) -> Result<[u8; Seal::LENGTH], Failure> {
        let seal = row.seal(&self.seal_key);
        let digest = self.digest.as_mut().ok_or_else(not_sealed)?;
        digest.add(&self.all_seal_keys, row.table(), &seal);
        if let SealedRow::ApiKey(key) = row {
            self.seal_changes.set(&key.client_id, Some(&seal));
        }
        Ok(seal.to_bytes())
    }

    /// Fails unless a key has the seal that it must have, and matches it.
    pub(crate) fn verify_key(&self, key: &ApiKey, stored: Option<&[u8]>) -> Result<(), Failure> {
        self.seals.verify(key, stored)
    }

    /// Fails if a key must exist of which there is no row.
    pub(crate) fn verify_absent(&self, client_id: &ClientId) -> Result<(), Failure> {
        self.seals.verify_absent(client_id)
    }

    /// Whether these are the seals of all rows of a table, as the state says.
    pub(crate) fn has_seals(&self, table: Table, seals: &[Option<Seal>]) -> Result<bool, Failure> {
        let mut found = Digest::default();
        for seal in seals.iter().flatten() {
            found.add(&self.all_seal_keys, table, seal);
        }
        Ok(self.digest()?.is_same(&found, table))
    }

    /// Deletes a key, and removes its seal.
    pub(crate) fn delete_key(&mut self, client_id: &ClientId) -> Result<(), Failure> {
        let delete = "DELETE FROM api_key WHERE client_id = ?1 RETURNING seal";
        self.delete_sealed(Table::ApiKeys, delete, values![client_id.as_str()])?;
        self.seal_changes.set(client_id, None);
        Ok(())
    }

    /// Remembers the stored seal of a key that is about to be changed.
    pub(crate) fn note_seal(&self, client_id: &ClientId, stored: Option<Vec<u8>>) {
        self.noted_seals.borrow_mut().insert(client_id.clone(), stored);
    }

    /// The stored seal of a key, if it was noted and the key was not sealed since.
    #[expect(clippy::option_option, reason = "a key without a seal was noted too")]
    pub(crate) fn take_noted_seal(&self, client_id: &ClientId) -> Option<Option<Vec<u8>>> {
        self.noted_seals.borrow_mut().remove(client_id)
    }

    /// Removes the seal of a row that is deleted or replaced.
    pub(crate) fn unseal(&mut self, table: Table, stored: Option<&[u8]>) -> Result<(), Failure> {
        let digest = self.digest.as_mut().ok_or_else(not_sealed)?;
        if let Some(seal) = stored.and_then(Seal::from_bytes) {
            digest.remove(&self.all_seal_keys, table, &seal);
        }
        Ok(())
    }

    /// Seals a row again, under the newest version. Returns the bytes to store, `Some(None)` if the
    /// row does not match its seal and must lose it, or `None` if nothing has to be stored.
    #[expect(clippy::option_option, reason = "NULL is one of the values to store")]
    pub(crate) fn sealed_again(
        &mut self,
        row: SealedRow<'_>,
        stored: Option<&[u8]>,
    ) -> Result<Option<Option<[u8; Seal::LENGTH]>>, Failure> {
        let version = stored.and_then(Seal::from_bytes).map(|seal| seal.version);
        // Before the first state, every row without a seal is sealed.
        let is_first = self.stored.is_none() && stored.is_none();
        if version == Some(self.seal_key.version()) || (stored.is_none() && !is_first) {
            return Ok(None);
        }
        let matches = is_first
            || match row {
                SealedRow::ApiKey(key) => self.verify_key(key, stored).is_ok(),
                SealedRow::Denial(_) | SealedRow::SigningKey(_) => self.verify(row, stored),
            };
        self.unseal(row.table(), stored)?;
        if matches { Ok(Some(Some(self.seal(row)?))) } else { Ok(Some(None)) }
    }

    /// Runs a statement that deletes rows and returns their seals. Returns the number of rows.
    pub(crate) fn delete_sealed(
        &mut self,
        table: Table,
        statement: &str,
        values: &[Value<'_>],
    ) -> Result<usize, Failure> {
        let seals = all(self.sql(), statement, values, |row| {
            Ok(Columns::new("seal", row).optional_bytes(0)?.map(<[u8]>::to_vec))
        })?;
        for seal in &seals {
            self.unseal(table, seal.as_deref())?;
        }
        Ok(seals.len())
    }

    /// Reports a change to the observer, after the commit.
    pub(crate) fn report(&mut self, change: Change) {
        self.touched.extend(Touched::by(&change));
        self.changes.push(change);
    }

    /// Notes a change that the call does not report to the observer.
    pub(crate) fn touch(&mut self, touched: Touched) {
        self.touched.push(touched);
    }

    /// Runs the work of one call. If it fails or panics, its effects are rolled back.
    pub(crate) fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let (head, base) = (self.head, self.base);
        let (changes, touched) = (self.changes.len(), self.touched.len());
        let seal_changes = self.seal_changes.len();
        let (ledger_key, seal_key) = (self.ledger_key.clone(), self.seal_key.clone());
        let digest = self.digest.clone();
        let attempted = self.session.begin_call().and_then(|()| {
            let result =
                catch_unwind(AssertUnwindSafe(|| work(self))).unwrap_or(Err(Failure::Panicked))?;
            self.session.end_call()?;
            Ok(result)
        });
        self.noted_seals.borrow_mut().clear();
        if let Err(failure) = &attempted {
            self.head = head;
            self.base = base;
            self.changes.truncate(changes);
            self.touched.truncate(touched);
            self.ledger_key = ledger_key;
            self.seal_key = seal_key;
            self.digest = digest;
            self.seal_changes.undo(seal_changes);
            self.spoils_connection |= failure.spoils_connection();
            if self.session.undo_call().is_err() {
                // SQLite itself rolls back the whole transaction when the disk is full or fails.
                self.failed = Some(failure.into());
            }
        }
        attempted
    }

    /// Whether the whole transaction is lost. No further call can run in it.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Commits, unless the transaction has failed.
    pub(crate) fn commit(mut self) -> Finished {
        if self.failed.is_none()
            && let Err(failure) = self.put_state()
        {
            self.spoils_connection |= failure.spoils_connection();
            self.failed = Some((&failure).into());
        }
        let Self {
            session,
            head,
            digest,
            changes,
            touched,
            seal_changes,
            failed,
            mut spoils_connection,
            ..
        } = self;
        let outcome = match failed {
            Some(failed) => Err(failed),
            None => session.commit(&touched, head).map_err(|failure| {
                spoils_connection |= failure.spoils_connection();
                CommitFailed::from(&failure)
            }),
        };
        if outcome.is_err() {
            spoils_connection |= session.roll_back().is_err();
        }
        spoils_connection |= session.is_spoiled();
        let outcome = outcome.map(|()| {
            seal_changes.keep();
            (Content { head, digest }, changes)
        });
        Finished { outcome, spoils_connection }
    }

    /// Stores the state, if it changed.
    fn put_state(&self) -> Result<(), Failure> {
        let Some(digest) = self.digest.clone() else { return Ok(()) };
        let state = State { head: self.head, base: self.base, digest };
        if self.stored.as_ref() == Some(&state) {
            return Ok(());
        }
        state::put_state(self.session, &self.seal_key, &state)
    }
}

/// An entry in which U+FFFD replaces each NUL. PostgreSQL refuses a NUL, and with it the batch.
fn without_nul(entry: &NewEntry) -> Cow<'_, NewEntry> {
    let NewEntry { at: _, actor, action, target, detail, request_id, peer, user_agent } = entry;
    let all = [actor, action, target, detail, request_id, peer, user_agent];
    if !all.iter().any(|text| text.contains('\0')) {
        return Cow::Borrowed(entry);
    }
    let [actor, action, target, detail, request_id, peer, user_agent] =
        all.map(|text| text.replace('\0', "\u{fffd}"));
    let at = entry.at;
    Cow::Owned(NewEntry { at, actor, action, target, detail, request_id, peer, user_agent })
}

fn not_sealed() -> Failure {
    Failure::Tampered("its rows are not sealed".to_owned())
}

pub(crate) const LEDGER_HEAD: &str =
    "SELECT sequence, link FROM ledger ORDER BY sequence DESC LIMIT 1";

/// The sequence number and link of the last entry; of the base if there is none.
pub(crate) fn ledger_head(sql: &dyn Sql) -> Result<LedgerHead, Failure> {
    let head = optional(sql, LEDGER_HEAD, values![], |row| {
        let columns = Columns::new("ledger", row);
        Ok(LedgerHead { sequence: columns.integer(0)?, link: columns.array(1)? })
    })?;
    match head {
        Some(head) => Ok(head),
        // The entry of an archive follows the base, so this is a ledger that was truncated.
        None => Ok(ledger_base(sql)?.head),
    }
}

/// The stored base of the ledger.
pub(crate) fn ledger_base(sql: &dyn Sql) -> Result<LedgerBase, Failure> {
    let select = "SELECT sequence, link, root_key_version FROM ledger_base";
    let base = optional(sql, select, values![], |row| {
        let columns = Columns::new("ledger_base", row);
        let head = LedgerHead { sequence: columns.integer(0)?, link: columns.array(1)? };
        Ok(LedgerBase { head, root_key_version: columns.integer(2)? })
    })?;
    Ok(base.unwrap_or(LedgerBase::EMPTY))
}
