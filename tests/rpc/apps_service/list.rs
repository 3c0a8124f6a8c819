//! `AppsService.List`.

use std::{collections::BTreeSet, time::Duration};

use connectrpc::compression::CompressionRegistry;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::Method;
use serde_json::{Value, json};

use crate::{
    rpc::{client_ids, refused},
    support::{Server, in_future},
};

impl Server {
    /// Creates keys concurrently.
    pub(in crate::rpc) async fn create_all(&self, requests: impl IntoIterator<Item = Value>) {
        let calls = stream::iter(requests).map(|request| self.apps("Create", request));
        calls.buffer_unordered(64).try_for_each(async |_| Ok(())).await.unwrap();
    }

    async fn list(&self, request: Value) -> Value {
        self.apps("List", json!({ "request": request })).await.unwrap()
    }

    /// Every page of a list, by client ids.
    async fn pages(&self, mut request: Value) -> Vec<Vec<String>> {
        let mut pages = Vec::new();
        loop {
            let page = self.list(request.clone()).await;
            pages.push(client_ids(&page).into_iter().map(str::to_owned).collect());
            match page["token"].as_str() {
                Some(token) => request["token"] = json!(token),
                None => return pages,
            }
        }
    }
}

fn token(page: &Value) -> &str {
    page["token"].as_str().expect("there is another page")
}

fn filter(function: &str, field: &str, values: &[&str]) -> Value {
    json!({ "function": function, "field": field, "values": values })
}

fn sort(key: &str, direction: &str) -> Value {
    json!({ "key": key, "direction": direction })
}

/// A page has a hundred keys by default.
#[tokio::test]
async fn a_page_has_at_most_a_thousand_keys() {
    const KEYS: usize = 1101;
    let server = Server::start().await;
    server
        .create_all((0..KEYS).map(|number| json!({ "clientId": format!("bulk-{number:04}") })))
        .await;
    let filters = json!([filter("CONTAINS", "client_id", &["bulk-"])]);
    for (limit, served) in
        [(0, 100), (1, 1), (20, 20), (100, 100), (1000, 1000), (1001, 1000), (5000, 1000)]
    {
        let page = server.list(json!({ "limit": limit, "filters": filters })).await;
        assert_eq!(client_ids(&page).len(), served, "limit {limit}");
        assert!(page["token"].is_string(), "limit {limit}");
        let page = server.keys("List", json!({ "pageSize": limit })).await.unwrap();
        assert_eq!(client_ids(&page).len(), served, "page size {limit}");
        assert!(page["nextPageToken"].is_string(), "page size {limit}");
    }
    let whole: Vec<_> = (0..KEYS).map(|number| format!("bulk-{number:04}")).collect();
    for limit in [0, 367, u32::MAX] {
        let pages = server.pages(json!({ "limit": limit, "filters": filters })).await;
        assert_eq!(pages.concat(), whole, "limit {limit}");
    }
    let mut listed = Vec::new();
    let mut request = json!({ "pageSize": 1000 });
    loop {
        let page = server.keys("List", request.clone()).await.unwrap();
        listed.extend(client_ids(&page).into_iter().map(str::to_owned));
        let Some(token) = page["nextPageToken"].as_str() else { break };
        request["pageToken"] = json!(token);
    }
    assert_eq!(listed[1..], whole, "except the admin");
}

#[tokio::test]
async fn a_long_response_is_compressed_if_accepted() {
    let server = Server::start().await;
    server.create_all((0..30).map(|number| json!({ "clientId": format!("key-{number}") }))).await;
    let bearer = format!("Bearer {}", server.admin_token);
    let path = "/cloudidl.identity.AppsService/List";
    for (accepted, packed) in [("gzip, identity", "gzip"), ("identity", ""), ("br", "")] {
        let headers = [
            ("content-type", "application/json"),
            ("authorization", &*bearer),
            ("accept-encoding", accepted),
        ];
        let response = server.http.send(Method::POST, path, &headers, "{}").await;
        assert_eq!(response.header("content-encoding"), packed, "{accepted}");
        let body = match packed {
            "" => response.body,
            encoding => CompressionRegistry::default()
                .decompress_with_limit(encoding, response.body, 1 << 20)
                .unwrap(),
        };
        let listed: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(client_ids(&listed).len(), 31, "{accepted}");
    }
}

