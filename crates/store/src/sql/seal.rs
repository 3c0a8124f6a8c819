//! Seals the rows of a database that is older than seals, and those under an older root key.

use gatekey_core::{
    LedgerKeys,
    ledger::{self, LedgerBase, LedgerHead, NewEntry, verify_chain},
    seal::{History, SealKeys, Sealed, State},
};
use gatekey_credentials::ClientId;

use super::{
    access::{Sql, one, values},
    api_key::rows,
    columns::Columns,
    denial,
    failure::Failure,
    ledger::entries,
    signing_key,
    state::{newest_key, put_state},
    transaction::{Transaction, ledger_base},
};

/// Whether the database is older than seals. Not proven: only `seal_store` checks the ledger.
pub(crate) fn predates(sql: &dyn Sql) -> Result<bool, Failure> {
    one(
        sql,
        "SELECT NOT EXISTS (SELECT 1 FROM state) AND coalesce(
             (SELECT state IS NULL FROM ledger ORDER BY sequence DESC LIMIT 1), false)",
        values![],
        |row| Columns::new("state", row).boolean(0),
    )
}

/// Gives a new database its first state.
pub(crate) fn begin(sql: &dyn Sql, keys: &SealKeys) -> Result<(), Failure> {
    if is_new(sql)? {
        put_state(sql, newest_key(sql, keys)?, &State::empty())?;
    }
    Ok(())
}

/// Whether nothing was ever stored.
fn is_new(sql: &dyn Sql) -> Result<bool, Failure> {
    one(
        sql,
        "SELECT NOT (EXISTS (SELECT 1 FROM api_key) OR EXISTS (SELECT 1 FROM signing_key)
                     OR EXISTS (SELECT 1 FROM denial) OR EXISTS (SELECT 1 FROM ledger)
                     OR EXISTS (SELECT 1 FROM state))",
        values![],
        |row| Columns::new("state", row).boolean(0),
    )
}

/// Seals all rows of a database that is older than seals.
pub(crate) fn seal_store(
    transaction: &mut Transaction<'_>,
    entry: &NewEntry,
) -> Result<Option<Sealed>, Failure> {
    if transaction.is_sealed() {
        return Ok(None);
    }
    let history = history_without_seals(transaction.sql(), transaction.ledger_keys())?;
    transaction.begin_seal();
    for client_id in &rows::client_ids(transaction.sql(), None, usize::MAX)? {
        // Otherwise someone could put back the ledger from before, with keys of their choice.
        match rows::find(transaction.sql(), client_id)? {
            Some(key) if history.agrees_with(&key) => rows::reseal(transaction, client_id)?,
            Some(_) | None => {
                tracing::error!(key = %client_id, "not sealing an API key that is not as the ledger says");
            }
        }
        denial::reseal(transaction, client_id)?;
    }
    let keys = signing_key::all(transaction.sql())?;
    signing_key::put_sealed(transaction, &keys)?;
    let sealed = Sealed::of(transaction.digest()?);
    transaction.append(&sealed.entry(entry))?;
    Ok(Some(sealed))
}

/// Reads the whole ledger. Refuses a database that was sealed before, or whose ledger does not
/// verify: its rows could be anything.
fn history_without_seals(sql: &dyn Sql, keys: &LedgerKeys) -> Result<History, Failure> {
    // Entries are archived only after rows are sealed.
    if ledger_base(sql)? != LedgerBase::EMPTY {
        return Err(seal_removed());
    }
    let (mut head, mut history) = (LedgerHead::EMPTY, History::default());
    loop {
        let page = entries(sql, head.sequence, ledger::PAGE)?;
        if page.is_empty() {
            return Ok(history);
        }
        if page.iter().any(|entry| entry.state.is_some()) {
            return Err(seal_removed());
        }
        head = verify_chain(keys, head, &page).map_err(|broken| {
            Failure::Tampered(format!("its rows are not sealed yet, and {broken}"))
        })?;
        for entry in &page {
            history.read(entry);
        }
    }
}

fn seal_removed() -> Failure {
    Failure::Tampered("the seal of its rows was removed".to_owned())
}

/// Seals up to `limit` keys after a client id again under the newest version.
pub(crate) fn reseal_rows(
    transaction: &mut Transaction<'_>,
    after: Option<&ClientId>,
    limit: usize,
) -> Result<Option<ClientId>, Failure> {
    let newest = transaction.root_key_version();
    if transaction.digest()?.rows_except(newest) == 0 {
        return Ok(None);
    }
    let mut client_ids = rows::client_ids(transaction.sql(), after, limit)?;
    for client_id in &client_ids {
        rows::reseal(transaction, client_id)?;
        denial::reseal(transaction, client_id)?;
    }
    Ok(client_ids.pop())
}
