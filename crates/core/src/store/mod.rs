//! [`Store`]: where keys are kept. Each method is one atomic unit; ids, times and hashes come in as values.
//!
//! A call once begun runs to its end, also when its future is dropped. Its [`Change`]s reach the observer
//! after the commit and before the call answers, so whoever was told of a change finds it in the directory.

mod change;
mod error;

use std::{collections::BTreeMap, fs::File};

use async_trait::async_trait;
use gatekey_credentials::ClientId;

pub use self::{
    change::{Change, ChangeObserver, Observers},
    error::StoreError,
};
use crate::{
    ApiKey, ApiKeyPatch, KeyId, SecretId, StoredSecret, Timestamp,
    api_key::list::Selection,
    ledger::{LedgerEntry, LedgerHead, NewEntry},
    root_key::{Rehash, Reseal, RootKeyRetired, RootKeyRotation, StoredRootKey},
    signing_key::{SealedSigningKey, SigningKeyRetired},
    token::{DeniedToken, Revoked},
};

/// How to know a repeated Create: see [`Store::create_key`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replay {
    /// Who creates.
    pub actor: String,
    /// The caller's name for the call.
    pub request_id: String,
    /// SHA-256 of what is asked for.
    pub digest: [u8; 32],
    /// Earlier creates count from then on.
    pub since: Timestamp,
    /// How often one create may be repeated.
    pub limit: u32,
    /// The ledger's entry if it is a repetition.
    pub entry: NewEntry,
}

/// What became of [`Store::create_key`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// The key is new.
    New(Box<ApiKey>),
    /// The key was created before by the same call, and has the new secret in addition.
    Replayed(Box<ApiKey>),
}

/// What [`Store::rotate_secret`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    /// The new secret.
    pub secret: StoredSecret,
    /// From when on the others are refused; when that is `secret.created_at`, for good: at any other time as well.
    pub retire_others_at: Timestamp,
    /// Whether every earlier token dies.
    pub raise_epoch: bool,
    /// The most secrets not expired at `secret.created_at` that the key may then have; of those expired as many
    /// are kept for the record, the newest.
    pub max_secrets: usize,
    /// The key that is meant, where a key rotates itself: another under the same client id counts as absent.
    pub only_key: Option<KeyId>,
}

/// What became of [`Store::rotate_secret`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rotated {
    /// The key has the new secret.
    Done(Box<ApiKey>),
    /// The key has too many secrets; nothing was changed.
    TooManySecrets,
    /// There is no such key.
    Absent,
}

/// What to do about an enabled or disabled key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// Refuse the key from then on, and kill its tokens.
    Disable(Timestamp),
    /// Accept it again.
    Enable(Timestamp),
}

/// Where keys, signing keys and the ledger are kept.
#[async_trait]
pub trait Store: Send + Sync {
    /// Tells the observer everything there is: each key, each denial, the signing keys.
    async fn load(&self) -> Result<(), StoreError>;

    /// Inserts a key with its first secret. When the same actor's call of the same id and digest created the
    /// key with that client id since `replay.since`, and was repeated fewer than `replay.limit` times, the
    /// secret is added to that key instead. [`StoreError::Conflict`] when the client id is taken otherwise.
    async fn create_key(&self, key: ApiKey, replay: Replay, entry: NewEntry) -> Result<Created, StoreError>;

    /// The key of that client id.
    async fn find_key(&self, client_id: &ClientId) -> Result<Option<ApiKey>, StoreError>;

    /// At most `limit` keys of a selection, in its order, after its cursor.
    async fn list_keys(&self, selection: Selection, limit: usize) -> Result<Vec<ApiKey>, StoreError>;

