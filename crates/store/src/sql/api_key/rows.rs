//! The rows of keys and secrets.

use gatekey_core::{
    ApiKey, Application, SecretHash, SecretId, StoredSecret, Timestamp,
    api_key::{KeyChange, Roles},
    seal::{Seal, SealedRow, Table},
    store::Change,
};
use gatekey_credentials::{ClientId, Role};

use crate::{
    names::{Named, join},
    sql::{
        access::{Dialect, KeyAndSeal, Row, Sql, Value, all, one, optional, values},
        columns::{Columns, json, micros},
        denial,
        failure::Failure,
        known_seals::Seals,
        transaction::Transaction,
    },
};

/// The columns that [`key`] reads, in its order.
pub(crate) const KEY_COLUMNS: &str = "client_id, key_id, organization, role, client_name, \
    redirect_uris, response_types, grant_types, application_type, contacts, logo_uri, client_uri, \
    policy_uri, tos_uri, jwks_uri, token_endpoint_auth_method, consent_method, created_at, updated_at, \
    expires_at, disabled_at, epoch, other_roles, limits";

/// The columns that [`secret`] reads, in its order. The first names the key.
pub(crate) const SECRET_COLUMNS: &str = "client_id, secret_id, label, pepper_version, mac, \
    created_at, not_before, expires_at, admin_expiry, last_used_at";

/// A key and its secrets, which are not verified.
pub(crate) fn find(sql: &dyn Sql, client_id: &ClientId) -> Result<Option<ApiKey>, Failure> {
    Ok(find_with_seal(sql, client_id)?.map(|(key, _)| key))
}

/// A key and its secrets, to be shown. Fails as [`find_to_change`] does.
pub(crate) fn find_verified(
    sql: &dyn Sql,
    seals: &Seals,
    client_id: &ClientId,
) -> Result<Option<ApiKey>, Failure> {
    match find_with_seal(sql, client_id)? {
        None => seals.verify_absent(client_id).map(|()| None),
        Some((key, seal)) => seals.verify(&key, seal.as_deref()).map(|()| Some(key)),
    }
}

/// A key and its secrets, to be changed. Fails if they are not as the last change left them: this
/// change would seal whatever the rows contain.
pub(crate) fn find_to_change(
    transaction: &Transaction<'_>,
    client_id: &ClientId,
) -> Result<Option<ApiKey>, Failure> {
    match find_with_seal(transaction.sql(), client_id)? {
        None => transaction.verify_absent(client_id).map(|()| None),
        Some((key, seal)) => {
            transaction.verify_key(&key, seal.as_deref())?;
            transaction.note_seal(client_id, seal);
            Ok(Some(key))
        }
    }
}

/// A key with its secrets, and its stored seal.
fn find_with_seal(sql: &dyn Sql, client_id: &ClientId) -> Result<Option<KeyAndSeal>, Failure> {
    if let Some(found) = sql.take_prefetched(client_id) {
        return Ok(found);
    }
    let client_id = values![client_id.as_str()];
    let Some((mut key, seal)) = optional(sql, &key_statement(), client_id, with_seal)? else {
        return Ok(None);
    };
    key.secrets = all(sql, &secrets_statement(sql), client_id, secret)?;
    Ok(Some((key, seal)))
}

/// Selects the key with client id `?1`.
pub(crate) fn key_statement() -> String {
    format!("SELECT {KEY_COLUMNS}, seal FROM api_key WHERE client_id = ?1")
}

/// Selects the keys whose client ids are in the JSON array `?1`.
pub(crate) fn keys_statement(dialect: &Dialect) -> String {
    format!("SELECT {KEY_COLUMNS}, seal FROM api_key WHERE client_id IN ({})", dialect.texts)
}

/// Selects the secrets of the key with client id `?1`.
pub(crate) fn secrets_statement(sql: &dyn Sql) -> String {
    let secrets = sql.dialect().secrets;
    format!("SELECT {SECRET_COLUMNS} FROM {secrets} WHERE client_id = ?1 ORDER BY position")
}

