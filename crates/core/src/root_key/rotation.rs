//! A newer version of the root key: rotate, list, retire; and secrets follow as they prove themselves.

use std::{
    mem,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde::{Deserialize, Serialize};

use super::{
    CannotOpen, FileError, Rehash, Reseal, RootKey, RootKeyFile, RootKeyMismatch, RootKeyRetired,
    RootKeyRotation, SecretHash, StoredRootKey,
    derived::Version,
    versions::{Versions, derive},
};
use crate::{
    Caller, Env, SecretId, Store, StoreError, Timestamp,
    ledger::{Action, LedgerKey, NewEntry},
    token::CLOCK_ERROR,
};

/// Secrets that are hashed anew in one transaction, at most: no other change waits for more of them.
const REHASHES_AT_ONCE: usize = 1000;

/// Why the root key was not rotated or a version of it not retired.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    /// Somebody else is about it.
    #[error("the root key is being rotated or retired already; try again")]
    Busy,
    /// The root key is kept nowhere.
    #[error("this root key has no file")]
    NoFile,
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(FileError),
    /// The file cannot be replaced, as where it is mounted to be read alone.
    #[error(
        "the root key {place} cannot be replaced ({source}); make the new file yourself, with `gatekey root-key new \
         --root-key-file {place} NEW`, put it in the place of the old one, and then do this again"
    )]
    CannotReplace {
        /// What people call the file.
        place: String,
        /// Why.
        source: FileError,
    },
    /// File and store do not belong together.
    #[error(transparent)]
    Mismatch(#[from] RootKeyMismatch),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of [`RootKey::rotate`].
#[derive(Debug)]
pub struct Rotated {
    /// The version in use.
    pub version: u32,
    /// Whether it was in the file already: a rotation that was begun is now finished.
    pub was_begun: bool,
    /// Why the file says still that the rotation is pending.
    pub still_pending: Option<FileError>,
}

/// What became of [`RootKey::retire`].
#[derive(Debug)]
pub struct Retired {
    /// In the store.
    pub outcome: RootKeyRetired,
    /// Why the file has the version still.
    pub still_in_file: Option<FileError>,
}

/// What is known of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootKeyFacts {
    /// Which one.
    pub version: u32,
    /// What it is for.
    pub state: RootKeyState,
    /// When it came into use, if it did and something was entered since.
    pub since: Option<Timestamp>,
    /// Secrets that were hashed under it and may still prove themselves.
    pub secrets: u64,
    /// Whether the file has it.
    pub in_file: bool,
}

/// What a version is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootKeyState {
    /// In the file alone: a rotation to it was begun, or it is from another store.
    NotInUse,
    /// It hashes, seals and chains.
    InUse,
    /// Secrets are compared under it that have not proven themselves since it was replaced.
    Older,
    /// Nothing needs it.
    Retired,
}

/// Held by whoever rotates or retires.
struct Alone<'k>(&'k AtomicBool);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl RootKey {
    /// Brings a newer version into use: that which the file has, if it has one, else a new one, which is put into
    /// the file first. Nothing is refused meanwhile. After a failure everything works as before or as after; the
    /// same call finishes it.
    ///
    /// # Errors
    /// When the file cannot be read or replaced, lacks a version in use, or the store fails.
    pub async fn rotate(
        &self,
        store: &dyn Store,
        env: &Env,
        caller: &Caller,
    ) -> Result<Rotated, RotationError> {
        let _alone = self.alone()?;
        let file = self.file()?;
        let in_file = file.read().await.map_err(RotationError::Unreadable)?;
        let stored = store.root_keys().await?;
        let known = newest(&stored);
        let was_begun = in_file.is_pending() || known < in_file.newest();
        // Nothing is begun with a file that does not fit.
        Versions::settle(derive(&in_file), in_file.is_pending(), &stored, true)?;
        let keys = if was_begun {
            in_file
        } else {
            let keys = in_file.with_new(env, known);
            let replaced = file.replace(&keys).await;
            replaced.map_err(|source| RotationError::CannotReplace { place: file.place(), source })?;
            keys
        };
        let state = Versions::settle(derive(&keys), keys.is_pending(), &stored, true)?;
        let version = keys.newest();
        if known < version {
            let rotation = rotation_to(&state, env, env.now(), version)?;
            // What is sealed anew must open as soon as it is told of.
            self.state.store(Arc::new(state));
            let entry = NewEntry::new(env.now(), caller, Action::RootKeyRotate { after: known }, version);
            store.rotate_root_key(rotation, entry).await?;
        }
        let settled = Versions::settle(derive(&keys), false, &store.root_keys().await?, true)?;
        self.state.store(Arc::new(settled));
        let still_pending = if keys.is_pending() { file.replace(&keys.settled()).await.err() } else { None };
        Ok(Rotated { version, was_begun, still_pending })
    }