#[tokio::test]
async fn a_full_last_page_has_no_token() {
    let server = Server::start().await;
    server.create_all((0..4).map(|number| json!({ "clientId": format!("key-{number}") }))).await;
    for limit in [5, 6] {
        let page = server.list(json!({ "limit": limit })).await;
        assert_eq!(client_ids(&page).len(), 5);
        assert_eq!(page["token"], Value::Null);
    }
    let page = server.list(json!({ "limit": 4 })).await;
    let last = server.list(json!({ "limit": 4, "token": token(&page) })).await;
    assert_eq!(client_ids(&last), ["key-3"]);
    assert_eq!(last["token"], Value::Null);
}

#[tokio::test]
async fn no_match_is_an_empty_page() {
    let server = Server::start().await;
    let page = server.list(json!({ "filters": [filter("EQUAL", "client_id", &["nobody"])] })).await;
    assert_eq!(client_ids(&page), [""; 0]);
    assert_eq!(page["token"], Value::Null);
}

/// Without a requested order, it is sorted by client id.
#[tokio::test]
async fn a_list_is_sorted_as_requested() {
    let server = Server::start().await;
    // One after the other, so that their times differ.
    for (id, name) in [("b", "Same"), ("C", "Alpha"), ("a", "Same"), ("d", "beta")] {
        server.apps("Create", json!({ "clientId": id, "clientName": name })).await.unwrap();
    }
    for (request, expected) in [
        (json!({}), ["C", "a", "admin", "b", "d"]),
        (
            json!({ "sortByFields": [sort("client_id", "ASCENDING")] }),
            ["C", "a", "admin", "b", "d"],
        ),
        (
            json!({ "sortByFields": [sort("client_id", "DESCENDING")] }),
            ["d", "b", "admin", "a", "C"],
        ),
        (
            json!({ "sortByFields": [sort("client_name", "ASCENDING")] }),
            ["C", "a", "b", "admin", "d"],
        ),
        (
            json!({ "sortByFields": [sort("client_name", "DESCENDING")] }),
            ["d", "admin", "b", "a", "C"],
        ),
        (
            json!({ "sortByFields": [sort("client_id_issued_at", "ASCENDING")] }),
            ["admin", "b", "C", "a", "d"],
        ),
        (
            json!({ "sortByFields": [sort("client_id_issued_at", "DESCENDING")] }),
            ["d", "a", "C", "b", "admin"],
        ),
        // The enum's zero value, and the field that older clients use.
        (json!({ "sortByFields": [{ "key": "client_id" }] }), ["d", "b", "admin", "a", "C"]),
        (json!({ "sortBy": sort("client_name", "ASCENDING") }), ["C", "a", "b", "admin", "d"]),
    ] {
        assert_eq!(client_ids(&server.list(request.clone()).await), expected, "{request}");
        let mut paged = request.clone();
        paged["limit"] = json!(2);
        assert_eq!(server.pages(paged).await.concat(), expected, "{request} by two");
    }
}

