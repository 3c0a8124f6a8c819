//! Reads everything, verifies the seals, and reports it to the observer.

use std::collections::HashMap;

use gatekey_core::{
    ApiKey, ledger,
    seal::{History, Recount, SealKeys, SealReport, SealedRow, Table},
    store::{Change, ChangeObserver},
};

use super::{
    access::Sql,
    api_key::rows,
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
pub(crate) fn load(
    sql: &dyn Sql,
    seals: &Seals,
    observer: &dyn ChangeObserver,
) -> Result<(), Failure> {
    let mut batch = Vec::with_capacity(BATCH);
    let (known, report) = each_sealed(sql, &seals.keys(), |change| {
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
pub(crate) fn reload(sql: &dyn Sql, seals: &Seals) -> Result<Vec<Change>, Failure> {
    let mut changes = vec![Change::Reset];
    let (known, report) = each_sealed(sql, &seals.keys(), |change| changes.push(change))?;
    judge(&report)?;
    seals.replace(known);
    Ok(changes)
}

/// Reads every row, verifies its seal, and passes what matches to `take`. Returns the seals of the
/// keys that match, too.
fn each_sealed(
    sql: &dyn Sql,
    keys: &SealKeys,
    mut take: impl FnMut(Change),
) -> Result<(KnownSeals, SealReport), Failure> {
    let key = newest_key(sql, keys)?;
    let unsealed = || Failure::Tampered("its rows are not sealed".to_owned());
    let state = state(sql, key)?.ok_or_else(unsealed)?;
    let mut recount = Recount::new(keys);
    let mut known = KnownSeals::of_all(state.digest.rows(Table::ApiKeys));
    each_key(sql, |key, seal| {
        if let Some(seal) = recount.add(SealedRow::ApiKey(&key), seal) {
            known.put(&key.client_id, &seal);
            take(Change::KeyPut(Box::new(key)));
        }
        Ok(())
    })?;
    denial::each(sql, |denied, seal| {
        if recount.add(SealedRow::Denial(&denied), seal).is_some() {
            take(Change::TokenDenied(denied));
        }
    })?;
    let mut signing_keys = Vec::new();
    signing_key::each(sql, |key, seal| {
        if recount.add(SealedRow::SigningKey(&key), seal).is_some() {
            signing_keys.push(key);
        }
    })?;
    take(Change::SigningKeys(signing_keys));
    let mut report = recount.finish(&state, ledger_base(sql)?, ledger_head(sql)?);
    if report.keys_differ() {
        name_keys(sql, &mut report)?;
    }
    Ok((known, report))
}

/// Verifies the seals of all rows.
pub(crate) fn verify(sql: &dyn Sql, keys: &SealKeys) -> Result<SealReport, Failure> {
    Ok(each_sealed(sql, keys, drop)?.1)
}

/// Lets the ledger tell which keys differ.
fn name_keys(sql: &dyn Sql, report: &mut SealReport) -> Result<(), Failure> {
    let mut found = HashMap::new();
    each_key(sql, |key, _| {
        found.insert(key.client_id, key.updated_at);
        Ok(())
    })?;
    let mut history = History::default();
    let mut after = 0;
    loop {
        let page = entries(sql, after, ledger::PAGE)?;
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
pub(crate) fn judge(report: &SealReport) -> Result<(), Failure> {
    if let Some(keys) = report.refused() {
        tracing::error!(%keys, "API keys do not match their seals: refusing them");
    }
    report.mismatch().map_or(Ok(()), |mismatch| Err(Failure::Tampered(mismatch)))
}

/// Keys read at once.
const PAGE: i64 = 1024;

/// Passes each key with its stored seal to `take`, in the order of client ids.
pub(crate) fn each_key(
    sql: &dyn Sql,
    mut take: impl FnMut(ApiKey, Option<&[u8]>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let keys = rows::after(sql, &after, PAGE)?;
        let is_last = i64::try_from(keys.len()).is_ok_and(|keys| keys < PAGE);
        let end = keys.last().filter(|_| !is_last).map(|(key, _)| key.client_id.to_string());
        let mut secrets =
            rows::secrets_between(sql, &after, end.as_deref())?.into_iter().peekable();
        for (mut key, seal) in keys {
            while let Some((_, secret)) =
                secrets.next_if(|(owner, _)| owner == key.client_id.as_str())
            {
                key.secrets.push(secret);
            }
            take(key, seal.as_deref())?;
        }
        if secrets.next().is_some() {
            return Err(Failure::Corrupt("secret.client_id refers to no key".to_owned()));
        }
        match end {
            Some(end) => after = end,
            None => return Ok(()),
        }
    }
}
