//! The traits of a store, one per idea; [`Store`] is their sum.
//!
//! Each method is one atomic unit. Ids, times and hashes are arguments, and the rules are functions
//! of the core: a store reads rows, applies a rule, writes rows and appends the ledger entry.
//!
//! A call that has begun runs to its end, even if its future is dropped. The observer is notified
//! of its [`Change`]s after the commit and before the caller, who therefore finds them in memory.
//!
//! An absent key is `None`, not an error. A call that fails has changed nothing, with one
//! exception: a commit reported as failed can prove durable. The store then reports all its state.

mod api_key;
mod change;
mod error;
mod ledger;
mod root_key;
mod signing_key;
mod token;
mod trace;

use std::fs::File;

use async_trait::async_trait;

pub use self::{
    api_key::{ApiKeyStore, Assigned, Created, Rotated},
    change::{Change, ChangeObserver, Observers},
    error::StoreError,
    ledger::{LedgerArchived, LedgerStore},
    root_key::RootKeyStore,
    signing_key::SigningKeyStore,
    token::TokenStore,
    trace::{StoreSpan, StoreTracer, traced},
};
use crate::{Timestamp, seal::SealReport};

/// Everything stored, and the calls that concern all of it.
#[async_trait]
pub trait Store: ApiKeyStore + TokenStore + SigningKeyStore + RootKeyStore + LedgerStore {
    /// Reports everything to the observer: each key, each denial, the signing keys. Keys that do
    /// not match their seals are omitted.
    ///
    /// Fails with [`StoreError::Tampered`] if rows are missing or were put back, or if a denial or
    /// signing key does not match its seal. The store must then not be served.
    async fn load(&self) -> Result<(), StoreError>;

    /// Verifies the seals of all rows.
    async fn verify_seals(&self) -> Result<SealReport, StoreError>;

    /// Deletes denials of tokens that expired at `now` or before, creates before `replays_before`,
    /// signing keys that left the JWKS, and secrets by [`ApiKey::purge_secrets`].
    ///
    /// [`ApiKey::purge_secrets`]: crate::ApiKey::purge_secrets
    async fn purge(
        &self,
        now: Timestamp,
        replays_before: Timestamp,
        secrets_before: Timestamp,
    ) -> Result<(), StoreError>;

    /// A copy of everything at one moment, with all changes acknowledged before. The file is
    /// unlinked: it is deleted once it is closed.
    async fn snapshot(&self) -> Result<File, StoreError>;

    /// The number of calls that wait for a commit, including those in the current one.
    fn queue_depth(&self) -> usize;
}
