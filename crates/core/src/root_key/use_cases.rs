//! [`RootKeys`]: rotate, list and retire the versions of the root key.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};

use super::{
    CannotOpen, FileError, Reseal, RootKey, RootKeyFile, RootKeyMismatch, RootKeyRetired,
    RootKeyRotation, StoredRootKey,
    derived::Version,
    versions::{Versions, derive},
};
use crate::{
    Caller, Env, Store, StoreError, Timestamp,
    env::CLOCK_ERROR,
    ledger::{Action, LedgerKey, NewEntry},
};

/// One transaction rehashes at most this many secrets, so that other changes do not wait for more.
const REHASHES_AT_ONCE: usize = 1000;

/// One transaction seals the rows of at most this many keys again.
const RESEALS_AT_ONCE: usize = 500;

/// Why the root key was not rotated, or a version of it not retired.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyError {
    #[error("the root key is being rotated or retired already; try again")]
    Busy,
    #[error("this root key has no file")]
    NoFile,
    #[error(transparent)]
    UnreadableFile(FileError),
    /// For example, because the file is mounted read-only.
    #[error(
        "the root key {place} cannot be replaced ({source}); create the new file with `gatekey root-key new \
         --root-key-file {place} NEW`, replace the old file with it, and run this command again"
    )]
    CannotReplace { place: String, source: FileError },
    #[error(transparent)]
    Mismatch(#[from] RootKeyMismatch),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The result of [`RootKeys::rotate`].
#[derive(Debug)]
pub struct Rotated {
    /// The version in use.
    pub version: u32,
    /// Whether the file already had the version: this call finished an interrupted rotation.
    pub was_begun: bool,
    /// Why the file still marks the version as pending.
    pub still_pending: Option<FileError>,
}

/// The result of [`RootKeys::retire`].
#[derive(Debug)]
pub struct Retired {
    /// The outcome in the store.
    pub outcome: RootKeyRetired,
    /// Why the file still has the version.
    pub still_in_file: Option<FileError>,
}

/// A version of the root key, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKeyFacts {
    pub version: u32,
    pub state: RootKeyState,
    /// When it came into use. `None` if it never did, or if no entry was recorded since.
    pub since: Option<Timestamp>,
    /// Number of unexpired secrets that are hashed under it.
    pub secrets: u64,
    pub in_file: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKeyState {
    /// Only the file has it: a rotation to it has begun, or it belongs to another store.
    NotInUse,
    /// It hashes, seals and links.
    InUse,
    /// It verifies secrets that were not used since it was replaced.
    Older,
    /// Nothing needs it.
    Retired,
}

/// The use cases of the root key.
pub struct RootKeys {
    root_key: Arc<RootKey>,
    store: Arc<dyn Store>,
    env: Env,
    /// Whether a rotation or a retirement is running: one at a time.
    busy: AtomicBool,
}

/// Held while a rotation or a retirement is running.
struct RotationGuard<'k>(&'k AtomicBool);

impl Drop for RotationGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl RootKeys {
    pub fn new(root_key: Arc<RootKey>, store: Arc<dyn Store>, env: Env) -> Self {
        Self { root_key, store, env, busy: AtomicBool::default() }
    }

    /// Starts using a newer version: the pending one in the file, or else a new one, which is
    /// written to the file first.
    ///
    /// Every secret and token stays valid meanwhile. After a failure either the old or the new
    /// version is in use; the same call finishes the rotation.
    ///
    /// # Errors
    /// When the file cannot be read or replaced, lacks a version in use, or the store fails.
    pub async fn rotate(&self, caller: &Caller) -> Result<Rotated, RootKeyError> {
        let _guard = self.guard()?;
        let file = self.file()?;
        let in_file = file.read().await.map_err(RootKeyError::UnreadableFile)?;
        let stored = self.store.root_keys().await?;
        let known = newest(&stored);
        let was_begun = in_file.is_pending() || known < in_file.newest();
        // Checks that the file belongs to the store, before anything changes.
        Versions::settle(derive(&in_file), in_file.is_pending(), &stored, true)?;
        let keys = if was_begun {
            in_file
        } else {
            let keys = in_file.with_new(&self.env, known);
            let replaced = file.replace(&keys).await;
            replaced
                .map_err(|source| RootKeyError::CannotReplace { place: file.place(), source })?;
            keys
        };
        let versions = Versions::settle(derive(&keys), keys.is_pending(), &stored, true)?;
        let version = keys.newest();
        if known < version {
            let now = self.env.now();
            let rotation = rotation_to(&versions, &self.env, now, version)?;
            // The store reports the sealed rows before the call returns, so the memory must be able
            // to open them by then.
            self.root_key.replace(versions);
            let entry = NewEntry::new(now, caller, Action::RootKeyRotate { after: known }, version);
            self.store.rotate_root_key(rotation, entry).await?;
            tracing::info!(version, "rotated the root key");
        }
        self.root_key.replace(Versions::settle(
            derive(&keys),
            false,
            &self.store.root_keys().await?,
            true,
        )?);
        if let Err(error) = self.reseal_rows().await {
            tracing::warn!(%error, "failed to seal all rows under the new root key; the next start continues");
        }
        let still_pending =
            if keys.is_pending() { file.replace(&keys.settled()).await.err() } else { None };
        Ok(Rotated { version, was_begun, still_pending })
    }

