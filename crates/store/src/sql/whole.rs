//! The calls that concern the whole store.

use std::fs::File;

use async_trait::async_trait;
use gatekey_core::{Store, StoreError, Timestamp, seal::SealReport};

use super::{
    load, purge,
    store::{Backend, SqlStore},
};

#[async_trait]
impl<B: Backend> Store for SqlStore<B> {
    async fn load(&self) -> Result<(), StoreError> {
        let (observer, seals) = (self.observer(), self.seals());
        // On the writer's thread: the facts must not be older than a change reported before.
        self.exclusively("store.load", move |session| {
            session.read_all(&mut |sql| load::load(sql, &seals, &*observer))
        })
        .await
    }

    async fn verify_seals(&self) -> Result<SealReport, StoreError> {
        let keys = self.seals().keys();
        self.read("store.verify_seals", move |sql| load::verify(sql, &keys)).await
    }

    async fn purge(
        &self,
        now: Timestamp,
        replays_before: Timestamp,
        secrets_before: Timestamp,
    ) -> Result<(), StoreError> {
        self.write("store.purge", move |transaction| {
            purge::purge(transaction, now, replays_before, secrets_before)
        })
        .await
    }

    async fn snapshot(&self) -> Result<File, StoreError> {
        self.copy("store.snapshot").await
    }

    fn queue_depth(&self) -> usize {
        self.writer().queue_depth()
    }
}
