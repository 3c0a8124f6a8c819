//! Keeps the last usable admin key.

use gatekey_core::{ApiKey, Timestamp, api_key::LastAdmin};
use gatekey_credentials::ClientId;

use super::rows;
use crate::sql::{
    access::{all, values},
    columns::Columns,
    failure::Failure,
    transaction::Transaction,
};

/// Checks that a change of a key leaves a usable admin key. `after` is `None` for a deletion.
pub(crate) fn check(
    transaction: &Transaction<'_>,
    last_admin: LastAdmin,
    before: &ApiKey,
    after: Option<&ApiKey>,
    now: Timestamp,
) -> Result<(), Failure> {
    match before.admin_lost_at(after, now) {
        Some(from)
            if last_admin == LastAdmin::Keep && !has_another(transaction, before, from, now)? =>
        {
            Err(Failure::LastAdmin)
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether there is a usable admin other than `key` that does not expire before `from`. One that
/// does not match its seal is refused, so it is not usable.
fn has_another(
    transaction: &Transaction<'_>,
    key: &ApiKey,
    from: Timestamp,
    now: Timestamp,
) -> Result<bool, Failure> {
    let admins: Vec<ClientId> = all(
        transaction.sql(),
        "SELECT client_id FROM api_key
         WHERE role = 'admin' AND disabled_at IS NULL AND client_id <> ?1",
        values![key.client_id.as_str()],
        |row| Columns::new("api_key", row).parsed(0),
    )?;
    for client_id in admins {
        match rows::find_to_change(transaction, &client_id) {
            Ok(Some(other)) if other.replaces_admin(from, now) => return Ok(true),
            Ok(_) | Err(Failure::Tampered(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(false)
}
