//! Keys and their secrets.
//!
//! # Layout
//! - this file: the calls, and their records of creates and uses.
//! - `admins`: keeps the last usable admin key.
//! - `rows`: the rows of keys and secrets.
//! - `list`: pages of keys.

mod admins;
pub(crate) mod list;
pub(crate) mod rows;

use async_trait::async_trait;
use gatekey_core::{
    ApiKey, ApiKeyPatch, KeyId, SecretId, StoreError, Timestamp,
    api_key::{
        Assignment, KeyChange, LastAdmin, RememberedCreate, Replay, Rotation, Switch,
        TooManySecrets, list::Selection, raised_epoch,
    },
    ledger::NewEntry,
    seal::Table,
    store::{ApiKeyStore, Assigned, Created, Rotated},
};
use gatekey_credentials::ClientId;

use super::{
    access::{Sql, optional, values},
    columns::Columns,
    failure::Failure,
    store::{Backend, SqlStore},
    touched::Touched,
    transaction::Transaction,
};

#[async_trait]
impl<B: Backend> ApiKeyStore for SqlStore<B> {
    async fn create_key(
        &self,
        key: ApiKey,
        replay: Replay,
        entry: NewEntry,
    ) -> Result<Created, StoreError> {
        let client_id = key.client_id.clone();
        self.change("store.create_key", &client_id, move |transaction, _| {
            create(transaction, key, &replay, &entry)
        })
        .await
    }

    async fn find_key(&self, client_id: &ClientId) -> Result<Option<ApiKey>, StoreError> {
        let client_id = client_id.clone();
        self.read_verified("store.find_key", move |sql, seals| {
            rows::find_verified(sql, seals, &client_id)
        })
        .await
    }

    async fn list_keys(
        &self,
        selection: Selection,
        limit: usize,
    ) -> Result<Vec<ApiKey>, StoreError> {
        self.read_verified("store.list_keys", move |sql, seals| {
            list::page(sql, seals, &selection, limit)
        })
        .await
    }

