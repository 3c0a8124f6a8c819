//! Keys and their secrets.

use gatekey_core::{
    ApiKey, ApiKeyPatch, Application, KeyId, SecretHash, SecretId, StoredSecret, Timestamp,
    ledger::NewEntry,
    store::{Change, Created, Replay, Rotated, Rotation, Switch},
};
use gatekey_credentials::{ClientId, Role};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    failure::Failure,
    rows::{Columns, json, micros},
    transaction::Transaction,
};
use crate::names::{Named, join};

/// The columns that [`key`] reads, in its order.
pub(super) const KEY_COLUMNS: &str = "client_id, key_id, organization, role, client_name, redirect_uris, \
    response_types, grant_types, application_type, contacts, logo_uri, client_uri, policy_uri, tos_uri, \
    jwks_uri, token_endpoint_auth_method, consent_method, created_at, updated_at, expires_at, disabled_at, \
    epoch";

/// The columns that [`secret`] reads, in its order; the first tells whose it is.
pub(super) const SECRET_COLUMNS: &str = "client_id, secret_id, label, pepper_version, mac, created_at, \
    not_before, expires_at, last_used_at";

pub(super) fn create(
    transaction: &mut Transaction<'_>,
    key: ApiKey,
    replay: &Replay,
    entry: &NewEntry,
) -> Result<Created, Failure> {
    if let Some(earlier) = find(transaction.connection(), &key.client_id)? {
        return repeat(transaction, earlier, key.secrets, replay);
    }
    insert(transaction.connection(), &key)?;
    for secret in &key.secrets {
        insert_secret(transaction.connection(), &key.client_id, secret)?;
    }
    let mut remember = transaction.connection().prepare_cached(
        "INSERT INTO replay (created_at, client_id, actor, request_id, digest, repeats)
         VALUES (?1, ?2, ?3, ?4, ?5, 0)",
    )?;
    remember.execute(params![
        key.created_at.as_micros(),
        key.client_id.as_str(),
        replay.actor,
        replay.request_id,
        replay.digest
    ])?;
    drop(remember);
    transaction.append(entry)?;
    let key = Box::new(key);
    transaction.report(Change::KeyPut(key.clone()));
    Ok(Created::New(key))
}

/// Adds the secret to the key that the same call created before.
fn repeat(
    transaction: &mut Transaction<'_>,
    mut key: ApiKey,
    secrets: Vec<StoredSecret>,
    replay: &Replay,
) -> Result<Created, Failure> {
    let mut count = transaction.connection().prepare_cached(
        "UPDATE replay SET repeats = repeats + 1
         WHERE created_at = ?1 AND client_id = ?2 AND actor = ?3 AND request_id = ?4 AND digest = ?5
           AND created_at >= ?6 AND repeats < ?7",
    )?;
    let known = count.execute(params![
        key.created_at.as_micros(),
        key.client_id.as_str(),
        replay.actor,
        replay.request_id,
        replay.digest,
        replay.since.as_micros(),
        replay.limit
    ])?;
    drop(count);
    if known == 0 {
        return Err(Failure::Conflict);
    }
    for secret in secrets {
        insert_secret(transaction.connection(), &key.client_id, &secret)?;
        key.secrets.push(secret);
    }
    finish_change(transaction, &mut key, &replay.entry)?;
    Ok(Created::Replayed(Box::new(key)))
}

pub(super) fn update(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    patch: &ApiKeyPatch,
    entry: &NewEntry,
) -> Result<Option<ApiKey>, Failure> {
    let Some(mut key) = find(transaction.connection(), client_id)? else { return Ok(None) };
    let loses_role = patch.takes_role_from(&key);
    patch.apply(&mut key, entry.at);
    put_application(transaction.connection(), &key)?;
    if loses_role {
        finish_change_with_new_epoch(transaction, &mut key, entry)?;
    } else {
        finish_change(transaction, &mut key, entry)?;
    }
    Ok(Some(key))
}

