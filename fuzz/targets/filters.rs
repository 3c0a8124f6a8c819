//! List requests, in protobuf and its JSON: an accepted request is bounded.

#![no_main]

use buffa::Message as _;
use gatekey_core::api_key::list::{Condition, ListKeys, MAX_FILTERS, MAX_LIMIT};
use gatekey_proto::cloudidl::common::ListRequest;
use gatekey_server::rpc::convert::list::query;
use libfuzzer_sys::fuzz_target;

fn check(list: &ListKeys) {
    assert!(list.filters.len() <= MAX_FILTERS && (1..=MAX_LIMIT).contains(&list.page_size()));
    for filter in &list.filters {
        if let Condition::In(values) = &filter.condition {
            assert!((1..=MAX_FILTERS).contains(&values.len()));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let requests = [ListRequest::decode_from_slice(bytes).ok(), serde_json::from_slice(bytes).ok()];
    for request in requests.into_iter().flatten() {
        if let Ok(list) = query(request) {
            check(&list);
        }
    }
});
