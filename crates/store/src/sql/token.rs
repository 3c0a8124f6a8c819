//! The deny-list.

use async_trait::async_trait;
use gatekey_core::{
    StoreError,
    ledger::NewEntry,
    store::TokenStore,
    token::{Denials, DeniedToken, Revocation, Revoked},
};
use gatekey_credentials::ClientId;

use super::{
    access::{Sql, one, values},
    api_key::{forget_create, rows},
    columns::Columns,
    denial,
    failure::Failure,
    store::{Backend, SqlStore},
    transaction::Transaction,
};

#[async_trait]
impl<B: Backend> TokenStore for SqlStore<B> {
    async fn revoke_token(
        &self,
        client_id: &ClientId,
        token: DeniedToken,
        max_denials: usize,
        entry: NewEntry,
    ) -> Result<Revoked, StoreError> {
        self.change("store.revoke_token", client_id, move |transaction, client_id| {
            revoke(transaction, client_id, token, max_denials, &entry)
        })
        .await
    }
}

fn revoke(
    transaction: &mut Transaction<'_>,
    client_id: &ClientId,
    token: DeniedToken,
    max_denials: usize,
    entry: &NewEntry,
) -> Result<Revoked, Failure> {
    let key = rows::find_to_change(transaction, client_id)?.filter(|key| token.is_of(key));
    let Some(key) = key else { return Ok(Revoked::Absent) };
    let denials = count(transaction.sql(), client_id, &token, entry)?;
    let revoked = match denials.revoke(max_denials) {
        Revocation::AlreadyDenied => Revoked::Denied,
        Revocation::Deny => {
            denial::insert(transaction, client_id, token)?;
            Revoked::Denied
        }
        Revocation::RaiseEpoch => {
            let change = key.revoke_tokens(entry.at);
            rows::write(transaction, &change)?;
            forget_create(transaction.sql(), &change.key)?;
            Revoked::EpochRaised
        }
    };
    transaction.append(entry)?;
    Ok(revoked)
}

fn count(
    sql: &dyn Sql,
    client_id: &ClientId,
    token: &DeniedToken,
    entry: &NewEntry,
) -> Result<Denials, Failure> {
    one(
        sql,
        "SELECT EXISTS (SELECT 1 FROM denial WHERE client_id = ?1 AND jti = ?2),
                (SELECT count(*) FROM denial WHERE client_id = ?1 AND expires_at > ?3),
                (SELECT count(*) FROM denial WHERE client_id = ?1)",
        values![client_id.as_str(), &token.jti, entry.at.as_micros()],
        |row| {
            let columns = Columns::new("denial", row);
            Ok(Denials {
                is_denied: columns.boolean(0)?,
                unexpired: columns.integer(1)?,
                total: columns.integer(2)?,
            })
        },
    )
}