#[tokio::test]
async fn filters_compare_client_id_and_client_name() {
    let server = Server::start().await;
    for (id, name) in
        [("ci", "CI"), ("ci-nightly", "CI nightly"), ("100_", "100%"), ("Deploy", "deploy ci")]
    {
        server.apps("Create", json!({ "clientId": id, "clientName": name })).await.unwrap();
    }
    for (filters, expected) in [
        (json!([filter("EQUAL", "client_id", &["ci"])]), &["ci"][..]),
        (json!([filter("EQUAL", "client_id", &["CI"])]), &[]),
        (json!([filter("EQUAL", "client_name", &["CI"])]), &["ci"]),
        (json!([filter("VALUE_IN", "client_id", &["ci", "100_", "nobody"])]), &["100_", "ci"]),
        (json!([filter("VALUE_IN", "client_name", &["CI nightly"])]), &["ci-nightly"]),
        (json!([filter("CONTAINS", "client_id", &["ci"])]), &["ci", "ci-nightly"]),
        (json!([filter("CONTAINS", "client_name", &["ci"])]), &["Deploy"]),
        (json!([filter("CONTAINS", "client_name", &["%"])]), &["100_"]),
        (json!([filter("CONTAINS", "client_id", &["_"])]), &["100_"]),
        (json!([filter("CONTAINS", "client_id", &["' OR 1=1 --"])]), &[]),
        (
            json!([
                filter("CONTAINS", "client_id", &["ci"]),
                filter("CONTAINS", "client_name", &["night"])
            ]),
            &["ci-nightly"],
        ),
        // The enum's zero value is EQUAL.
        (json!([{ "field": "client_id", "values": ["ci"] }]), &["ci"]),
    ] {
        let page = server.list(json!({ "filters": filters })).await;
        assert_eq!(client_ids(&page), expected, "{filters}");
    }
}

#[tokio::test]
async fn filters_compare_role_and_dates() {
    let server = Server::start().await;
    let day = |days: u64| in_future(Duration::from_hours(24 * days));
    for made in [
        json!({ "clientId": "a", "role": "ROLE_VIEWER", "expiresAt": day(1) }),
        json!({ "clientId": "b", "role": "ROLE_VIEWER", "expiresAt": day(3) }),
        json!({ "clientId": "c", "withoutRole": true }),
    ] {
        server.create_key_from(made).await;
    }
    server.keys("Disable", json!({ "clientId": "b" })).await.unwrap();
    let shown = server.shown("c").await;
    let (created, exact) =
        (shown["createdAt"].as_str().unwrap(), shown["updatedAt"].as_str().unwrap());
    for (filters, expected) in [
        (json!([filter("EQUAL", "role", &["viewer"])]), &["a", "b"][..]),
        (json!([filter("NOT_EQUAL", "role", &["viewer"])]), &["admin", "c"]),
        (json!([filter("VALUE_IN", "role", &["viewer", "admin"])]), &["a", "admin", "b"]),
        (json!([filter("NOT_EXISTS", "role", &[])]), &["c"]),
        (json!([filter("EXISTS", "expires_at", &[])]), &["a", "b"]),
        (json!([filter("LESS_THAN", "expires_at", &[&day(2)])]), &["a"]),
        (json!([filter("GREATER_THAN_OR_EQUAL", "expires_at", &[&day(2)])]), &["b"]),
        (json!([filter("EXISTS", "disabled_at", &[])]), &["b"]),
        (
            json!([filter("NOT_EXISTS", "disabled_at", &[]), filter("EXISTS", "expires_at", &[])]),
            &["a"],
        ),
        (json!([filter("EQUAL", "client_id_issued_at", &[created])]), &["c"]),
        (json!([filter("LESS_THAN", "client_id_issued_at", &[created])]), &["a", "admin", "b"]),
        (json!([filter("GREATER_THAN", "updated_at", &[exact])]), &["b"]),
        (json!([filter("GREATER_THAN", "client_id", &["b"])]), &["c"]),
        (json!([filter("ENDS_WITH", "client_name", &["min"])]), &["admin"]),
        (json!([filter("NOT_ENDS_WITH", "client_id", &["min"])]), &["a", "b", "c"]),
        (json!([filter("CONTAINS_CASE_INSENSITIVE", "client_name", &["DMI"])]), &["admin"]),
    ] {
        let page = server.list(json!({ "filters": filters })).await;
        assert_eq!(client_ids(&page), expected, "{filters}");
        let pages = server.pages(json!({ "filters": filters, "limit": 1 })).await;
        assert_eq!(pages.concat(), expected, "{filters} one by one");
    }
}