    /// Changes a key.
    async fn update_key(
        &self,
        client_id: &ClientId,
        patch: ApiKeyPatch,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// Deletes a key with its secrets and denials; gives the key id.
    async fn delete_key(&self, client_id: &ClientId, entry: NewEntry) -> Result<Option<KeyId>, StoreError>;

    /// Adds a secret and dates the others.
    async fn rotate_secret(
        &self,
        client_id: &ClientId,
        rotation: Rotation,
        entry: NewEntry,
    ) -> Result<Rotated, StoreError>;

    /// Ends a secret at `entry.at`, and for good: it is not valid at any other time either. `None` when there is no
    /// such key or secret.
    async fn retire_secret(
        &self,
        client_id: &ClientId,
        secret_id: SecretId,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// Disables or enables a key. What already is so stays as it is, and is entered all the same.
    async fn switch_key(
        &self,
        client_id: &ClientId,
        switch: Switch,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError>;

    /// Notes when secrets were last used; an earlier time than the stored one changes nothing.
    async fn record_last_used(&self, uses: Vec<(SecretId, Timestamp)>) -> Result<(), StoreError>;

    /// Puts a token on the deny-list, or raises the key's epoch when it has `max_denials` that live already, or ten
    /// times as many in all.
    async fn revoke_token(
        &self,
        client_id: &ClientId,
        token: DeniedToken,
        max_denials: usize,
        entry: NewEntry,
    ) -> Result<Revoked, StoreError>;

    /// Adds the key that signs from now on; the others are published until the given instant.
    async fn rotate_signing_key(
        &self,
        key: SealedSigningKey,
        others_published_until: Timestamp,
        entry: NewEntry,
    ) -> Result<(), StoreError>;

    /// Publishes a signing key that signs no more only until `entry.at`.
    async fn retire_signing_key(&self, kid: &str, entry: NewEntry) -> Result<SigningKeyRetired, StoreError>;

    /// Every signing key.
    async fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError>;

    /// Sealed bytes of that name.
    async fn find_sealed(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Keeps sealed bytes under a name, in place of earlier ones.
    async fn put_sealed(&self, name: &str, sealed: Vec<u8>) -> Result<(), StoreError>;

    /// What is known of each version of the root key, in their order.
    async fn root_keys(&self) -> Result<Vec<StoredRootKey>, StoreError>;

    /// How many secrets that were hashed under each version may still prove themselves at `now` or later.
    async fn secrets_by_root_key(&self, now: Timestamp) -> Result<BTreeMap<u32, u64>, StoreError>;

    /// Brings a new version of the root key into use: seals everything anew, and links the ledger under it from the
    /// entry on. [`StoreError::Corrupt`] when something sealed does not open.
    async fn rotate_root_key(&self, rotation: RootKeyRotation, entry: NewEntry) -> Result<(), StoreError>;

    /// Ends an older version that no secret needs which may prove itself at `now` or later. What is still sealed
    /// under it is sealed anew.
    async fn retire_root_key(
        &self,
        version: u32,
        now: Timestamp,
        reseal: Reseal,
        entry: NewEntry,
    ) -> Result<RootKeyRetired, StoreError>;

    /// Stores other hashes of the same secrets, where they are still as they were and the others are of the newest
    /// version. The entry's detail says how many; when there are none, nothing is entered.
    async fn rehash_secrets(&self, rehashes: Vec<Rehash>, entry: NewEntry) -> Result<(), StoreError>;

    /// Appends an entry that goes with no other change.
    async fn append_entry(&self, entry: NewEntry) -> Result<(), StoreError>;

    /// At most `limit` entries after that sequence number.
    async fn ledger_entries(&self, after: i64, limit: usize) -> Result<Vec<LedgerEntry>, StoreError>;

    /// The last entry's place and link.
    async fn ledger_head(&self) -> Result<LedgerHead, StoreError>;

    /// Calls that wait for a commit now, those of the one under way among them.
    fn queue_depth(&self) -> usize;

    /// A copy of all there is, as one moment had it: what was acknowledged before is in it. The file has no name
    /// any more, and is gone once it is closed.
    async fn snapshot(&self) -> Result<File, StoreError>;

    /// Forgets what has had its time: denials of expired tokens, creates that can no longer be repeated,
    /// signing keys no longer published, secrets that expired before `secrets_before`.
    async fn purge(
        &self,
        now: Timestamp,
        replays_before: Timestamp,
        secrets_before: Timestamp,
    ) -> Result<(), StoreError>;
}