pub(super) fn delete(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    entry: &NewEntry,
) -> Result<Option<KeyId>, Failure> {
    let Some(key) = find(transaction.connection(), client_id)? else { return Ok(None) };
    // Secrets and denials follow by the foreign keys' cascades.
    transaction
        .connection()
        .prepare_cached("DELETE FROM api_key WHERE client_id = ?1")?
        .execute([client_id.as_str()])?;
    transaction
        .connection()
        .prepare_cached("DELETE FROM replay WHERE created_at = ?1 AND client_id = ?2")?
        .execute(params![key.created_at.as_micros(), client_id.as_str()])?;
    transaction.append(entry)?;
    transaction.report(Change::KeyDeleted { client_id: key.client_id, key_id: key.key_id });
    Ok(Some(key.key_id))
}

pub(super) fn rotate_secret(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    rotation: Rotation,
    entry: &NewEntry,
) -> Result<Rotated, Failure> {
    let Rotation { secret, retire_others_at, raise_epoch, max_secrets, only_key } = rotation;
    let key = find(transaction.connection(), client_id)?;
    let Some(mut key) = key.filter(|key| only_key.is_none_or(|only_key| key.key_id == only_key)) else {
        return Ok(Rotated::Absent);
    };
    let mut dated = Vec::new();
    for other in &mut key.secrets {
        let before = (other.not_before, other.expires_at);
        end_by(other, retire_others_at, entry.at);
        if (other.not_before, other.expires_at) != before {
            dated.push(other.clone());
        }
    }
    let now = secret.created_at;
    let has_expired = |secret: &StoredSecret| secret.expires_at.is_some_and(|at| at <= now);
    let expired = key.secrets.iter().filter(|other| has_expired(other)).count();
    if key.secrets.len() - expired + usize::from(!has_expired(&secret)) > max_secrets {
        return Ok(Rotated::TooManySecrets);
    }
    for other in &dated {
        put_dates(transaction.connection(), other)?;
    }
    // A key that rotates itself every minute must not grow by it.
    let surplus: Vec<SecretId> =
        key.secrets.iter().filter(|other| has_expired(other)).map(|other| other.id).collect();
    let surplus = &surplus[..expired.saturating_sub(max_secrets)];
    for forgotten in surplus {
        forget_secret(transaction.connection(), *forgotten)?;
    }
    key.secrets.retain(|other| !surplus.contains(&other.id));
    insert_secret(transaction.connection(), client_id, &secret)?;
    key.secrets.push(secret);
    if raise_epoch {
        finish_change_with_new_epoch(transaction, &mut key, entry)?;
    } else {
        finish_change(transaction, &mut key, entry)?;
    }
    Ok(Rotated::Done(Box::new(key)))
}

pub(super) fn retire_secret(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    secret_id: SecretId,
    entry: &NewEntry,
) -> Result<Option<ApiKey>, Failure> {
    let Some(mut key) = find(transaction.connection(), client_id)? else { return Ok(None) };
    let Some(secret) = key.secrets.iter_mut().find(|secret| secret.id == secret_id) else { return Ok(None) };
    end_by(secret, entry.at, entry.at);
    put_dates(transaction.connection(), secret)?;
    finish_change(transaction, &mut key, entry)?;
    Ok(Some(key))
}

pub(super) fn switch(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    switch: Switch,
    entry: &NewEntry,
) -> Result<Option<ApiKey>, Failure> {
    let Some(mut key) = find(transaction.connection(), client_id)? else { return Ok(None) };
    match (switch, key.disabled_at) {
        (Switch::Disable(at), None) => {
            key.disabled_at = Some(at);
            finish_change_with_new_epoch(transaction, &mut key, entry)?;
        }
        (Switch::Enable(_), Some(_)) => {
            key.disabled_at = None;
            finish_change(transaction, &mut key, entry)?;
        }
        (Switch::Disable(_), Some(_)) | (Switch::Enable(_), None) => transaction.append(entry)?,
    }
    Ok(Some(key))
}

/// Kills every token of every key; gives how many keys there are. The observer is told nothing.
pub(super) fn raise_epochs(
    transaction: &mut Transaction<'_>,
    least: u64,
    entry: &NewEntry,
) -> Result<usize, Failure> {
    let least = i64::try_from(least).map_err(|_| Failure::Corrupt("an epoch is too large".to_owned()))?;
    transaction.connection().execute("DELETE FROM denial", [])?;
    let keys = transaction.connection().execute("UPDATE api_key SET epoch = max(epoch + 1, ?1)", [least])?;
    transaction.append(entry)?;
    Ok(keys)
}