#[tokio::test]
async fn an_unsupported_filter_or_order_is_named() {
    let server = Server::start().await;
    for (field, functions) in [
        (
            "role",
            &[
                "GREATER_THAN",
                "GREATER_THAN_OR_EQUAL",
                "LESS_THAN",
                "LESS_THAN_OR_EQUAL",
                "CONTAINS",
                "CONTAINS_CASE_INSENSITIVE",
                "ENDS_WITH",
                "NOT_ENDS_WITH",
            ][..],
        ),
        ("expires_at", &["CONTAINS", "CONTAINS_CASE_INSENSITIVE", "ENDS_WITH", "NOT_ENDS_WITH"]),
    ] {
        for function in functions {
            let filters = json!([filter(function, field, &["admin"])]);
            let outcome = server.apps("List", json!({ "request": { "filters": filters } })).await;
            refused(&outcome, "invalid_argument", &["filters.function", function, field, "EQUAL"]);
        }
    }
    let id = || filter("EQUAL", "client_id", &["ci"]);
    let many = vec!["ci"; 101];
    for (request, words) in [
        (json!({ "rawFilters": ["client_id == 'ci'"] }), &["raw_filters"][..]),
        (
            json!({ "filters": [filter("EQUAL", "secret", &["admin"])] }),
            &["filters.field", "client_id"],
        ),
        (
            json!({ "filters": [filter("EQUAL", "role", &["ADMIN"])] }),
            &["filters.values", "role", "admin"],
        ),
        (
            json!({ "filters": [filter("LESS_THAN", "expires_at", &["tomorrow"])] }),
            &["filters.values", "LESS_THAN on expires_at", "RFC 3339"],
        ),
        (json!({ "filters": [filter("EXISTS", "role", &["admin"])] }), &["filters.values", "none"]),
        (json!({ "filters": [filter("EQUAL", "", &["admin"])] }), &["filters.field"]),
        (json!({ "filters": [filter("EQUAL", "client_id", &[])] }), &["filters.values"]),
        (
            json!({ "filters": [filter("EQUAL", "client_id", &["a", "b"])] }),
            &["filters.values", "one"],
        ),
        (
            json!({ "filters": [filter("CONTAINS", "client_id", &["a", "b"])] }),
            &["filters.values", "one"],
        ),
        (
            json!({ "filters": [filter("VALUE_IN", "client_id", &many)] }),
            &["filters.values", "100"],
        ),
        (json!({ "filters": vec![id(); 101] }), &["filters", "100"]),
        (
            json!({ "filters": [{ "function": 99, "field": "client_id", "values": ["a"] }] }),
            &["99"],
        ),
        (json!({ "filters": [filter("NOT_EQUAL", "role", &[])] }), &["filters.values", "one"]),
        (json!({ "sortByFields": [sort("role", "ASCENDING")] }), &["sort_by_fields.key"]),
        (json!({ "sortByFields": [{ "key": "client_id", "direction": 7 }] }), &["direction", "7"]),
        (
            json!({ "sortByFields": [sort("client_id", "ASCENDING"), sort("client_name", "ASCENDING")] }),
            &["sort_by_fields", "one"],
        ),
        (
            json!({ "sortBy": sort("client_id", "ASCENDING"), "sortByFields": [{ "key": "client_id" }] }),
            &["sort_by_fields", "one"],
        ),
    ] {
        let outcome = server.apps("List", json!({ "request": request })).await;
        refused(&outcome, "invalid_argument", words);
    }
}

#[tokio::test]
async fn a_page_token_is_bound_to_its_list() {
    let server = Server::start().await;
    server.create_all((0..4).map(|number| json!({ "clientId": format!("key-{number}") }))).await;
    let own = json!({
        "limit": 2,
        "filters": [filter("CONTAINS", "client_id", &["key"])],
        "sortByFields": [sort("client_name", "ASCENDING")],
    });
    let page = server.list(own.clone()).await;
    let token = token(&page).to_owned();
    for (field, value) in [
        ("filters", json!([])),
        ("filters", json!([filter("CONTAINS", "client_id", &["ke"])])),
        ("filters", json!([filter("CONTAINS", "client_name", &["key"])])),
        ("filters", json!([filter("EQUAL", "client_id", &["key"])])),
        ("sortByFields", json!([])),
        ("sortByFields", json!([sort("client_name", "DESCENDING")])),
        ("sortByFields", json!([sort("client_id", "ASCENDING")])),
    ] {
        let mut other = own.clone();
        other[field] = value;
        other["token"] = json!(token);
        let outcome = server.apps("List", json!({ "request": other })).await;
        refused(&outcome, "invalid_argument", &["token", "other filters or another order"]);
    }
    // Another limit does not make it another list.
    let mut longer = own.clone();
    longer["limit"] = json!(100);
    longer["token"] = json!(token);
    assert_eq!(client_ids(&server.list(longer).await), ["key-2", "key-3"]);
    // Another server does not accept it.
    let stranger = Server::start().await;
    let mut foreign = own;
    foreign["token"] = json!(token);
    let outcome = stranger.apps("List", json!({ "request": foreign })).await;
    refused(&outcome, "invalid_argument", &["token"]);
}

