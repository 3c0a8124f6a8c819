//! The rows of keys and secrets.

use gatekey_core::{
    ApiKey, Application, SecretHash, SecretId, StoredSecret,
    api_key::{KeyChange, Roles},
    seal::{Seal, SealedRow, Table},
    store::Change,
};
use gatekey_credentials::{ClientId, Role};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::{
    names::{Named, join},
    sqlite::{
        columns::{Columns, json, micros},
        denial,
        failure::Failure,
        known_seals::Seals,
        transaction::Transaction,
    },
};

/// The columns that [`key`] reads, in its order.
pub(in crate::sqlite) const KEY_COLUMNS: &str = "client_id, key_id, organization, role, client_name, \
    redirect_uris, response_types, grant_types, application_type, contacts, logo_uri, client_uri, \
    policy_uri, tos_uri, jwks_uri, token_endpoint_auth_method, consent_method, created_at, updated_at, \
    expires_at, disabled_at, epoch, other_roles, limits";

/// The columns that [`secret`] reads, in its order. The first names the key.
pub(in crate::sqlite) const SECRET_COLUMNS: &str = "client_id, secret_id, label, pepper_version, mac, \
    created_at, not_before, expires_at, admin_expiry, last_used_at";

/// A key and its secrets, which are not verified.
pub(in crate::sqlite) fn find(
    connection: &Connection,
    client_id: &ClientId,
) -> Result<Option<ApiKey>, Failure> {
    Ok(find_with_seal(connection, client_id)?.map(|(key, _)| key))
}

/// A key and its secrets, to be shown. Fails as [`find_to_change`] does.
pub(in crate::sqlite) fn find_verified(
    connection: &Connection,
    seals: &Seals,
    client_id: &ClientId,
) -> Result<Option<ApiKey>, Failure> {
    match find_with_seal(connection, client_id)? {
        None => seals.verify_absent(client_id).map(|()| None),
        Some((key, seal)) => seals.verify(&key, seal.as_deref()).map(|()| Some(key)),
    }
}

/// A key and its secrets, to be changed. Fails if they are not as the last change left them: this
/// change would seal whatever the rows contain.
pub(in crate::sqlite) fn find_to_change(
    transaction: &Transaction<'_>,
    client_id: &ClientId,
) -> Result<Option<ApiKey>, Failure> {
    match find_with_seal(transaction.connection(), client_id)? {
        None => transaction.verify_absent(client_id).map(|()| None),
        Some((key, seal)) => transaction.verify_key(&key, seal.as_deref()).map(|()| Some(key)),
    }
}

/// A key and its stored seal.
type KeyAndSeal = (ApiKey, Option<Vec<u8>>);

/// A key with its secrets, and its stored seal.
fn find_with_seal(
    connection: &Connection,
    client_id: &ClientId,
) -> Result<Option<KeyAndSeal>, Failure> {
    let mut select = connection
        .prepare_cached(&format!("SELECT {KEY_COLUMNS}, seal FROM api_key WHERE client_id = ?1"))?;
    let found = select.query_row([client_id.as_str()], |row| Ok(with_seal(row))).optional()?;
    let Some((mut found, seal)) = found.transpose()? else { return Ok(None) };
    let mut select = connection.prepare_cached(&format!(
        "SELECT {SECRET_COLUMNS} FROM secret WHERE client_id = ?1 ORDER BY position"
    ))?;
    let mut rows = select.query([client_id.as_str()])?;
    while let Some(row) = rows.next()? {
        found.secrets.push(secret(row)?);
    }
    Ok(Some((found, seal)))
}

fn with_seal(row: &Row<'_>) -> Result<KeyAndSeal, Failure> {
    Ok((key(row)?, stored_seal(row)?.map(<[u8]>::to_vec)))
}

/// Up to `limit` client ids after another one, in their order.
pub(in crate::sqlite) fn client_ids(
    connection: &Connection,
    after: Option<&ClientId>,
    limit: usize,
) -> Result<Vec<ClientId>, Failure> {
    let mut select = connection.prepare_cached(
        "SELECT client_id FROM api_key WHERE client_id > ?1 ORDER BY client_id LIMIT ?2",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = select.query(params![after.map_or("", ClientId::as_str), limit])?;
    let mut client_ids = Vec::new();
    while let Some(row) = rows.next()? {
        client_ids.push(Columns::new("api_key", row).parsed(0)?);
    }
    Ok(client_ids)
}

/// Reads the seal, which follows [`KEY_COLUMNS`] as the last column of a row.
pub(in crate::sqlite) fn stored_seal<'row>(
    row: &'row Row<'row>,
) -> Result<Option<&'row [u8]>, Failure> {
    Columns::new("api_key", row).optional_bytes(row.as_ref().column_count() - 1)
}