/// Reads a row of [`key_statement`], without the secrets.
pub(crate) fn with_seal(row: &dyn Row) -> Result<KeyAndSeal, Failure> {
    Ok((key(row)?, stored_seal(row)?.map(<[u8]>::to_vec)))
}

/// Up to `limit` keys after a client id, in their order, without their secrets.
pub(crate) fn after(sql: &dyn Sql, after: &str, limit: i64) -> Result<Vec<KeyAndSeal>, Failure> {
    let select = format!(
        "SELECT {KEY_COLUMNS}, seal FROM api_key WHERE client_id > ?1 ORDER BY client_id LIMIT ?2"
    );
    all(sql, &select, values![after, limit], with_seal)
}

/// The secrets after a client id, up to another one, with their owners and in their order.
pub(crate) fn secrets_between(
    sql: &dyn Sql,
    after: &str,
    end: Option<&str>,
) -> Result<Vec<(String, StoredSecret)>, Failure> {
    let secrets = sql.dialect().secrets;
    let mut bounds = vec![Value::from(after)];
    bounds.extend(end.map(Value::from));
    let until = if end.is_some() { "AND client_id <= ?2" } else { "" };
    let select = format!(
        "SELECT {SECRET_COLUMNS} FROM {secrets} WHERE client_id > ?1 {until}
         ORDER BY client_id, position"
    );
    all(sql, &select, &bounds, |row| Ok((Columns::new("secret", row).string(0)?, secret(row)?)))
}

/// Up to `limit` client ids after another one, in their order.
pub(crate) fn client_ids(
    sql: &dyn Sql,
    after: Option<&ClientId>,
    limit: usize,
) -> Result<Vec<ClientId>, Failure> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    all(
        sql,
        "SELECT client_id FROM api_key WHERE client_id > ?1 ORDER BY client_id LIMIT ?2",
        values![after.map_or("", ClientId::as_str), limit],
        |row| Columns::new("api_key", row).parsed(0),
    )
}

/// Reads the seal, which follows [`KEY_COLUMNS`] as the last column of a row.
pub(crate) fn stored_seal(row: &dyn Row) -> Result<Option<&[u8]>, Failure> {
    Columns::new("api_key", row).optional_bytes(row.columns() - 1)
}