#[tokio::test]
async fn a_tampered_page_token_is_refused() {
    let server = Server::start().await;
    server.create_all((0..3).map(|number| json!({ "clientId": format!("key-{number}") }))).await;
    let page = server.list(json!({ "limit": 1 })).await;
    let token = token(&page);
    let changed = (0..token.len()).step_by(3).map(|at| {
        let mut bytes = token.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    });
    let made_up = ["next", "AAAA", "\u{0}", "%", "=", "e30"].map(str::to_owned);
    let cut = [token[..token.len() - 1].to_owned(), token[1..].to_owned(), format!("{token}A")];
    for token in changed.chain(made_up).chain(cut).chain([format!("{token}="), "A".repeat(10_000)])
    {
        let outcome =
            server.apps("List", json!({ "request": { "limit": 1, "token": token } })).await;
        refused(&outcome, "invalid_argument", &["token"]);
        let outcome = server.keys("List", json!({ "pageSize": 1, "pageToken": token })).await;
        refused(&outcome, "invalid_argument", &["token"]);
    }
}

/// In every order: keys that exist from the first page to the last appear exactly once, whatever is
/// created and deleted in between.
#[tokio::test]
async fn pages_stay_consistent_during_changes() {
    let server = Server::start().await;
    for field in ["client_id", "client_name", "client_id_issued_at"] {
        for direction in ["ASCENDING", "DESCENDING"] {
            let round = format!("{}-{}", field.replace('_', "-"), direction.to_lowercase());
            let id = |part: &str| format!("{round}.{part}");
            // Several keys share a name, so that client ids must break ties.
            let named = |id: &str, name: &str| json!({ "clientId": id, "clientName": format!("{round} {name}") });
            server
                .create_all((0..30).map(|number| {
                    named(&id(&format!("m{number:02}")), &format!("m{}", number % 4))
                }))
                .await;
            let mut request = json!({
                "limit": 7,
                "filters": [filter("CONTAINS", "client_id", &[&format!("{round}.")])],
                "sortByFields": [sort(field, direction)],
            });
            let mut lasting: BTreeSet<String> =
                (0..30).map(|number| id(&format!("m{number:02}"))).collect();
            let mut seen: Vec<String> = Vec::new();
            for page_number in 0.. {
                let page = server.list(request.clone()).await;
                let ids = client_ids(&page);
                seen.extend(ids.iter().map(|id| (*id).to_owned()));
                let Some(token) = page["token"].as_str() else { break };
                request["token"] = json!(token);
                // The next page begins after the last key of this page: delete that key every other
                // time. Keys are created before and after it in every order.
                let gone = if page_number % 2 == 0 { &ids[ids.len() - 1..] } else { &ids[..1] };
                for gone in gone {
                    server.apps("Delete", json!({ "clientId": gone })).await.unwrap();
                    lasting.remove(*gone);
                }
                for part in ["a", "m15", "z"] {
                    server.create_all([named(&id(&format!("{part}-{page_number}")), part)]).await;
                }
            }
            let distinct: BTreeSet<_> = seen.iter().cloned().collect();
            assert_eq!(distinct.len(), seen.len(), "{round}: duplicates in {seen:?}");
            let missing: Vec<_> = lasting.difference(&distinct).collect();
            assert!(missing.is_empty(), "{round}: {missing:?} not in {seen:?}");
        }
    }
}