/// Reads a key from a row of [`KEY_COLUMNS`], without its secrets.
pub(in crate::sqlite) fn key(row: &Row<'_>) -> Result<ApiKey, Failure> {
    let columns = Columns::new("api_key", row);
    Ok(ApiKey {
        client_id: columns.parsed(0)?,
        key_id: columns.parsed(1)?,
        organization: columns.string(2)?,
        roles: roles(&columns)?,
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
        limits: columns.limits(23)?,
        created_at: columns.instant(17)?,
        updated_at: columns.instant(18)?,
        expires_at: columns.optional_instant(19)?,
        disabled_at: columns.optional_instant(20)?,
        epoch: columns.integer(21)?,
        secrets: Vec::with_capacity(1),
    })
}

fn roles(columns: &Columns<'_>) -> Result<Roles, Failure> {
    let highest: Option<Role> = columns.optional_parsed(3)?;
    let others: Vec<Role> = columns.optional_names(22)?;
    let roles: Roles = highest.into_iter().chain(others).collect();
    if roles.highest() == highest { Ok(roles) } else { Err(columns.contradiction(22)) }
}

/// The names of the roles below the highest; `None` if there are none.
fn other_roles(key: &ApiKey) -> Option<String> {
    let others: Vec<_> = key.roles.iter().skip(1).collect();
    (!others.is_empty()).then(|| join(&others))
}

/// The limits as JSON; `None` if there are none.
fn stored_limits(key: &ApiKey) -> Option<String> {
    let limits = &key.limits;
    let json = || serde_json::to_string(limits).expect("limits can always be encoded");
    (!limits.is_none()).then(json)
}

/// Reads a secret from a row of [`SECRET_COLUMNS`].
pub(in crate::sqlite) fn secret(row: &Row<'_>) -> Result<StoredSecret, Failure> {
    let columns = Columns::new("secret", row);
    Ok(StoredSecret {
        id: columns.parsed(1)?,
        label: columns.string(2)?,
        hash: SecretHash { pepper_version: columns.integer(3)?, mac: columns.array(4)? },
        created_at: columns.instant(5)?,
        not_before: columns.instant(6)?,
        expires_at: columns.optional_instant(7)?,
        admin_expiry: columns.optional_instant(8)?,
        last_used_at: columns.optional_instant(9)?,
    })
}

/// Inserts a new key, and reports it.
pub(super) fn insert(transaction: &mut Transaction<'_>, key: &ApiKey) -> Result<(), Failure> {
    let seal = transaction.seal(SealedRow::ApiKey(key))?;
    insert_key(transaction.connection(), key, &seal)?;
    for secret in &key.secrets {
        insert_secret(transaction.connection(), &key.client_id, secret)?;
    }
    transaction.report(Change::KeyPut(Box::new(key.clone())));
    Ok(())
}

/// Writes what changed of a key, and reports it.
pub(in crate::sqlite) fn write(
    transaction: &mut Transaction<'_>,
    change: &KeyChange,
) -> Result<(), Failure> {
    let key = &change.key;
    if change.epoch_raised {
        denial::delete_all(transaction, &key.client_id)?;
    }
    let connection = transaction.connection();
    if change.fields_changed {
        put_fields(connection, key)?;
    }
    if change.state_changed {
        put_state(connection, key)?;
    }
    for secret in &change.dated {
        put_dates(connection, secret)?;
    }
    for id in &change.removed {
        delete_secret(connection, *id)?;
    }
    for secret in &change.added {
        insert_secret(connection, &key.client_id, secret)?;
    }
    if !change.is_empty() {
        put_seal(transaction, key)?;
    }
    for report in Change::of_key(change) {
        transaction.report(report);
    }
    Ok(())
}

