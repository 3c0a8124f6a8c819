//! Spans of calls.

use std::sync::{Arc, Mutex};

use gatekey_core::{
    ApiKeyPatch, Store, StoreError,
    api_key::{LastAdmin, Switch, list::Selection},
    ledger::LedgerBase,
    root_key::{RootKeyRotation, StoredRootKey},
    store::{
        ApiKeyStore, LedgerStore, RootKeyStore, SigningKeyStore, StoreSpan, StoreTracer, TokenStore,
    },
};
use gatekey_store::SqliteStore;

use crate::world::{
    Mirror, NOW, SqliteFile, client_id, entry, new_call, new_key, range, root_key, rotation_at,
    signing_key, token,
};

/// Records the name of each span, and whether its call failed.
#[derive(Default)]
struct Spans(Arc<Mutex<Vec<(&'static str, bool)>>>);

struct Span(Arc<Mutex<Vec<(&'static str, bool)>>>, &'static str);

impl StoreTracer for Spans {
    fn begin(&self, name: &'static str) -> Option<Box<dyn StoreSpan>> {
        Some(Box::new(Span(self.0.clone(), name)))
    }
}

impl StoreSpan for Span {
    fn end(self: Box<Self>, error: Option<&StoreError>) {
        self.0.lock().unwrap().push((self.1, error.is_some()));
    }
}

fn open(file: &SqliteFile, spans: &Arc<Spans>) -> SqliteStore {
    file.open_sqlite(Arc::new(Mirror::default())).with_tracer(Some(spans.clone()))
}

/// Makes calls, and compares their spans with their names.
macro_rules! assert_spans {
    ($store:ident, $spans:ident, $($call:ident($($argument:expr),*);)*) => {
        $(
            $store.$call($($argument),*).await.unwrap();
            let span = $spans.0.lock().unwrap().pop();
            assert_eq!(span, Some((concat!("store.", stringify!($call)), false)));
        )*
    };
}

#[tokio::test]
async fn each_call_has_a_span_of_its_name() {
    let (file, spans) = (SqliteFile::default(), Arc::<Spans>::default());
    let store = open(&file, &spans);
    let (id, key) = (client_id("ci"), new_key("ci"));
    let (denied, secret) = (token(&key, "jti", 60), key.secrets[0].id);
    store.append_entry(entry(NOW, "first")).await.unwrap();
    let first_entry = range(LedgerBase::EMPTY, &store.ledger_entries(0, 1).await.unwrap()[0]);
    assert_spans! { store, spans,
        load();
        create_key(key, new_call("1"), entry(NOW, "ci"));
        find_key(&id);
        list_keys(Selection::default(), 9);
        update_key(&id, ApiKeyPatch::default(), LastAdmin::Keep, entry(NOW, "ci"));
        rotate_secret(&id, rotation_at(NOW, 60), entry(NOW, "ci"));
        retire_secret(&id, secret, LastAdmin::Keep, entry(NOW, "ci"));
        switch_key(&id, Switch::Disable, LastAdmin::Keep, entry(NOW, "ci"));
        record_last_used(Vec::new());
        revoke_token(&id, denied, 9, entry(NOW, "ci"));
        raise_epochs(1, entry(NOW, "all"));
        delete_key(&id, LastAdmin::Keep, entry(NOW, "ci"));
        rotate_signing_key(signing_key("kid"), None, NOW, entry(NOW, "kid"));
        retire_signing_key("kid", entry(NOW, "kid"));
        signing_keys();
        root_keys();
        secrets_by_root_key(NOW);
        retire_root_key(9, NOW, Box::new(|_, sealed| Ok(sealed.to_vec())), entry(NOW, "9"));
        rehash_secrets(Vec::new(), entry(NOW, "1"));
        reseal_rows(None, 9);
        replace_sealed("ca", None, Vec::new());
        find_sealed("ca");
        append_entry(entry(NOW, "refused"));
        ledger_entries(0, 9);
        ledger_head();
        ledger_base();
        archive_ledger(first_entry, entry(NOW, "ledger"));
        delete_archived(9);
        snapshot();
        purge(NOW, NOW, NOW);
        rotate_root_key(rotation(), entry(NOW, "2"));
    }
}

/// Takes version 2 of the root key into use.
fn rotation() -> RootKeyRotation {
    let key = StoredRootKey {
        version: 2,
        check: [2; 16],
        since: None,
        retired_at: None,
        ledger_key: None,
    };
    RootKeyRotation {
        key,
        ledger_key: root_key().ledger_keys().find(1).unwrap().clone(),
        seal_key: root_key().seal_keys().find(1).unwrap().clone(),
        sealed_ledger_keys: Vec::new(),
        reseal: Box::new(|_, sealed| Ok(sealed.to_vec())),
    }
}

#[tokio::test]
async fn a_failed_call_ends_its_span_with_error() {
    let (file, spans) = (SqliteFile::default(), Arc::<Spans>::default());
    let store = open(&file, &spans);
    for request in ["1", "2"] {
        let _ = store.create_key(new_key("ci"), new_call(request), entry(NOW, "ci")).await;
    }
    assert_eq!(*spans.0.lock().unwrap(), [("store.create_key", false), ("store.create_key", true)]);
}