    async fn update_key(
        &self,
        client_id: &ClientId,
        patch: ApiKeyPatch,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError> {
        self.change("store.update_key", client_id, move |transaction, client_id| {
            change(transaction, client_id, last_admin, &entry, |key| {
                Some(key.update(&patch, entry.at))
            })
        })
        .await
    }

    async fn assign_role(
        &self,
        client_id: &ClientId,
        assignment: Assignment,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Assigned, StoreError> {
        self.change("store.assign_role", client_id, move |transaction, client_id| {
            let Some(before) = rows::find_to_change(transaction, client_id)? else {
                return Ok(Assigned::Absent);
            };
            let Some(change) = before.clone().assign(assignment, entry.at) else {
                return Ok(Assigned::NotHeld);
            };
            admins::check(transaction, last_admin, &before, Some(&change.key), entry.at)?;
            rows::write(transaction, &change)?;
            forget_create(transaction.sql(), &change.key)?;
            transaction.append(&entry)?;
            Ok(Assigned::Done(Box::new(change.key)))
        })
        .await
    }

    async fn delete_key(
        &self,
        client_id: &ClientId,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Option<KeyId>, StoreError> {
        self.change("store.delete_key", client_id, move |transaction, client_id| {
            let Some(key) = rows::find(transaction.sql(), client_id)? else {
                return transaction.verify_absent(client_id).map(|()| None);
            };
            // A key that does not match its seal is refused, so it is no usable admin.
            let last_admin = match rows::find_to_change(transaction, client_id) {
                Err(Failure::Tampered(_)) => LastAdmin::Release,
                Err(failure) => return Err(failure),
                Ok(_) => last_admin,
            };
            admins::check(transaction, last_admin, &key, None, entry.at)?;
            rows::delete(transaction, &key)?;
            forget_create(transaction.sql(), &key)?;
            transaction.append(&entry)?;
            Ok(Some(key.key_id))
        })
        .await
    }

    async fn rotate_secret(
        &self,
        client_id: &ClientId,
        rotation: Rotation,
        entry: NewEntry,
    ) -> Result<Rotated, StoreError> {
        self.change("store.rotate_secret", client_id, move |transaction, client_id| {
            let key = rows::find_to_change(transaction, client_id)?;
            let Some(key) = key.filter(|key| rotation.is_for(key)) else {
                return Ok(Rotated::Absent);
            };
            if !rotation.is_proven(&key, entry.at) {
                return Ok(Rotated::Unproven);
            }
            match key.rotate_secret(rotation, entry.at) {
                Err(TooManySecrets) => Ok(Rotated::TooManySecrets),
                Ok(change) => {
                    rows::write(transaction, &change)?;
                    forget_create(transaction.sql(), &change.key)?;
                    transaction.append(&entry)?;
                    Ok(Rotated::Done(Box::new(change.key)))
                }
            }
        })
        .await
    }

    async fn retire_secret(
        &self,
        client_id: &ClientId,
        secret_id: SecretId,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError> {
        self.change("store.retire_secret", client_id, move |transaction, client_id| {
            change(transaction, client_id, last_admin, &entry, |key| {
                key.retire_secret(secret_id, entry.at)
            })
        })
        .await
    }

    async fn switch_key(
        &self,
        client_id: &ClientId,
        switch: Switch,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError> {
        self.change("store.switch_key", client_id, move |transaction, client_id| {
            change(transaction, client_id, last_admin, &entry, |key| {
                Some(key.switch(switch, entry.at))
            })
        })
        .await
    }

    async fn raise_epochs(&self, least: u64, entry: NewEntry) -> Result<usize, StoreError> {
        self.write("store.raise_epochs", move |transaction| {
            let keys = raise_epochs(transaction, least)?;
            transaction.touch(Touched::Everything);
            transaction.append(&entry)?;
            Ok(keys)
        })
        .await
    }

    async fn record_last_used(&self, uses: Vec<(SecretId, Timestamp)>) -> Result<(), StoreError> {
        self.write("store.record_last_used", move |transaction| {
            uses.iter().try_for_each(|(id, at)| rows::record_use(transaction.sql(), *id, *at))
        })
        .await
    }
}

fn create(
    transaction: &mut Transaction<'_>,
    key: ApiKey,
    replay: &Replay,
    entry: &NewEntry,
) -> Result<Created, Failure> {
    let Some(existing) = rows::find_to_change(transaction, &key.client_id)? else {
        rows::insert(transaction, &key)?;
        remember_create(transaction.sql(), &key, replay)?;
        transaction.append(entry)?;
        return Ok(Created::New(Box::new(key)));
    };
    let earlier = find_create(transaction.sql(), &existing)?;
    let repeat = replay.repeat(existing, earlier.as_ref(), key.secrets);
    let change = repeat.ok_or(Failure::Conflict)?;
    count_repeat(transaction.sql(), &change.key)?;
    rows::write(transaction, &change)?;
    transaction.append(&replay.entry)?;
    Ok(Created::Replayed(Box::new(change.key)))
}

/// Applies a rule to a key, and writes the change with its entry. `None` if there is no such key or
/// the rule returns `None`.
fn change(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    last_admin: LastAdmin,
    entry: &NewEntry,
    rule: impl FnOnce(ApiKey) -> Option<KeyChange>,
) -> Result<Option<ApiKey>, Failure> {
    let Some(before) = rows::find_to_change(transaction, client_id)? else { return Ok(None) };
    let Some(change) = rule(before.clone()) else { return Ok(None) };
    let after = Some(&change.key);
    admins::check(transaction, last_admin, &before, after, entry.at)?;
    rows::write(transaction, &change)?;
    forget_create(transaction.sql(), &change.key)?;
    transaction.append(entry)?;
    Ok(Some(change.key))
}

fn remember_create(sql: &dyn Sql, key: &ApiKey, replay: &Replay) -> Result<(), Failure> {
    sql.execute(
        "INSERT INTO replay (created_at, client_id, actor, request_id, digest, repeats)
         VALUES (?1, ?2, ?3, ?4, ?5, 0)",
        values![
            key.created_at.as_micros(),
            key.client_id.as_str(),
            &replay.actor,
            &replay.request_id,
            &replay.digest,
        ],
    )
}

/// The create of a key, until it is purged.
fn find_create(sql: &dyn Sql, key: &ApiKey) -> Result<Option<RememberedCreate>, Failure> {
    optional(
        sql,
        "SELECT actor, request_id, digest, repeats FROM replay
         WHERE created_at = ?1 AND client_id = ?2",
        values![key.created_at.as_micros(), key.client_id.as_str()],
        |row| {
            let columns = Columns::new("replay", row);
            Ok(RememberedCreate {
                created_at: key.created_at,
                actor: columns.string(0)?,
                request_id: columns.string(1)?,
                digest: columns.array(2)?,
                repeats: columns.integer(3)?,
            })
        },
    )
}

fn count_repeat(sql: &dyn Sql, key: &ApiKey) -> Result<(), Failure> {
    sql.execute(
        "UPDATE replay SET repeats = repeats + 1 WHERE created_at = ?1 AND client_id = ?2",
        values![key.created_at.as_micros(), key.client_id.as_str()],
    )
}

/// Ends the time in which the create of a key can be repeated: when the key first changes, because
/// the secrets that a rotation showed would not be all, and when it is deleted.
pub(crate) fn forget_create(sql: &dyn Sql, key: &ApiKey) -> Result<(), Failure> {
    sql.execute(
        "DELETE FROM replay WHERE created_at = ?1 AND client_id = ?2",
        values![key.created_at.as_micros(), key.client_id.as_str()],
    )
}

/// Raises every epoch by [`raised_epoch`], and deletes the denials. Returns the number of
/// these keys. A key that does not match its seal stays as it is, refused.
fn raise_epochs(transaction: &mut Transaction<'_>, least: u64) -> Result<usize, Failure> {
    transaction.delete_sealed(Table::Denials, "DELETE FROM denial RETURNING seal", values![])?;
    let mut raised = 0;
    for client_id in &rows::client_ids(transaction.sql(), None, usize::MAX)? {
        match rows::find_to_change(transaction, client_id) {
            Ok(Some(mut key)) => {
                key.epoch = raised_epoch(key.epoch, least);
                rows::put_state(transaction.sql(), &key)?;
                rows::put_seal(transaction, &key)?;
                raised += 1;
            }
            Ok(None) | Err(Failure::Tampered(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(raised)
}
