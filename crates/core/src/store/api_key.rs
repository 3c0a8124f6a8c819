//! [`ApiKeyStore`]: keys and their secrets.

use async_trait::async_trait;
use gatekey_credentials::ClientId;

use super::StoreError;
use crate::{
    ApiKey, ApiKeyPatch, KeyId, SecretId, Timestamp,
    api_key::{Assignment, LastAdmin, Replay, Rotation, Switch, list::Selection},
    ledger::NewEntry,
};

/// The outcome of [`ApiKeyStore::create_key`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    New(Box<ApiKey>),
    /// The same call created the key before. The key has the new secret in addition.
    Replayed(Box<ApiKey>),
}

/// The outcome of [`ApiKeyStore::rotate_secret`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    Done(Box<ApiKey>),
    /// Nothing was changed.
    TooManySecrets,
    /// The secret that proves the rotation is not valid anymore. Nothing was changed.
    Unproven,
    Absent,
}

/// The outcome of [`ApiKeyStore::assign_role`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assigned {
    Done(Box<ApiKey>),
    /// The key lacks the role to take away. Nothing was changed.
    NotHeld,
    Absent,
}

/// Stores keys and their secrets.
///
/// With [`LastAdmin::Keep`], a change fails with [`StoreError::LastAdmin`] if the key is the only
/// one that [`ApiKey::is_usable_admin`], and would not be afterwards. The other keys are read in
/// the same transaction.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// Inserts a key with its first secret. If the client id is taken, adds the secret to that key
    /// if [`Replay::repeat`] permits it, and otherwise fails with [`StoreError::Conflict`]. Any
    /// other change of the key ends its repetitions.
    async fn create_key(
        &self,
        key: ApiKey,
        replay: Replay,
        entry: NewEntry,
    ) -> Result<Created, StoreError>;

    async fn find_key(&self, client_id: &ClientId) -> Result<Option<ApiKey>, StoreError>;

    /// At most `limit` keys of a selection, in its order, after its cursor.
    async fn list_keys(
        &self,
        selection: Selection,
        limit: usize,
    ) -> Result<Vec<ApiKey>, StoreError>;

    /// Changes a key by [`ApiKey::update`].
    async fn update_key(
        &self,
        client_id: &ClientId,
        patch: ApiKeyPatch,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// Changes a key by [`ApiKey::assign`]. The entry is appended even if the key does not change.
    async fn assign_role(
        &self,
        client_id: &ClientId,
        assignment: Assignment,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Assigned, StoreError>;

    /// Deletes a key with its secrets and denials, and returns its key id.
    async fn delete_key(
        &self,
        client_id: &ClientId,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Option<KeyId>, StoreError>;

    /// Changes a key by [`ApiKey::rotate_secret`], unless [`Rotation::is_for`] excludes it.
    async fn rotate_secret(
        &self,
        client_id: &ClientId,
        rotation: Rotation,
        entry: NewEntry,
    ) -> Result<Rotated, StoreError>;

    /// Changes a key by [`ApiKey::retire_secret`]. `None` if there is no such key or secret.
    async fn retire_secret(
        &self,
        client_id: &ClientId,
        secret_id: SecretId,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// Changes a key by [`ApiKey::switch`]. The entry is appended even if the key does not change.
    async fn switch_key(
        &self,
        client_id: &ClientId,
        switch: Switch,
        last_admin: LastAdmin,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// Raises the epoch of every key by [`raised_epoch`] and deletes all denials, after a restore.
    /// Returns the number of these keys; one that does not match its seal stays as it is.
    ///
    /// Does not notify the observer: call it before [`Store::load`].
    ///
    /// [`raised_epoch`]: crate::api_key::raised_epoch
    /// [`Store::load`]: super::Store::load
    async fn raise_epochs(&self, least: u64, entry: NewEntry) -> Result<usize, StoreError>;

    /// Records when secrets were last used. An earlier time than the stored one changes nothing.
    async fn record_last_used(&self, uses: Vec<(SecretId, Timestamp)>) -> Result<(), StoreError>;
}
