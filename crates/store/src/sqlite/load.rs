//! Reads everything, verifies the seals, and reports it to the observer.

use std::collections::HashMap;

use gatekey_core::{
    ApiKey, StoredSecret, ledger,
    seal::{History, Recount, SealKeys, SealReport, SealedRow, Table},
    store::{Change, ChangeObserver},
};
use rusqlite::{Connection, Rows};

use super::{
    api_key::rows::{self, KEY_COLUMNS, SECRET_COLUMNS},
    columns::Columns,
    denial,
    failure::Failure,
    known_seals::{KnownSeals, Seals},
    ledger::entries,
    signing_key,
    state::{newest_key, state},
    transaction::{ledger_base, ledger_head},
};

/// Changes reported at once, so that not all keys are in memory. So few that a key is still in the
/// processor's cache when it is reported.
const BATCH: usize = 256;

/// Reports everything that a read transaction sees, in batches.
///
/// Fails if they must not be served, after everything was reported.
pub(super) fn load(
    connection: &Connection,
    seals: &Seals,
    observer: &dyn ChangeObserver,
) -> Result<(), Failure> {
    let mut batch = Vec::with_capacity(BATCH);
    let (known, report) = each_sealed(connection, &seals.keys(), |change| {
        batch.push(change);
        if batch.len() == BATCH {
            observer.observe(&batch);
            batch.clear();
        }
    })?;
    if !batch.is_empty() {
        observer.observe(&batch);
    }
    judge(&report)?;
    seals.replace(known);
    Ok(())
}

/// Everything that a transaction sees, as changes that replace all earlier ones.
pub(super) fn reload(connection: &Connection, seals: &Seals) -> Result<Vec<Change>, Failure> {
    let mut changes = vec![Change::Reset];
    let (known, report) = each_sealed(connection, &seals.keys(), |change| changes.push(change))?;
    judge(&report)?;
    seals.replace(known);
    Ok(changes)
}

/// Reads every row, verifies its seal, and passes what matches to `take`. Returns the seals of the
/// keys that match, too.
fn each_sealed(
    connection: &Connection,
    keys: &SealKeys,
    mut take: impl FnMut(Change),
) -> Result<(KnownSeals, SealReport), Failure> {
    let key = newest_key(connection, keys)?;
    let unsealed = || Failure::Tampered("its rows are not sealed".to_owned());
    let state = state(connection, key)?.ok_or_else(unsealed)?;
    let mut recount = Recount::new(keys);
    let mut known = KnownSeals::of_all(state.digest.rows(Table::ApiKeys));
    each_key(connection, |key, seal| {
        if let Some(seal) = recount.add(SealedRow::ApiKey(&key), seal) {
            known.put(&key.client_id, &seal);
            take(Change::KeyPut(Box::new(key)));
        }
        Ok(())
    })?;
    denial::each(connection, |denied, seal| {
        if recount.add(SealedRow::Denial(&denied), seal).is_some() {
            take(Change::TokenDenied(denied));
        }
    })?;
    let mut signing_keys = Vec::new();
    signing_key::each(connection, |key, seal| {
        if recount.add(SealedRow::SigningKey(&key), seal).is_some() {
            signing_keys.push(key);
        }
    })?;
    take(Change::SigningKeys(signing_keys));
    let mut report = recount.finish(&state, ledger_base(connection)?, ledger_head(connection)?);
    if report.keys_differ() {
        name_keys(connection, &mut report)?;
    }
    Ok((known, report))
}

/// Verifies the seals of all rows.
pub(super) fn verify(connection: &Connection, keys: &SealKeys) -> Result<SealReport, Failure> {
    Ok(each_sealed(connection, keys, drop)?.1)
}

/// Lets the ledger tell which keys differ.
fn name_keys(connection: &Connection, report: &mut SealReport) -> Result<(), Failure> {
    let mut found = HashMap::new();
    each_key(connection, |key, _| {
        found.insert(key.client_id, key.updated_at);
        Ok(())
    })?;
    let mut history = History::default();
    let mut after = 0;
    loop {
        let page = entries(connection, after, ledger::PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.sequence;
        for entry in &page {
            history.read(entry);
        }
    }
    report.name_keys(&history, &found);
    Ok(())
}

/// The failure of a report after which the store must not be served. Logs refused keys.
pub(super) fn judge(report: &SealReport) -> Result<(), Failure> {
    if let Some(keys) = report.refused() {
        tracing::error!(%keys, "API keys do not match their seals: refusing them");
    }
    report.mismatch().map_or(Ok(()), |mismatch| Err(Failure::Tampered(mismatch)))
}

/// Passes each key with its stored seal to `take`, in the order of client ids. Reads keys and
/// secrets side by side: both tables are in that order.
pub(super) fn each_key(
    connection: &Connection,
    mut take: impl FnMut(ApiKey, Option<&[u8]>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut keys = connection
        .prepare(&format!("SELECT {KEY_COLUMNS}, seal FROM api_key ORDER BY client_id"))?;
    let mut keys = keys.query([])?;
    let mut secrets = connection
        .prepare(&format!("SELECT {SECRET_COLUMNS} FROM secret ORDER BY client_id, position"))?;
    let mut secrets = Secrets { rows: secrets.query([])?, owner: String::new(), next: None };
    secrets.advance()?;
    while let Some(row) = keys.next()? {
        let mut key = rows::key(row)?;
        while let Some(secret) = secrets.take_of(key.client_id.as_str())? {
            key.secrets.push(secret);
        }
        take(key, rows::stored_seal(row)?)?;
    }
    match secrets.next {
        None => Ok(()),
        Some(_) => Err(Failure::Corrupt("secret.client_id refers to no key".to_owned())),
    }
}

/// The secrets of all keys, read one ahead.
struct Secrets<'statement> {
    rows: Rows<'statement>,
    /// The client id of `next`.
    owner: String,
    next: Option<StoredSecret>,
}

impl Secrets<'_> {
    fn take_of(&mut self, client_id: &str) -> Result<Option<StoredSecret>, Failure> {
        if self.owner != client_id {
            return Ok(None);
        }
        let secret = self.next.take();
        self.advance()?;
        Ok(secret)
    }

    fn advance(&mut self) -> Result<(), Failure> {
        self.owner.clear();
        if let Some(row) = self.rows.next()? {
            self.owner.push_str(Columns::new("secret", row).text(0)?);
            self.next = Some(rows::secret(row)?);
        }
        Ok(())
    }
}
