//! The embedded store: SQLite in one file, in WAL mode with `synchronous=FULL`.
//!
//! # Layout
//! - `open`, `connection`, `migrations`: from a path to a database of the right schema.
//! - `writer`: the thread that owns the writing connection and commits calls in groups.
//! - `reader`: the read connections.
//! - `api_keys`, `list`, `tokens`, `key_ring`, `root_key`, `sealed`, `ledger`, `load`, `purge`: the statements, by
//!   idea.
//! - `snapshot`: a copy while it is written to. [`inspection`]: a look at it that changes nothing.
//! - `rows`, `failure`: columns and errors.

mod api_keys;
mod connection;
mod failure;
pub mod inspection;
mod key_ring;
mod ledger;
mod list;
mod load;
mod migrations;
mod open;
mod purge;
mod reader;
mod root_key;
mod rows;
mod sealed;
mod snapshot;
mod tokens;
mod transaction;
mod writer;

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use gatekey_core::{
    ApiKey, ApiKeyPatch, KeyId, RootKey, SecretId, Store, StoreError, Timestamp,
    api_key::list::Selection,
    ledger::{LedgerEntry, LedgerHead, NewEntry},
    root_key::{Rehash, Reseal, RootKeyRetired, RootKeyRotation, StoredRootKey},
    signing_key::{SealedSigningKey, SigningKeyRetired},
    store::{ChangeObserver, Created, Replay, Rotated, Rotation, Switch},
    token::{DeniedToken, Revoked},
};
use gatekey_credentials::ClientId;

pub use inspection::Inspection;
pub use open::OpenError;
use reader::Readers;
use writer::Writer;

/// Keys in an SQLite file.
///
/// Dropping it finishes the calls that are under way, which blocks for about one commit.
pub struct SqliteStore {
    // Closed before the writer: the last connection to close tidies the log away, and a reader may not.
    readers: Readers,
    writer: Writer,
    observer: Arc<dyn ChangeObserver>,
    path: PathBuf,
}

impl SqliteStore {
    /// Opens the database of that path, made first when there is none, and brought to the schema of this
    /// version. The root key is settled by what it knows of its versions, and links the ledger; the observer is told
    /// of every change from then on, and of what there is by [`Store::load`].
    ///
    /// One process at a time: another one's changes would not reach the observer. Who composes the server
    /// keeps a second one away.
    ///
    /// # Errors
    /// When the file is not ours, of a newer version, damaged or out of reach, or the root key is not the one that
    /// belongs to it; then it stays as it was, but for its schema where only the root key is wrong.
    pub fn open(
        path: &Path,
        root_key: &RootKey,
        observer: Arc<dyn ChangeObserver>,
    ) -> Result<Self, OpenError> {
        let io_error = |source| OpenError::Io { path: path.to_owned(), source };
        // Absolute, because SQLite takes a name that begins with "file:" for a URI.
        let path = std::path::absolute(path).map_err(io_error)?;
        let mut connection = open::open(&path)?;
        let ledger_keys = root_key::settle(&mut connection, root_key).map_err(|why| why.at(&path))?;
        let readers = Readers::new(path.clone());
        let writer =
            Writer::start(path.clone(), connection, ledger_keys, Arc::clone(&observer), load::reload)
                .map_err(io_error)?;
        Ok(Self { readers, writer, observer, path })
    }

    /// Kills every token of every key, for a database that was restored: a key's epoch becomes `least`, and one
    /// more where it is that high already. Gives how many keys there are. The observer is told nothing: call it
    /// before [`Store::load`].
    ///
    /// # Errors
    /// When the change cannot be made; then nothing is changed.
    pub async fn raise_epochs(&self, least: u64, entry: NewEntry) -> Result<usize, StoreError> {
        self.writer.write(move |transaction| api_keys::raise_epochs(transaction, least, &entry)).await
    }

    /// How many transactions the writer has committed, to see that calls share them.
    #[doc(hidden)]
    pub fn commits(&self) -> u64 {
        self.writer.commits()
    }

