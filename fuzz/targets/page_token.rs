//! Page tokens: only a token that the server issued is accepted.

#![no_main]

use std::sync::LazyLock;

use gatekey_core::{RootKey, api_key::list::ListKeys};
use libfuzzer_sys::fuzz_target;

static ROOT_KEY: LazyLock<RootKey> = LazyLock::new(|| RootKey::new(&[7; 32]));

fuzz_target!(|text: &str| {
    let list = ListKeys { page_token: text.to_owned(), ..ListKeys::default() };
    assert_eq!(list.selection(&ROOT_KEY).is_ok(), text.is_empty(), "{text}");
});
