//! [`TracedStore`]: what a request waits for longest is the disk, so each call of the store has a span of its own.

use std::{collections::BTreeMap, fs::File, sync::Arc, time::Instant};

use async_trait::async_trait;
use gatekey_core::{
    ApiKey, ApiKeyPatch, Env, KeyId, SecretId, Store, StoreError, Timestamp,
    api_key::list::Selection,
    ledger::{LedgerEntry, LedgerHead, NewEntry},
    root_key::{Rehash, Reseal, RootKeyRetired, RootKeyRotation, StoredRootKey},
    signing_key::{SealedSigningKey, SigningKeyRetired},
    store::{Created, Replay, Rotated, Rotation, Switch},
    token::{DeniedToken, Revoked},
};
use gatekey_credentials::ClientId;
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::SdkTracer;

use super::{Traces, system_time};

/// A store whose calls have a span below that of the request they are for. Calls for no request have none.
pub struct TracedStore {
    store: Arc<dyn Store>,
    tracer: SdkTracer,
    env: Env,
}

impl TracedStore {
    /// A store, with spans.
    pub fn new(store: Arc<dyn Store>, traces: &Traces) -> Self {
        Self { store, tracer: traces.tracer.clone(), env: traces.env.clone() }
    }

    async fn traced<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let request = Context::current();
        if !request.span().span_context().is_sampled() {
            return call.await;
        }
        let (started_at, started) = (system_time(self.env.now()), Instant::now());
        let builder = SpanBuilder::from_name(name).with_start_time(started_at);
        let mut span = self.tracer.build_with_context(builder, &request);
        let answer = call.await;
        if let Err(error) = &answer {
            let kind = match error {
                StoreError::Conflict => "conflict",
                StoreError::Unavailable(_) => "unavailable",
                StoreError::Corrupt(_) => "corrupt",
                StoreError::Unreadable(_) => "unreadable",
            };
            span.set_attribute(KeyValue::new("error.type", kind));
            // A conflict is an answer.
            if !matches!(error, StoreError::Conflict) {
                span.set_status(Status::error(""));
            }
        }
        span.end_with_timestamp(started_at + started.elapsed());
        answer
    }
}

/// Each method is the store's own, with a span called as the method is.
macro_rules! traced {
    ($($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Store for TracedStore {
            $(
                async fn $method(&self, $($argument: $type),*) -> Result<$answer, StoreError> {
                    self.traced(concat!("store.", stringify!($method)), self.store.$method($($argument),*)).await
                }
            )*

            fn queue_depth(&self) -> usize {
                self.store.queue_depth()
            }
        }
    };
}

traced! {
    load() -> ();
    create_key(key: ApiKey, replay: Replay, entry: NewEntry) -> Created;
    find_key(client_id: &ClientId) -> Option<ApiKey>;
    list_keys(selection: Selection, limit: usize) -> Vec<ApiKey>;
    update_key(client_id: &ClientId, patch: ApiKeyPatch, entry: NewEntry) -> Option<ApiKey>;
    delete_key(client_id: &ClientId, entry: NewEntry) -> Option<KeyId>;
    rotate_secret(client_id: &ClientId, rotation: Rotation, entry: NewEntry) -> Rotated;
    retire_secret(client_id: &ClientId, secret_id: SecretId, entry: NewEntry) -> Option<ApiKey>;
    switch_key(client_id: &ClientId, switch: Switch, entry: NewEntry) -> Option<ApiKey>;
    record_last_used(uses: Vec<(SecretId, Timestamp)>) -> ();
    revoke_token(client_id: &ClientId, token: DeniedToken, max_denials: usize, entry: NewEntry) -> Revoked;
    rotate_signing_key(key: SealedSigningKey, others_published_until: Timestamp, entry: NewEntry) -> ();
    retire_signing_key(kid: &str, entry: NewEntry) -> SigningKeyRetired;
    signing_keys() -> Vec<SealedSigningKey>;
    find_sealed(name: &str) -> Option<Vec<u8>>;
    put_sealed(name: &str, sealed: Vec<u8>) -> ();
    root_keys() -> Vec<StoredRootKey>;
    secrets_by_root_key(now: Timestamp) -> BTreeMap<u32, u64>;
    rotate_root_key(rotation: RootKeyRotation, entry: NewEntry) -> ();
    retire_root_key(version: u32, now: Timestamp, reseal: Reseal, entry: NewEntry) -> RootKeyRetired;
    rehash_secrets(rehashes: Vec<Rehash>, entry: NewEntry) -> ();
    append_entry(entry: NewEntry) -> ();
    ledger_entries(after: i64, limit: usize) -> Vec<LedgerEntry>;
    ledger_head() -> LedgerHead;
    snapshot() -> File;
    purge(now: Timestamp, replays_before: Timestamp, secrets_before: Timestamp) -> ();
}