    /// Lets the file grow to so many pages, as if the disk were full there.
    #[doc(hidden)]
    pub async fn limit_pages(&self, pages: u32) -> Result<(), StoreError> {
        self.writer
            .exclusively(move |connection| {
                Ok(connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
            })
            .await
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SqliteStore")
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn load(&self) -> Result<(), StoreError> {
        let observer = Arc::clone(&self.observer);
        // On the writer's thread: what is told must not be older than a change told before.
        self.writer
            .exclusively(move |connection| {
                reader::in_transaction(connection, |connection| load::load(connection, &*observer))?;
                Ok(open::leave_log(connection, false)?)
            })
            .await
    }

    async fn create_key(&self, key: ApiKey, replay: Replay, entry: NewEntry) -> Result<Created, StoreError> {
        self.writer.write(move |transaction| api_keys::create(transaction, key, &replay, &entry)).await
    }

    async fn find_key(&self, client_id: &ClientId) -> Result<Option<ApiKey>, StoreError> {
        let client_id = client_id.clone();
        self.readers.read(move |connection| api_keys::find(connection, &client_id)).await
    }

    async fn list_keys(&self, selection: Selection, limit: usize) -> Result<Vec<ApiKey>, StoreError> {
        self.readers.read(move |connection| list::page(connection, &selection, limit)).await
    }

    async fn update_key(
        &self,
        client_id: &ClientId,
        patch: ApiKeyPatch,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError> {
        let client_id = client_id.clone();
        self.writer.write(move |transaction| api_keys::update(transaction, &client_id, &patch, &entry)).await
    }

    async fn delete_key(&self, client_id: &ClientId, entry: NewEntry) -> Result<Option<KeyId>, StoreError> {
        let client_id = client_id.clone();
        self.writer.write(move |transaction| api_keys::delete(transaction, &client_id, &entry)).await
    }

    async fn rotate_secret(
        &self,
        client_id: &ClientId,
        rotation: Rotation,
        entry: NewEntry,
    ) -> Result<Rotated, StoreError> {
        let client_id = client_id.clone();
        self.writer
            .write(move |transaction| api_keys::rotate_secret(transaction, &client_id, rotation, &entry))
            .await
    }

    async fn retire_secret(
        &self,
        client_id: &ClientId,
        secret_id: SecretId,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError> {
        let client_id = client_id.clone();
        self.writer
            .write(move |transaction| api_keys::retire_secret(transaction, &client_id, secret_id, &entry))
            .await
    }

    async fn switch_key(
        &self,
        client_id: &ClientId,
        switch: Switch,
        entry: NewEntry,
    ) -> Result<Option<ApiKey>, StoreError> {
        let client_id = client_id.clone();
        self.writer.write(move |transaction| api_keys::switch(transaction, &client_id, switch, &entry)).await
    }

    async fn record_last_used(&self, uses: Vec<(SecretId, Timestamp)>) -> Result<(), StoreError> {
        self.writer.write(move |transaction| api_keys::record_last_used(transaction, &uses)).await
    }

    async fn revoke_token(
        &self,
        client_id: &ClientId,
        token: DeniedToken,
        max_denials: usize,
        entry: NewEntry,
    ) -> Result<Revoked, StoreError> {
        let client_id = client_id.clone();
        self.writer
            .write(move |transaction| tokens::revoke(transaction, &client_id, token, max_denials, &entry))
            .await
    }

    async fn rotate_signing_key(
        &self,
        key: SealedSigningKey,
        others_published_until: Timestamp,
        entry: NewEntry,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |transaction| key_ring::rotate(transaction, &key, others_published_until, &entry))
            .await
    }

    async fn retire_signing_key(&self, kid: &str, entry: NewEntry) -> Result<SigningKeyRetired, StoreError> {
        let kid = kid.to_owned();
        self.writer.write(move |transaction| key_ring::retire(transaction, &kid, &entry)).await
    }

    async fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, StoreError> {
        self.readers.read(key_ring::all).await
    }

    async fn find_sealed(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name.to_owned();
        self.readers.read(move |connection| sealed::find(connection, &name)).await
    }

    async fn put_sealed(&self, name: &str, sealed: Vec<u8>) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer.write(move |transaction| sealed::put(transaction.connection(), &name, &sealed)).await
    }

    async fn root_keys(&self) -> Result<Vec<StoredRootKey>, StoreError> {
        self.readers.read(root_key::all).await
    }

    async fn secrets_by_root_key(&self, now: Timestamp) -> Result<BTreeMap<u32, u64>, StoreError> {
        self.readers.read(move |connection| root_key::secrets(connection, now)).await
    }

    async fn rotate_root_key(&self, rotation: RootKeyRotation, entry: NewEntry) -> Result<(), StoreError> {
        self.writer.write(move |transaction| root_key::rotate(transaction, rotation, &entry)).await
    }

    async fn retire_root_key(
        &self,
        version: u32,
        now: Timestamp,
        reseal: Reseal,
        entry: NewEntry,
    ) -> Result<RootKeyRetired, StoreError> {
        self.writer
            .write(move |transaction| root_key::retire(transaction, version, now, &reseal, &entry))
            .await
    }

    async fn rehash_secrets(&self, rehashes: Vec<Rehash>, entry: NewEntry) -> Result<(), StoreError> {
        self.writer.write(move |transaction| root_key::rehash_secrets(transaction, &rehashes, &entry)).await
    }

    async fn append_entry(&self, entry: NewEntry) -> Result<(), StoreError> {
        self.writer.write(move |transaction| transaction.append(&entry)).await
    }

    async fn ledger_entries(&self, after: i64, limit: usize) -> Result<Vec<LedgerEntry>, StoreError> {
        self.readers.read(move |connection| ledger::entries(connection, after, limit)).await
    }

    async fn ledger_head(&self) -> Result<LedgerHead, StoreError> {
        self.readers.read(transaction::ledger_head).await
    }

    fn queue_depth(&self) -> usize {
        self.writer.queue_depth()
    }

    async fn snapshot(&self) -> Result<File, StoreError> {
        let path = self.path.clone();
        let taken = tokio::task::spawn_blocking(move || snapshot::take(&path)).await;
        taken.unwrap_or_else(|ended| Err(StoreError::Unavailable(Box::new(ended))))
    }

    async fn purge(
        &self,
        now: Timestamp,
        replays_before: Timestamp,
        secrets_before: Timestamp,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |transaction| purge::purge(transaction, now, replays_before, secrets_before))
            .await
    }
}
