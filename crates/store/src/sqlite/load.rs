//! Reports everything stored to the observer.

use gatekey_core::{
    ApiKey, StoredSecret,
    store::{Change, ChangeObserver},
};
use rusqlite::{Connection, Rows};

use super::{
    api_key::rows::{self, KEY_COLUMNS, SECRET_COLUMNS},
    columns::Columns,
    failure::Failure,
    signing_key, token,
};

/// Changes reported at once, so that not all keys are in memory. So few that a key is still in the
/// processor's cache when it is reported.
const BATCH: usize = 256;

/// Reports everything that a read transaction sees, in batches.
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

/// Everything that a transaction sees, as changes that replace all earlier ones.
pub(super) fn reload(connection: &Connection) -> Result<Vec<Change>, Failure> {
    let mut changes = vec![Change::Reset];
    each_change(connection, |change| changes.push(change))?;
    Ok(changes)
}

fn each_change(connection: &Connection, mut take: impl FnMut(Change)) -> Result<(), Failure> {
    each_key(connection, |key| take(Change::KeyPut(Box::new(key))))?;
    token::each_denial(connection, |denied| take(Change::TokenDenied(denied)))?;
    take(Change::SigningKeys(signing_key::all(connection)?));
    Ok(())
}

/// Passes each key to `take`, in the order of client ids. Reads keys and secrets side by side: both
/// tables are in that order.
pub(super) fn each_key(
    connection: &Connection,
    mut take: impl FnMut(ApiKey),
) -> Result<(), Failure> {
    let mut keys =
        connection.prepare(&format!("SELECT {KEY_COLUMNS} FROM api_key ORDER BY client_id"))?;
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
        take(key);
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