pub(super) fn record_last_used(
    transaction: &mut Transaction<'_>,
    uses: &[(SecretId, Timestamp)],
) -> Result<(), Failure> {
    let mut update = transaction.connection().prepare_cached(
        "UPDATE secret SET last_used_at = ?2
         WHERE secret_id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)",
    )?;
    for (secret_id, at) in uses {
        update.execute(params![secret_id.to_string(), at.as_micros()])?;
    }
    Ok(())
}

/// The key of a client id with its secrets.
pub(super) fn find(connection: &Connection, client_id: &ClientId) -> Result<Option<ApiKey>, Failure> {
    let mut select =
        connection.prepare_cached(&format!("SELECT {KEY_COLUMNS} FROM api_key WHERE client_id = ?1"))?;
    let found = select.query_row([client_id.as_str()], |row| Ok(key(row))).optional()?;
    let Some(mut found) = found.transpose()? else { return Ok(None) };
    let mut select = connection.prepare_cached(&format!(
        "SELECT {SECRET_COLUMNS} FROM secret WHERE client_id = ?1 ORDER BY position"
    ))?;
    let mut rows = select.query([client_id.as_str()])?;
    while let Some(row) = rows.next()? {
        found.secrets.push(secret(row)?);
    }
    Ok(Some(found))
}

/// A key of a row of [`KEY_COLUMNS`], its secrets still to come.
pub(super) fn key(row: &Row<'_>) -> Result<ApiKey, Failure> {
    let columns = Columns::new("api_key", row);
    Ok(ApiKey {
        client_id: columns.parsed(0)?,
        key_id: columns.parsed(1)?,
        organization: columns.string(2)?,
        role: columns.optional_parsed(3)?,
        application: Application {
            client_name: columns.string(4)?,
            redirect_uris: columns.texts(5)?,
            response_types: columns.names(6)?,
            grant_types: columns.names(7)?,
            application_type: columns.named(8)?,
            contacts: columns.texts(9)?,
            logo_uri: columns.string(10)?,
            client_uri: columns.string(11)?,
            policy_uri: columns.string(12)?,
            tos_uri: columns.string(13)?,
            jwks_uri: columns.string(14)?,
            token_endpoint_auth_method: columns.named(15)?,
            consent_method: columns.named(16)?,
        },
        created_at: columns.instant(17)?,
        updated_at: columns.instant(18)?,
        expires_at: columns.optional_instant(19)?,
        disabled_at: columns.optional_instant(20)?,
        epoch: columns.integer(21)?,
        secrets: Vec::with_capacity(1),
    })
}

/// A secret of a row of [`SECRET_COLUMNS`].
pub(super) fn secret(row: &Row<'_>) -> Result<StoredSecret, Failure> {
    let columns = Columns::new("secret", row);
    Ok(StoredSecret {
        id: columns.parsed(1)?,
        label: columns.string(2)?,
        hash: SecretHash { pepper_version: columns.integer(3)?, mac: columns.array(4)? },
        created_at: columns.instant(5)?,
        not_before: columns.instant(6)?,
        expires_at: columns.optional_instant(7)?,
        last_used_at: columns.optional_instant(8)?,
    })
}

/// What every change of a key ends with: its date, the ledger's entry, and the observer's news.
fn finish_change(
    transaction: &mut Transaction<'_>,
    key: &mut ApiKey,
    entry: &NewEntry,
) -> Result<(), Failure> {
    key.updated_at = entry.at;
    put_state(transaction.connection(), key)?;
    transaction.append(entry)?;
    transaction.report(Change::KeyPut(Box::new(key.clone())));
    Ok(())
}

/// The same, and kills every earlier token of the key, so that none of its denials needs remembering.
pub(super) fn finish_change_with_new_epoch(
    transaction: &mut Transaction<'_>,
    key: &mut ApiKey,
    entry: &NewEntry,
) -> Result<(), Failure> {
    key.epoch += 1;
    transaction
        .connection()
        .prepare_cached("DELETE FROM denial WHERE client_id = ?1")?
        .execute([key.client_id.as_str()])?;
    finish_change(transaction, key, entry)?;
    // After the key: an observer must at no time have neither the denials nor the new epoch.
    transaction.report(Change::DenialsDropped(key.key_id));
    Ok(())
}