    /// Settles which versions are in use as the store has it now: what it refused may have been made. Whoever rotates
    /// at the moment does that.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn settle_anew(&self, store: &dyn Store) -> Result<(), RotationError> {
        let Ok(_alone) = self.alone() else { return Ok(()) };
        let stored = store.root_keys().await?;
        let state = self.state.load();
        // The store was settled with when it was opened; it may be one that a rotation has not reached yet.
        let settled = Versions::settle(state.all(), state.pending, &stored, true)?;
        self.state.store(Arc::new(settled));
        Ok(())
    }

    /// Takes the mark of a rotation out of the file that the store knows to be finished.
    ///
    /// # Errors
    /// When the file cannot be read or replaced.
    pub async fn finish_file(&self) -> Result<(), FileError> {
        let Ok(file) = self.file() else { return Ok(()) };
        if !self.state.load().pending || self.version_not_in_use().is_some() {
            return Ok(());
        }
        let _alone = self.alone()?;
        let keys = file.read().await?;
        if keys.is_pending() && keys.newest() == self.version() {
            file.replace(&keys.settled()).await?;
        }
        Ok(())
    }

    /// Every version that the store or the file knows, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read, or the store fails.
    pub async fn list(&self, store: &dyn Store, env: &Env) -> Result<Vec<RootKeyFacts>, RotationError> {
        let in_file = self.file()?.read().await.map_err(RotationError::Unreadable)?;
        let stored = store.root_keys().await?;
        let secrets = store.secrets_by_root_key(surely(env.now())).await?;
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
        let unknown =
            in_file.iter().filter(|(version, _)| stored.iter().all(|known| known.version != *version));
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

    /// Ends an older version, in the store and then in the file, when no secret needs it any more.
    ///
    /// # Errors
    /// When the file cannot be read, or the store fails.
    pub async fn retire(
        &self,
        store: &dyn Store,
        env: &Env,
        version: u32,
        caller: &Caller,
    ) -> Result<Retired, RotationError> {
        let _alone = self.alone()?;
        let file = self.file()?;
        let keys = file.read().await.map_err(RotationError::Unreadable)?;
        // By what the store knows now, which may be more than its answers said: what is sealed anew below, and what is
        // hashed anew before, must be under the newest version there.
        let state = Versions::settle(derive(&keys), keys.is_pending(), &store.root_keys().await?, true)?;
        let reseal = reseal(&state, env)?;
        self.state.store(Arc::new(state));
        self.flush_rehashes(store, env, caller).await?;
        let now = env.now();
        let entry = NewEntry::new(now, caller, Action::RootKeyRetire, version);
        let outcome = store.retire_root_key(version, surely(now), reseal, entry).await?;
        if !matches!(outcome, RootKeyRetired::Done | RootKeyRetired::Already) {
            return Ok(Retired { outcome, still_in_file: None });
        }
        let stored = store.root_keys().await?;
        self.state.store(Arc::new(Versions::settle(derive(&keys), keys.is_pending(), &stored, true)?));
        let still_in_file = match keys.without(version) {
            Some(keys) => file.replace(&keys).await.err(),
            None => None,
        };
        Ok(Retired { outcome, still_in_file })
    }

    /// Notes that a secret proved itself: if it was under an older version, it is to be hashed under the newest.
    pub(crate) fn note_proven(&self, secret_id: SecretId, from: SecretHash, newest: Option<SecretHash>) {
        let Some(to) = newest.filter(|newest| newest.pepper_version != from.pepper_version) else {
            return;
        };
        let rehash = Rehash { secret_id, from, to };
        self.rehashes.lock().unwrap_or_else(PoisonError::into_inner).insert(secret_id, rehash);
    }

    /// Stores the hashes that were noted since the last flush.
    ///
    /// # Errors
    /// When the store cannot write; what was not written is kept for the next flush.
    pub async fn flush_rehashes(
        &self,
        store: &dyn Store,
        env: &Env,
        caller: &Caller,
    ) -> Result<(), StoreError> {
        let noted = mem::take(&mut *self.rehashes.lock().unwrap_or_else(PoisonError::into_inner));
        let mut rehashes: Vec<_> = noted.into_values().collect();
        while !rehashes.is_empty() {
            let batch = rehashes.split_off(rehashes.len().saturating_sub(REHASHES_AT_ONCE));
            // The store replaces the count: some may have been rehashed or deleted meanwhile.
            let action = Action::RootKeyRehashSecrets { secrets: batch.len() as u64 };
            let entry = NewEntry::new(env.now(), caller, action, self.version());
            if let Err(error) = store.rehash_secrets(batch.clone(), entry).await {
                let mut newer = self.rehashes.lock().unwrap_or_else(PoisonError::into_inner);
                for rehash in rehashes.into_iter().chain(batch) {
                    newer.entry(rehash.secret_id).or_insert(rehash);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn alone(&self) -> Result<Alone<'_>, RotationError> {
        if self.busy.swap(true, Ordering::Acquire) { Err(RotationError::Busy) } else { Ok(Alone(&self.busy)) }
    }

    fn file(&self) -> Result<&dyn RootKeyFile, RotationError> {
        self.file.as_deref().ok_or(RotationError::NoFile)
    }
}

/// What had expired by then may be called valid once a wrong clock is set right.
fn surely(now: Timestamp) -> Timestamp {
    now.before(CLOCK_ERROR)
}

fn newest(stored: &[StoredRootKey]) -> u32 {
    stored.iter().map(|stored| stored.version).max().unwrap_or_default()
}

/// How the store gets from the version in use to a newer one in the file.
fn rotation_to(
    state: &Versions,
    env: &Env,
    now: Timestamp,
    version: u32,
) -> Result<RootKeyRotation, RootKeyMismatch> {
    let new = state.spare.iter().find(|spare| spare.number == version);
    let new = new.ok_or(RootKeyMismatch::Missing(version))?;
    let seal = |key: &LedgerKey| {
        (key.version(), new.seal(env, &LedgerKey::sealing_name(key.version()), key.expose()))
    };
    Ok(RootKeyRotation {
        key: new.stored(Some(now)),
        ledger_key: new.ledger.clone(),
        sealed_ledger_keys: state.ledger.iter().map(seal).collect(),
        reseal: reseal_under(state, new.clone(), env),
    })
}

/// Seals anew, under the version in use.
fn reseal(state: &Versions, env: &Env) -> Result<Reseal, RootKeyMismatch> {
    let newest = state.live.first().ok_or(RootKeyMismatch::Missing(1))?;
    Ok(reseal_under(state, newest.clone(), env))
}

fn reseal_under(state: &Versions, newest: Arc<Version>, env: &Env) -> Reseal {
    let env = env.clone();
    let versions: Vec<_> = state.iter().cloned().collect();
    Box::new(move |name, sealed| {
        let opened = versions.iter().find_map(|version| version.open(name, sealed).ok());
        Ok(newest.seal(&env, name, &opened.ok_or(CannotOpen)?))
    })
}
