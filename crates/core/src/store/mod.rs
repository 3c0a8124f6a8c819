//! [`Store`]: where keys are kept. Each method is one atomic unit; ids, times and hashes come in as values.
//!
//! A call once begun runs to its end, also when its future is dropped. Its [`Change`]s reach the observer
//! after the commit and before the call answers, so whoever was told of a change finds it in the directory.

use std::{collections::BTreeMap, fs::File, sync::Arc};

use async_trait::async_trait;
use gatekey_credentials::{ClientId, jwt::Algorithm};

use crate::{
    ApiKey, ApiKeyPatch, KeyId, LedgerKey, SecretHash, SecretId, StoredSecret, Timestamp,
    api_key::list::Selection,
    ledger::{LedgerEntry, LedgerHead, NewEntry},
    root_key::CannotOpen,
};

/// Why a store call failed. "Not found" is no error but `None`.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The client id is taken.
    #[error("the client id is taken")]
    Conflict,
    /// The store cannot be reached or written now.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A part of the store is damaged, or the disk cannot read it now: which of the two cannot be told.
    #[error("a part of the store is damaged, or the disk cannot read it: {0}")]
    Unreadable(String),
    /// The store holds what this program cannot read.
    #[error("the store is corrupt: {0}")]
    Corrupt(String),
}

/// What a committed call changed, for those who hold facts in memory.
#[derive(Debug, Clone)]
pub enum Change {
    /// A key was created or changed: this is how it is now.
    KeyPut(Box<ApiKey>),
    /// A key is gone.
    KeyDeleted {
        /// Its client id, which may be used again.
        client_id: ClientId,
        /// Its key id, which will not.
        key_id: KeyId,
    },
    /// A token is revoked.
    TokenDenied(DeniedToken),
    /// The revoked tokens of a key need no remembering: its epoch was raised.
    DenialsDropped(KeyId),
    /// All signing keys, as they are now.
    SigningKeys(Vec<SealedSigningKey>),
    /// Whatever was told before is void: what is told in the same call is all there is.
    Reset,
}

/// Is told of every committed change, in the order of the commits. Must not block.
pub trait ChangeObserver: Send + Sync {
    /// Takes the changes in.
    fn observe(&self, changes: &[Change]);
}

/// A token that is refused until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeniedToken {
    /// The token's `jti`.
    pub jti: String,
    /// The key that fetched it.
    pub key_id: KeyId,
    /// When the token expires and the denial can be forgotten.
    pub expires_at: Timestamp,
}

/// A signing key as it is stored: the private key sealed under the root key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedSigningKey {
    /// The key's id, the header's `kid`.
    pub kid: String,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// The private key, sealed under the name `signing key KID`.
    pub sealed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Set on a key that signs no more: published until then.
    pub published_until: Option<Timestamp>,
}

impl SealedSigningKey {
    /// Under which name the private key is sealed.
    pub fn sealing_name(&self) -> String {
        signing_key_name(&self.kid)
    }
}

/// Under which name the private key of a signing key is sealed.
pub(crate) fn signing_key_name(kid: &str) -> String {
    format!("signing key {kid}")
}

/// What the store knows of a version of the root key: never the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRootKey {
    /// Which one.
    pub version: u32,
    /// Tells whether a key is the one.
    pub check: [u8; 16],
    /// When it came into use; of the first version when the store was made.
    pub since: Option<Timestamp>,
    /// Set on one that nothing needs any more: the file need not hold it.
    pub retired_at: Option<Timestamp>,
    /// What it linked the ledger with, sealed under the newest version; `None` for the newest.
    pub ledger_key: Option<Vec<u8>>,
}

/// Seals anew, under the newest version of the root key, what was sealed under that name.
pub type Reseal = Box<dyn Fn(&str, &[u8]) -> Result<Vec<u8>, CannotOpen> + Send + Sync>;

/// What [`Store::rotate_root_key`] does.
pub struct RootKeyRotation {
    /// The new version.
    pub key: StoredRootKey,
    /// What links the ledger from its own entry on.
    pub ledger_key: LedgerKey,
    /// What linked it before, by version, sealed under the new one.
    pub sealed_ledger_keys: Vec<(u32, Vec<u8>)>,
    /// Opens under any version, and seals under the new one.
    pub reseal: Reseal,
}

/// What became of [`Store::retire_root_key`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootKeyRetired {
    /// Nothing needs it any more.
    Done,
    /// It was retired before: nothing was changed.
    Already,
    /// It is in use: nothing was changed.
    Newest,
    /// Secrets need it: nothing was changed.
    Needed {
        /// How many.
        secrets: u64,
        /// Some of the keys that have them.
        client_ids: Vec<ClientId>,
    },
    /// There is no such version.
    Absent,
}

/// A secret that proved itself under an older version of the root key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rehash {
    /// Which secret.
    pub secret_id: SecretId,
    /// As it is stored.
    pub from: SecretHash,
    /// As it is to be stored, if that version is the newest.
    pub to: SecretHash,
}

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

/// What became of [`Store::revoke_token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The token is on the deny-list.
    Denied,
    /// The key had too many denials: its epoch was raised and they were dropped.
    EpochRaised,
    /// The key is gone, and its tokens with it.
    Absent,
}

/// What became of [`Store::retire_signing_key`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SigningKeyRetired {
    /// It is published no more.
    Done,
    /// It signs: nothing was changed.
    Signs,
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

/// Passes changes on to several observers.
pub struct Observers(pub Vec<Arc<dyn ChangeObserver>>);

impl ChangeObserver for Observers {
    fn observe(&self, changes: &[Change]) {
        for observer in &self.0 {
            observer.observe(changes);
        }
    }
}
