//! Telling the observer all there is, in batches, so that the keys are never in memory all at once.

use gatekey_core::{
    ApiKey, StoredSecret,
    store::{Change, ChangeObserver},
    token::DeniedToken,
};
use rusqlite::{Connection, Rows};

use super::{
    api_keys::{self, KEY_COLUMNS, SECRET_COLUMNS},
    failure::Failure,
    key_ring,
    rows::Columns,
};

/// Changes told at once: few enough that a key is still in the processor's cache when it is told.
const BATCH: usize = 256;

/// Tells everything that a read transaction sees.
pub(super) fn load(connection: &Connection, observer: &dyn ChangeObserver) -> Result<(), Failure> {
    let mut batch = Vec::with_capacity(BATCH);
    each_change(connection, |change| {
        batch.push(change);
        if batch.len() == BATCH {
            observer.observe(&batch);
            batch.clear();
        }
    })?;
    if !batch.is_empty() {
        observer.observe(&batch);
    }
    Ok(())
}

/// Everything that a transaction sees, to be told at once in place of all that was told before.
pub(super) fn reload(connection: &Connection) -> Result<Vec<Change>, Failure> {
    let mut changes = vec![Change::Reset];
    each_change(connection, |change| changes.push(change))?;
    Ok(changes)
}

fn each_change(connection: &Connection, mut take: impl FnMut(Change)) -> Result<(), Failure> {
    each_key(connection, |key| take(Change::KeyPut(Box::new(key))))?;
    each_denial(connection, |denied| take(Change::TokenDenied(denied)))?;
    take(Change::SigningKeys(key_ring::all(connection)?));
    Ok(())
}

/// Walks keys and secrets side by side: both tables lie in the order of client ids.
pub(super) fn each_key(connection: &Connection, mut take: impl FnMut(ApiKey)) -> Result<(), Failure> {
    let mut keys = connection.prepare(&format!("SELECT {KEY_COLUMNS} FROM api_key ORDER BY client_id"))?;
    let mut keys = keys.query([])?;
    let mut secrets =
        connection.prepare(&format!("SELECT {SECRET_COLUMNS} FROM secret ORDER BY client_id, position"))?;
    let mut secrets = Secrets { rows: secrets.query([])?, owner: String::new(), next: None };
    secrets.advance()?;
    while let Some(row) = keys.next()? {
        let mut key = api_keys::key(row)?;
        while let Some(secret) = secrets.take_of(key.client_id.as_str())? {
            key.secrets.push(secret);
        }
        take(key);
    }
    match secrets.next {
        None => Ok(()),
        Some(_) => Err(Failure::Corrupt("secret.client_id names no key".to_owned())),
    }
}

/// The secrets, one looked ahead.
struct Secrets<'statement> {
    rows: Rows<'statement>,
    /// Whose the next one is.
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
            self.next = Some(api_keys::secret(row)?);
        }
        Ok(())
    }
}

fn each_denial(connection: &Connection, mut take: impl FnMut(DeniedToken)) -> Result<(), Failure> {
    let mut select = connection
        .prepare("SELECT jti, denial.expires_at, key_id FROM denial JOIN api_key USING (client_id)")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let columns = Columns::new("denial", row);
        take(DeniedToken {
            jti: columns.string(0)?,
            expires_at: columns.instant(1)?,
            key_id: Columns::new("api_key", row).parsed(2)?,
        });
    }
    Ok(())
}
