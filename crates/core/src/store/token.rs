//! [`TokenStore`]: the deny-list.

use async_trait::async_trait;
use gatekey_credentials::ClientId;

use super::StoreError;
use crate::{
    ledger::NewEntry,
    token::{DeniedToken, Revoked},
};

/// Stores the tokens that were revoked individually.
#[async_trait]
pub trait TokenStore: Send + Sync {
    /// Puts a token of a key on the deny-list, or raises the key's epoch, by [`Denials::revoke`].
    ///
    /// [`Denials::revoke`]: crate::token::Denials::revoke
    async fn revoke_token(
        &self,
        client_id: &ClientId,
        token: DeniedToken,
        max_denials: usize,
        entry: NewEntry,
    ) -> Result<Revoked, StoreError>;
}