fn insert(connection: &Connection, key: &ApiKey) -> Result<(), Failure> {
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO api_key ({KEY_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
         ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22)"
    ))?;
    let application = &key.application;
    insert.execute(params![
        key.client_id.as_str(),
        key.key_id.to_string(),
        key.organization,
        key.role.map(Role::as_str),
        application.client_name,
        json(&application.redirect_uris),
        join(&application.response_types),
        join(&application.grant_types),
        application.application_type.name(),
        json(&application.contacts),
        application.logo_uri,
        application.client_uri,
        application.policy_uri,
        application.tos_uri,
        application.jwks_uri,
        application.token_endpoint_auth_method.name(),
        application.consent_method.name(),
        key.created_at.as_micros(),
        key.updated_at.as_micros(),
        micros(key.expires_at),
        micros(key.disabled_at),
        stored_epoch(key)?,
    ])?;
    Ok(())
}

/// Writes what a patch can change.
fn put_application(connection: &Connection, key: &ApiKey) -> Result<(), Failure> {
    let mut update = connection.prepare_cached(
        "UPDATE api_key SET role = ?2, client_name = ?3, redirect_uris = ?4, response_types = ?5, \
         grant_types = ?6, application_type = ?7, contacts = ?8, logo_uri = ?9, client_uri = ?10, \
         policy_uri = ?11, tos_uri = ?12, jwks_uri = ?13, token_endpoint_auth_method = ?14, \
         consent_method = ?15, expires_at = ?16 WHERE client_id = ?1",
    )?;
    let application = &key.application;
    update.execute(params![
        key.client_id.as_str(),
        key.role.map(Role::as_str),
        application.client_name,
        json(&application.redirect_uris),
        join(&application.response_types),
        join(&application.grant_types),
        application.application_type.name(),
        json(&application.contacts),
        application.logo_uri,
        application.client_uri,
        application.policy_uri,
        application.tos_uri,
        application.jwks_uri,
        application.token_endpoint_auth_method.name(),
        application.consent_method.name(),
        micros(key.expires_at),
    ])?;
    Ok(())
}

/// Writes what changes without a patch.
fn put_state(connection: &Connection, key: &ApiKey) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "UPDATE api_key SET updated_at = ?2, disabled_at = ?3, epoch = ?4 WHERE client_id = ?1",
        )?
        .execute(params![
            key.client_id.as_str(),
            key.updated_at.as_micros(),
            micros(key.disabled_at),
            stored_epoch(key)?
        ])?;
    Ok(())
}

fn stored_epoch(key: &ApiKey) -> Result<i64, Failure> {
    i64::try_from(key.epoch)
        .map_err(|_| Failure::Corrupt("api_key.epoch has no room for a larger number".to_owned()))
}

fn insert_secret(
    connection: &Connection,
    client_id: &ClientId,
    secret: &StoredSecret,
) -> Result<(), Failure> {
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO secret ({SECRET_COLUMNS}, position) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, \
         (SELECT coalesce(max(position), 0) + 1 FROM secret WHERE client_id = ?1))"
    ))?;
    insert.execute(params![
        client_id.as_str(),
        secret.id.to_string(),
        secret.label,
        secret.hash.pepper_version,
        secret.hash.mac,
        secret.created_at.as_micros(),
        secret.not_before.as_micros(),
        micros(secret.expires_at),
        micros(secret.last_used_at),
    ])?;
    Ok(())
}

/// Ends a secret at an instant, unless it ends earlier. One that ends now is left no span in which it would be valid:
/// that it was retired must not depend on what the clock says later.
fn end_by(secret: &mut StoredSecret, at: Timestamp, now: Timestamp) {
    let end = secret.expires_at.map_or(at, |expires_at| expires_at.min(at));
    secret.expires_at = Some(end);
    if at <= now {
        secret.not_before = secret.not_before.max(end);
    }
}

fn forget_secret(connection: &Connection, secret_id: SecretId) -> Result<(), Failure> {
    connection.prepare_cached("DELETE FROM secret WHERE secret_id = ?1")?.execute([secret_id.to_string()])?;
    Ok(())
}

fn put_dates(connection: &Connection, secret: &StoredSecret) -> Result<(), Failure> {
    connection
        .prepare_cached("UPDATE secret SET not_before = ?2, expires_at = ?3 WHERE secret_id = ?1")?
        .execute(params![secret.id.to_string(), secret.not_before.as_micros(), micros(secret.expires_at)])?;
    Ok(())
}