/// Seals a key whose rows were written.
pub(in crate::sqlite) fn put_seal(
    transaction: &mut Transaction<'_>,
    key: &ApiKey,
) -> Result<(), Failure> {
    let stored: Option<Vec<u8>> = transaction
        .connection()
        .prepare_cached("SELECT seal FROM api_key WHERE client_id = ?1")?
        .query_row([key.client_id.as_str()], |row| row.get(0))?;
    transaction.unseal(Table::ApiKeys, stored.as_deref())?;
    let seal = transaction.seal(SealedRow::ApiKey(key))?;
    write_seal(transaction.connection(), &key.client_id, Some(seal))
}

/// Seals a key under the newest version, unless it is. A key that does not match its seal loses it.
pub(in crate::sqlite) fn reseal(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
) -> Result<(), Failure> {
    let Some((key, stored)) = find_with_seal(transaction.connection(), client_id)? else {
        return Ok(());
    };
    match transaction.sealed_again(SealedRow::ApiKey(&key), stored.as_deref())? {
        Some(seal) => write_seal(transaction.connection(), client_id, seal),
        None => Ok(()),
    }
}

fn write_seal(
    connection: &Connection,
    client_id: &ClientId,
    seal: Option<[u8; Seal::LENGTH]>,
) -> Result<(), Failure> {
    connection
        .prepare_cached("UPDATE api_key SET seal = ?2 WHERE client_id = ?1")?
        .execute(params![client_id.as_str(), seal])?;
    Ok(())
}

/// Deletes a key with its denials, and reports it. The foreign key deletes its secrets.
pub(super) fn delete(transaction: &mut Transaction<'_>, key: &ApiKey) -> Result<(), Failure> {
    denial::delete_all(transaction, &key.client_id)?;
    transaction.delete_key(&key.client_id)?;
    transaction.report(Change::KeyDeleted { client_id: key.client_id.clone(), key_id: key.key_id });
    Ok(())
}

fn insert_key(
    connection: &Connection,
    key: &ApiKey,
    seal: &[u8; Seal::LENGTH],
) -> Result<(), Failure> {
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO api_key ({KEY_COLUMNS}, seal) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
         ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25)"
    ))?;
    let application = &key.application;
    insert.execute(params![
        key.client_id.as_str(),
        key.key_id.to_string(),
        key.organization,
        key.role().map(Role::as_str),
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
        other_roles(key),
        stored_limits(key),
        seal,
    ])?;
    Ok(())
}

/// Writes the columns that a patch can change.
fn put_fields(connection: &Connection, key: &ApiKey) -> Result<(), Failure> {
    let mut update = connection.prepare_cached(
        "UPDATE api_key SET role = ?2, client_name = ?3, redirect_uris = ?4, response_types = ?5, \
         grant_types = ?6, application_type = ?7, contacts = ?8, logo_uri = ?9, client_uri = ?10, \
         policy_uri = ?11, tos_uri = ?12, jwks_uri = ?13, token_endpoint_auth_method = ?14, \
         consent_method = ?15, expires_at = ?16, other_roles = ?17, limits = ?18 WHERE client_id = ?1",
    )?;
    let application = &key.application;
    update.execute(params![
        key.client_id.as_str(),
        key.role().map(Role::as_str),
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
        other_roles(key),
        stored_limits(key),
    ])?;
    Ok(())
}

/// Writes the columns that other changes touch.
pub(super) fn put_state(connection: &Connection, key: &ApiKey) -> Result<(), Failure> {
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
        .map_err(|_| Failure::Corrupt("api_key.epoch cannot be raised further".to_owned()))
}

fn insert_secret(
    connection: &Connection,
    client_id: &ClientId,
    secret: &StoredSecret,
) -> Result<(), Failure> {
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO secret ({SECRET_COLUMNS}, position) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, \
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
        micros(secret.admin_expiry),
        micros(secret.last_used_at),
    ])?;
    Ok(())
}

fn delete_secret(connection: &Connection, secret_id: SecretId) -> Result<(), Failure> {
    connection
        .prepare_cached("DELETE FROM secret WHERE secret_id = ?1")?
        .execute([secret_id.to_string()])?;
    Ok(())
}

fn put_dates(connection: &Connection, secret: &StoredSecret) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "UPDATE secret SET not_before = ?2, expires_at = ?3, admin_expiry = ?4 WHERE secret_id = ?1",
        )?
        .execute(params![
            secret.id.to_string(),
            secret.not_before.as_micros(),
            micros(secret.expires_at),
            micros(secret.admin_expiry)
        ])?;
    Ok(())
}