    /// Settles again which versions are in use, by what the store has now: a rotation that it
    /// reported as failed may be durable. Does nothing while a rotation is running.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle_again(&self) -> Result<(), RootKeyError> {
        let Ok(_guard) = self.guard() else { return Ok(()) };
        let stored = self.store.root_keys().await?;
        // An older store was refused when it was opened, unless a rotation had not reached it yet.
        self.root_key.settle_with(&stored, true)?;
        Ok(())
    }

    /// Removes the pending mark from the file, if the rotation is finished.
    ///
    /// # Errors
    /// When the file cannot be read or replaced.
    pub async fn clear_pending_mark(&self) -> Result<(), FileError> {
        let Ok(file) = self.file() else { return Ok(()) };
        if !self.root_key.is_pending() || self.root_key.version_not_in_use().is_some() {
            return Ok(());
        }
        let _guard = self.guard()?;
        let keys = file.read().await?;
        if keys.is_pending() && keys.newest() == self.root_key.version() {
            file.replace(&keys.settled()).await?;
        }
        Ok(())
    }

    /// Every version that the store or the file knows, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read, or the store fails.
    pub async fn list(&self) -> Result<Vec<RootKeyFacts>, RootKeyError> {
        let in_file = self.file()?.read().await.map_err(RootKeyError::UnreadableFile)?;
        let stored = self.store.root_keys().await?;
        let secrets = self.store.secrets_by_root_key(surely_expired(self.env.now())).await?;
        let newest = newest(&stored);
        let has = |version| in_file.iter().any(|(found, _)| found == version);
        let mut facts: Vec<_> = stored
            .iter()
            .map(|stored| RootKeyFacts {
                version: stored.version,
                state: match stored.retired_at {
                    Some(_) => RootKeyState::Retired,
                    None if stored.version == newest => RootKeyState::InUse,
                    None => RootKeyState::Older,
                },
                since: stored.since,
                secrets: secrets.get(&stored.version).copied().unwrap_or_default(),
                in_file: has(stored.version),
            })
            .collect();
        let unknown = in_file
            .iter()
            .filter(|(version, _)| stored.iter().all(|known| known.version != *version));
        facts.extend(unknown.map(|(version, _)| RootKeyFacts {
            version,
            state: RootKeyState::NotInUse,
            since: None,
            secrets: 0,
            in_file: true,
        }));
        facts.sort_by_key(|facts| std::cmp::Reverse(facts.version));
        Ok(facts)
    }

    /// Retires an older version that no secret needs: in the store, then in the file.
    ///
    /// # Errors
    /// When the file cannot be read, or the store fails.
    pub async fn retire(&self, caller: &Caller, version: u32) -> Result<Retired, RootKeyError> {
        let _guard = self.guard()?;
        let file = self.file()?;
        let keys = file.read().await.map_err(RootKeyError::UnreadableFile)?;
        // The store may know a newer version than it reported. Whatever is sealed or hashed again
        // below must be under the newest version that the store knows.
        let stored = self.store.root_keys().await?;
        let versions = Versions::settle(derive(&keys), keys.is_pending(), &stored, true)?;
        let reseal = reseal(&versions, &self.env)?;
        self.root_key.replace(versions);
        self.flush_rehashes(caller).await?;
        self.reseal_rows().await?;
        let now = self.env.now();
        let entry = NewEntry::new(now, caller, Action::RootKeyRetire, version);
        let outcome =
            self.store.retire_root_key(version, surely_expired(now), reseal, entry).await?;
        if !matches!(outcome, RootKeyRetired::Done | RootKeyRetired::Already) {
            return Ok(Retired { outcome, still_in_file: None });
        }
        let stored = self.store.root_keys().await?;
        self.root_key.replace(Versions::settle(derive(&keys), keys.is_pending(), &stored, true)?);
        let still_in_file = match keys.without(version) {
            Some(keys) => file.replace(&keys).await.err(),
            None => None,
        };
        Ok(Retired { outcome, still_in_file })
    }

    /// Stores the new hashes of secrets that were used under an older version since the last flush.
    ///
    /// # Errors
    /// When the store cannot write; the hashes that it did not take are kept for the next flush.
    pub async fn flush_rehashes(&self, caller: &Caller) -> Result<(), StoreError> {
        let mut rehashes = self.root_key.take_rehashes();
        while !rehashes.is_empty() {
            let batch = rehashes.split_off(rehashes.len().saturating_sub(REHASHES_AT_ONCE));
            // The store replaces the count: secrets may have been rehashed or deleted meanwhile.
            let action = Action::RootKeyRehashSecrets { secrets: batch.len() as u64 };
            let entry = NewEntry::new(self.env.now(), caller, action, self.root_key.version());
            if let Err(error) = self.store.rehash_secrets(batch.clone(), entry).await {
                self.root_key.put_back(rehashes.into_iter().chain(batch));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Seals every row that is still sealed under an older version under the newest one, in
    /// batches. Continues after an interrupted rotation.
    ///
    /// # Errors
    /// When the store fails; rows sealed before stay so.
    pub async fn reseal_rows(&self) -> Result<(), StoreError> {
        let mut after = None;
        while let Some(last) = self.store.reseal_rows(after, RESEALS_AT_ONCE).await? {
            after = Some(last);
        }
        Ok(())
    }

    fn guard(&self) -> Result<RotationGuard<'_>, RootKeyError> {
        if self.busy.swap(true, Ordering::Acquire) {
            Err(RootKeyError::Busy)
        } else {
            Ok(RotationGuard(&self.busy))
        }
    }

    fn file(&self) -> Result<&dyn RootKeyFile, RootKeyError> {
        self.root_key.file().ok_or(RootKeyError::NoFile)
    }
}

/// Secrets that had expired by then stay expired, even if the clock is set back.
fn surely_expired(now: Timestamp) -> Timestamp {
    now.before(CLOCK_ERROR)
}

fn newest(stored: &[StoredRootKey]) -> u32 {
    stored.iter().map(|stored| stored.version).max().unwrap_or_default()
}

/// Returns the rotation of the store from the version in use to a newer one in the file.
fn rotation_to(
    versions: &Versions,
    env: &Env,
    now: Timestamp,
    version: u32,
) -> Result<RootKeyRotation, RootKeyMismatch> {
    let new = versions.spare.iter().find(|spare| spare.number == version);
    let new = new.ok_or(RootKeyMismatch::Missing(version))?;
    let seal = |key: &LedgerKey| {
        (key.version(), new.seal(env, &LedgerKey::sealing_name(key.version()), key.expose()))
    };
    Ok(RootKeyRotation {
        key: new.stored(Some(now)),
        ledger_key: new.ledger.clone(),
        seal_key: new.seal.clone(),
        sealed_ledger_keys: versions.ledger.iter().map(seal).collect(),
        reseal: reseal_under(versions, new.clone(), env),
    })
}

/// Seals again under the version in use.
fn reseal(versions: &Versions, env: &Env) -> Result<Reseal, RootKeyMismatch> {
    let newest = versions.live.first().ok_or(RootKeyMismatch::Missing(1))?;
    Ok(reseal_under(versions, newest.clone(), env))
}

fn reseal_under(versions: &Versions, newest: Arc<Version>, env: &Env) -> Reseal {
    let env = env.clone();
    let versions: Vec<_> = versions.iter().cloned().collect();
    Box::new(move |name, sealed| {
        let opened = versions.iter().find_map(|version| version.open(name, sealed).ok());
        Ok(newest.seal(&env, name, &opened.ok_or(CannotOpen)?))
    })
}