/// Reads a key from a row of [`KEY_COLUMNS`], without its secrets.
pub(crate) fn key(row: &dyn Row) -> Result<ApiKey, Failure> {
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
pub(crate) fn secret(row: &dyn Row) -> Result<StoredSecret, Failure> {
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
pub(crate) fn insert(transaction: &mut Transaction<'_>, key: &ApiKey) -> Result<(), Failure> {
    let seal = transaction.seal(SealedRow::ApiKey(key))?;
    insert_key(transaction.sql(), key, &seal)?;
    for secret in &key.secrets {
        insert_secret(transaction.sql(), &key.client_id, secret)?;
    }
    transaction.report(Change::KeyPut(Box::new(key.clone())));
    Ok(())
}

/// Writes what changed of a key, and reports it.
pub(crate) fn write(transaction: &mut Transaction<'_>, change: &KeyChange) -> Result<(), Failure> {
    let key = &change.key;
    if change.epoch_raised {
        denial::delete_all(transaction, &key.client_id)?;
    }
    let sql = transaction.sql();
    if change.fields_changed {
        put_fields(sql, key)?;
    }
    if change.state_changed {
        put_state(sql, key)?;
    }
    for secret in &change.dated {
        put_dates(sql, secret)?;
    }
    for id in &change.removed {
        delete_secret(sql, *id)?;
    }
    for secret in &change.added {
        insert_secret(sql, &key.client_id, secret)?;
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
pub(crate) fn put_seal(transaction: &mut Transaction<'_>, key: &ApiKey) -> Result<(), Failure> {
    let stored = match transaction.take_noted_seal(&key.client_id) {
        Some(noted) => noted,
        None => read_seal(transaction.sql(), &key.client_id)?,
    };
    transaction.unseal(Table::ApiKeys, stored.as_deref())?;
    let seal = transaction.seal(SealedRow::ApiKey(key))?;
    write_seal(transaction.sql(), &key.client_id, Some(seal))
}

/// Seals a key under the newest version, unless it is. A key that does not match its seal loses it.
pub(crate) fn reseal(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
) -> Result<(), Failure> {
    let Some((key, stored)) = find_with_seal(transaction.sql(), client_id)? else {
        return Ok(());
    };
    match transaction.sealed_again(SealedRow::ApiKey(&key), stored.as_deref())? {
        Some(seal) => write_seal(transaction.sql(), client_id, seal),
        None => Ok(()),
    }
}

fn read_seal(sql: &dyn Sql, client_id: &ClientId) -> Result<Option<Vec<u8>>, Failure> {
    let select = "SELECT seal FROM api_key WHERE client_id = ?1";
    one(sql, select, values![client_id.as_str()], |row| Ok(stored_seal(row)?.map(<[u8]>::to_vec)))
}

fn write_seal(
    sql: &dyn Sql,
    client_id: &ClientId,
    seal: Option<[u8; Seal::LENGTH]>,
) -> Result<(), Failure> {
    sql.execute(
        "UPDATE api_key SET seal = ?2 WHERE client_id = ?1",
        values![client_id.as_str(), seal.as_ref()],
    )
}

/// Deletes a key with its denials, and reports it. The foreign key deletes its secrets.
pub(crate) fn delete(transaction: &mut Transaction<'_>, key: &ApiKey) -> Result<(), Failure> {
    denial::delete_all(transaction, &key.client_id)?;
    transaction.delete_key(&key.client_id)?;
    transaction.report(Change::KeyDeleted { client_id: key.client_id.clone(), key_id: key.key_id });
    Ok(())
}

fn insert_key(sql: &dyn Sql, key: &ApiKey, seal: &[u8; Seal::LENGTH]) -> Result<(), Failure> {
    let application = &key.application;
    let (key_id, role) = (key.key_id.to_string(), key.role().map(Role::as_str));
    let redirect_uris = json(&application.redirect_uris);
    let response_types = join(&application.response_types);
    let grant_types = join(&application.grant_types);
    let contacts = json(&application.contacts);
    let (others, limits) = (other_roles(key), stored_limits(key));
    let values: &[Value<'_>] = values![
        key.client_id.as_str(),
        &key_id,
        &key.organization,
        role,
        &application.client_name,
        &redirect_uris,
        &response_types,
        &grant_types,
        application.application_type.name(),
        &contacts,
        &application.logo_uri,
        &application.client_uri,
        &application.policy_uri,
        &application.tos_uri,
        &application.jwks_uri,
        application.token_endpoint_auth_method.name(),
        application.consent_method.name(),
        key.created_at.as_micros(),
        key.updated_at.as_micros(),
        micros(key.expires_at),
        micros(key.disabled_at),
        stored_epoch(key)?,
        others.as_ref(),
        limits.as_ref(),
        seal,
    ];
    let insert = |column: &str, value: &str| {
        format!(
            "INSERT INTO api_key ({KEY_COLUMNS}, seal{column}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
             ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25{value})"
        )
    };
    if sql.dialect().has_lower_name {
        let lower = application.client_name.to_lowercase();
        let values = [values, values![&lower]].concat();
        sql.execute(&insert(", lower_client_name", ", ?26"), &values)
    } else {
        sql.execute(&insert("", ""), values)
    }
}

/// Writes the columns that a patch can change.
fn put_fields(sql: &dyn Sql, key: &ApiKey) -> Result<(), Failure> {
    let application = &key.application;
    let role = key.role().map(Role::as_str);
    let redirect_uris = json(&application.redirect_uris);
    let response_types = join(&application.response_types);
    let grant_types = join(&application.grant_types);
    let contacts = json(&application.contacts);
    let (others, limits) = (other_roles(key), stored_limits(key));
    sql.execute(
        "UPDATE api_key SET role = ?2, client_name = ?3, redirect_uris = ?4, response_types = ?5, \
         grant_types = ?6, application_type = ?7, contacts = ?8, logo_uri = ?9, client_uri = ?10, \
         policy_uri = ?11, tos_uri = ?12, jwks_uri = ?13, token_endpoint_auth_method = ?14, \
         consent_method = ?15, expires_at = ?16, other_roles = ?17, limits = ?18 WHERE client_id = ?1",
        values![
            key.client_id.as_str(),
            role,
            &application.client_name,
            &redirect_uris,
            &response_types,
            &grant_types,
            application.application_type.name(),
            &contacts,
            &application.logo_uri,
            &application.client_uri,
            &application.policy_uri,
            &application.tos_uri,
            &application.jwks_uri,
            application.token_endpoint_auth_method.name(),
            application.consent_method.name(),
            micros(key.expires_at),
            others.as_ref(),
            limits.as_ref(),
        ],
    )?;
    if sql.dialect().has_lower_name {
        sql.execute(
            "UPDATE api_key SET lower_client_name = ?2 WHERE client_id = ?1",
            values![key.client_id.as_str(), &application.client_name.to_lowercase()],
        )?;
    }
    Ok(())
}

/// Writes the columns that other changes touch.
pub(super) fn put_state(sql: &dyn Sql, key: &ApiKey) -> Result<(), Failure> {
    sql.execute(
        "UPDATE api_key SET updated_at = ?2, disabled_at = ?3, epoch = ?4 WHERE client_id = ?1",
        values![
            key.client_id.as_str(),
            key.updated_at.as_micros(),
            micros(key.disabled_at),
            stored_epoch(key)?,
        ],
    )
}

fn stored_epoch(key: &ApiKey) -> Result<i64, Failure> {
    i64::try_from(key.epoch)
        .map_err(|_| Failure::Corrupt("api_key.epoch cannot be raised further".to_owned()))
}

/// The columns of [`SECRET_COLUMNS`] without the last use, which a new secret does not have.
fn insert_secret(
    sql: &dyn Sql,
    client_id: &ClientId,
    secret: &StoredSecret,
) -> Result<(), Failure> {
    sql.execute(
        "INSERT INTO secret (client_id, secret_id, label, pepper_version, mac, created_at, not_before,
             expires_at, admin_expiry, position)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,
             (SELECT coalesce(max(position), 0) + 1 FROM secret WHERE client_id = ?1))",
        values![
            client_id.as_str(),
            &secret.id.to_string(),
            &secret.label,
            secret.hash.pepper_version,
            &secret.hash.mac,
            secret.created_at.as_micros(),
            secret.not_before.as_micros(),
            micros(secret.expires_at),
            micros(secret.admin_expiry),
        ],
    )?;
    secret.last_used_at.map_or(Ok(()), |at| record_use(sql, secret.id, at))
}

/// Records a use of a secret. An earlier one than the stored one changes nothing.
pub(super) fn record_use(sql: &dyn Sql, secret_id: SecretId, at: Timestamp) -> Result<(), Failure> {
    sql.execute(sql.dialect().record_use, values![&secret_id.to_string(), at.as_micros()])
}

fn delete_secret(sql: &dyn Sql, secret_id: SecretId) -> Result<(), Failure> {
    sql.execute("DELETE FROM secret WHERE secret_id = ?1", values![&secret_id.to_string()])
}

fn put_dates(sql: &dyn Sql, secret: &StoredSecret) -> Result<(), Failure> {
    sql.execute(
        "UPDATE secret SET not_before = ?2, expires_at = ?3, admin_expiry = ?4 WHERE secret_id = ?1",
        values![
            &secret.id.to_string(),
            secret.not_before.as_micros(),
            micros(secret.expires_at),
            micros(secret.admin_expiry),
        ],
    )
}
