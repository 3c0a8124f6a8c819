//! The public API as plain HTTP with JSON, as its `google.api.http` annotations define.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{client_ids, json::check, outcome, refused};
use crate::support::{Response, Server};

mod keys;

const APPS: &str = "/oauth_app/api/v1";
const KEYS: &str = "/gatekey/v1/keys";

impl Server {
    /// Sends a request with a token unless it is empty, and a JSON body unless it is null.
    async fn plain_as(&self, token: &str, method: Method, path: &str, body: &Value) -> Response {
        let bearer = format!("Bearer {token}");
        let mut headers = Vec::new();
        if !token.is_empty() {
            headers.push(("authorization", &*bearer));
        }
        if body.is_null() {
            return self.http.send(method, path, &headers, "").await;
        }
        headers.push(("content-type", "application/json"));
        self.http.send(method, path, &headers, body.to_string()).await
    }

    async fn plain(&self, method: Method, path: &str, body: Value) -> Response {
        self.plain_as(&self.admin_token, method, path, &body).await
    }

    /// Sends a request with the admin's token and more headers.
    async fn plain_with(
        &self,
        headers: &[(&str, &str)],
        method: Method,
        path: &str,
        body: &str,
    ) -> Response {
        let bearer = format!("Bearer {}", self.admin_token);
        let mut all = vec![("authorization", &*bearer)];
        all.extend(headers);
        self.http.send(method, path, &all, body.to_owned()).await
    }
}

fn of(client_id: &str) -> String {
    format!("{APPS}/{client_id}")
}

#[tokio::test]
async fn a_key_can_be_managed_over_plain_http() {
    let server = Server::start().await;
    let created =
        server.plain(Method::POST, APPS, json!({ "clientId": "ci", "client_name": "CI" })).await;
    assert_eq!(created.status, StatusCode::OK, "{}", created.text());
    assert_eq!(created.header("content-type"), "application/json");
    assert_eq!(created.header("cache-control"), "no-store");
    let shown =
        json!({ "app": { "clientId": "ci", "clientName": "CI", "clientSecret": "<secret>" } });
    check(&shown, &created.json()).unwrap();

    let got = server.plain(Method::GET, &of("ci"), Value::Null).await.json();
    check(&json!({ "app": { "clientId": "ci", "clientName": "CI", "clientSecret": null } }), &got)
        .unwrap();
    assert_eq!(
        got,
        server.apps("Get", json!({ "clientId": "ci" })).await.unwrap(),
        "as the RPC returns it"
    );

    let updated = server
        .plain(Method::PUT, &of("ci"), json!({ "clientUri": "https://ci.example.com" }))
        .await;
    let shown = json!({ "app": { "clientId": "ci", "clientName": "CI", "clientUri": "https://ci.example.com" } });
    check(&shown, &updated.json()).unwrap();

    let listed = server.plain(Method::GET, APPS, Value::Null).await.json();
    assert_eq!(client_ids(&listed), ["admin", "ci"]);

    let deleted = server.plain(Method::DELETE, &of("ci"), Value::Null).await;
    assert_eq!((deleted.status, deleted.json()), (StatusCode::OK, json!({})));
    refused(
        &outcome(&server.plain(Method::GET, &of("ci"), Value::Null).await),
        "not_found",
        &["ci"],
    );
}

#[tokio::test]
async fn plain_http_needs_the_same_access() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let (token, other) = (server.token(&key).await, of("admin"));
    for (method, path, body) in [
        (Method::POST, APPS, json!({ "clientId": "made" })),
        (Method::GET, APPS, Value::Null),
        (Method::GET, &other, Value::Null),
        (Method::PUT, &other, json!({ "clientName": "mine" })),
        (Method::DELETE, &other, Value::Null),
    ] {
        let response = server.plain_as("", method.clone(), path, &body).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        assert_eq!(response.header("www-authenticate"), r#"Bearer realm="gatekey""#);
        refused(&outcome(&response), "unauthenticated", &["no credential"]);
        let response = server.plain_as(&token, method.clone(), path, &body).await;
        assert_eq!(response.status, StatusCode::FORBIDDEN, "{method} {path}");
        refused(&outcome(&response), "permission_denied", &["role admin"]);
    }
    let itself = server.plain_as(&token, Method::GET, &of("ci"), &Value::Null).await;
    assert_eq!(itself.status, StatusCode::OK, "{}", itself.text());
    assert_eq!(server.shown("admin").await["clientName"], "admin");
}

#[tokio::test]
async fn the_ledger_names_plain_http_calls_by_method() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    let before = server.ledger().await.len();
    server.plain(Method::POST, APPS, json!({ "clientId": "made" })).await;
    server.plain_as(&token, Method::DELETE, &of("made"), &Value::Null).await;
    server.plain(Method::PUT, &of("made"), json!({ "clientName": "other" })).await;
    server.plain(Method::DELETE, &of("made"), Value::Null).await;
    server.plain(Method::GET, APPS, Value::Null).await;
    let entries = server.ledger().await.split_off(before);
    let entries: Vec<_> = entries.iter().map(|entry| (&*entry.action, &*entry.target)).collect();
    assert_eq!(
        entries,
        [
            ("api_key.create", "made"),
            ("refuse", "/cloudidl.identity.AppsService/Delete"),
            ("api_key.update", "made"),
            ("api_key.delete", "made"),
        ]
    );
}

#[tokio::test]
async fn the_path_overrides_the_body_and_query() {
    let server = Server::start().await;
    server.create_key("one").await;
    server.create_key("two").await;
    for name in ["clientId", "client_id"] {
        let response =
            server.plain(Method::PUT, &of("one"), json!({ name: "two", "clientName": name })).await;
        check(&json!({ "app": { "clientId": "one", "clientName": name } }), &response.json())
            .unwrap();
        let response =
            server.plain(Method::GET, &format!("{}?{name}=two", of("one")), Value::Null).await;
        check(&json!({ "app": { "clientId": "one" } }), &response.json()).unwrap();
    }
    assert_eq!(server.shown("two").await["clientName"], "two");
}

#[tokio::test]
async fn a_list_takes_its_request_from_the_query() {
    let server = Server::start().await;
    server.create_all((0..4).map(|number| json!({ "clientId": format!("key-{number}") }))).await;
    let first =
        server.plain(Method::GET, &format!("{APPS}?request.limit=2"), Value::Null).await.json();
    assert_eq!(client_ids(&first), ["admin", "key-0"]);
    let token = first["token"].as_str().unwrap();
    let path = format!("{APPS}?request.limit=9&request.token={token}");
    let rest = server.plain(Method::GET, &path, Value::Null).await.json();
    assert_eq!(client_ids(&rest), ["key-1", "key-2", "key-3"]);
    assert_eq!(rest["token"], Value::Null);
    for direction in ["DESCENDING", "0"] {
        let path = format!(
            "{APPS}?request.sort_by.key=client_id&request.sortBy.direction={direction}&request.limit=1"
        );
        let last = server.plain(Method::GET, &path, Value::Null).await.json();
        assert_eq!(client_ids(&last), ["key-3"]);
    }
    let path = format!("{APPS}?organization=elsewhere");
    refused(
        &outcome(&server.plain(Method::GET, &path, Value::Null).await),
        "permission_denied",
        &["elsewhere"],
    );
}

#[tokio::test]
async fn an_invalid_query_names_its_parameter() {
    let server = Server::start().await;
    for (query, words) in [
        ("limit=1", &["limit", "not a field"][..]),
        ("request.limit=", &["request.limit", "number"]),
        ("request.limit=-1", &["request.limit", "number"]),
        ("request.limit=4294967296", &["request.limit", "number"]),
        ("request.limit=1&request.limit=2", &["request.limit", "twice"]),
        ("request=1", &["request", "not supported"]),
        ("request.filters=x", &["request.filters", "not supported", "RPC"]),
        ("request.filters.field=client_id", &["request.filters", "not supported"]),
        ("request.limit.more=1", &["request.limit.more", "not a field"]),
        ("request.sort_by.direction=SIDEWAYS", &["request.sort_by.direction", "enum"]),
        ("organization=%ff", &["organization", "UTF-8"]),
        ("request.raw_filters=a", &["raw_filters"]),
        ("request.token=made-up", &["token"]),
    ] {
        let response = server.plain(Method::GET, &format!("{APPS}?{query}"), Value::Null).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}: {}", response.text());
        refused(&outcome(&response), "invalid_argument", words);
    }
}

#[tokio::test]
async fn a_path_names_one_key_in_one_segment() {
    let server = Server::start().await;
    server.create_key("a.b-c_1").await;
    let shown = server.plain(Method::GET, &of("%61%2Eb-c_1"), Value::Null).await;
    check(&json!({ "app": { "clientId": "a.b-c_1" } }), &shown.json()).unwrap();
    for path in ["a%2Fb", "%ff", "%zz", "a%", "%2", "a%00b%2F"] {
        for (method, body) in
            [(Method::GET, Value::Null), (Method::PUT, json!({})), (Method::DELETE, Value::Null)]
        {
            let response = server.plain(method, &of(path), body).await;
            assert_eq!(response.status, StatusCode::BAD_REQUEST, "{path}: {}", response.text());
            refused(&outcome(&response), "invalid_argument", &["path", "client_id"]);
        }
    }
    for path in ["", "a/b", "a.b-c_1/", "/a.b-c_1"] {
        let response = server.plain(Method::GET, &of(path), Value::Null).await;
        assert_eq!(response.status, StatusCode::NOT_FOUND, "{path}: {}", response.text());
    }
}

#[tokio::test]
async fn a_body_is_one_json_object_or_empty() {
    let server = Server::start().await;
    server.create_key("ci").await;
    let (ci, json_type) = (of("ci"), [("content-type", "application/json")]);
    for body in ["[]", "null", "1", "{", "{\"clientName\":", "{}{}", "\u{0}"] {
        let response = server.plain_with(&json_type, Method::PUT, &ci, body).await;
        refused(&outcome(&response), "invalid_argument", &["body"]);
        let response = server.plain_with(&json_type, Method::POST, APPS, body).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{body}: {}", response.text());
    }
    for method in [Method::GET, Method::DELETE] {
        let response = server.plain_with(&json_type, method, &ci, r#"{"clientId":"admin"}"#).await;
        refused(&outcome(&response), "invalid_argument", &["body", "empty"]);
    }
    let response = server.plain_with(&[], Method::PUT, &format!("{ci}?organization=x"), "").await;
    refused(&outcome(&response), "invalid_argument", &["query", "body"]);
    for headers in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/grpc")],
        &[("content-type", "application/json"), ("content-type", "text/plain")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
    ] {
        let response = server.plain_with(headers, Method::PUT, &ci, "{}").await;
        assert_eq!(
            response.status,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "{headers:?}: {}",
            response.text()
        );
        assert_eq!(response.header("content-type"), "application/json");
        refused(&outcome(&response), "invalid_argument", &["content-"]);
    }
    let large = format!(r#"{{"clientName":"{}"}}"#, "x".repeat(1 << 20));
    for (method, path) in [(Method::PUT, &*ci), (Method::POST, APPS)] {
        let response = server.plain_with(&json_type, method, path, &large).await;
        refused(&outcome(&response), "resource_exhausted", &[]);
    }
    // An empty body renames nothing, and headers of other protocols are ignored.
    let deaf =
        [("content-type", "application/json; charset=utf-8"), ("connect-protocol-version", "7")];
    for headers in [&deaf[..], &[]] {
        let response = server.plain_with(headers, Method::PUT, &ci, "").await;
        check(&json!({ "app": { "clientId": "ci", "clientName": "ci" } }), &response.json())
            .unwrap();
    }
}

#[tokio::test]
async fn an_unsupported_method_lists_the_allowed_ones() {
    let server = Server::start().await;
    let one = of("admin");
    for (method, path, allowed) in [
        (Method::PUT, APPS, "GET, HEAD, POST"),
        (Method::DELETE, APPS, "GET, HEAD, POST"),
        (Method::PATCH, &one, "DELETE, GET, HEAD, PUT"),
        (Method::POST, &one, "DELETE, GET, HEAD, PUT"),
    ] {
        let response = server.plain(method, path, Value::Null).await;
        assert_eq!(response.status, StatusCode::METHOD_NOT_ALLOWED, "{}", response.text());
        assert_eq!(response.header("allow"), allowed);
        refused(&outcome(&response), "unimplemented", &[allowed]);
    }
    let response = server.plain(Method::HEAD, &one, Value::Null).await;
    assert_eq!((response.status, response.text()), (StatusCode::OK, String::new()));
}

/// The repeated call gets an additional secret.
#[tokio::test]
async fn a_create_may_be_repeated_over_another_protocol() {
    let server = Server::start().await;
    let id = [("x-request-id", "retry-1"), ("content-type", "application/json")];
    let body = r#"{"clientId":"ci","clientName":"ci"}"#;
    let first = server.plain_with(&id, Method::POST, APPS, body).await.json();
    let second = server.plain_with(&id, Method::POST, APPS, body).await.json();
    let third =
        server.apps_with(&id[..1], "Create", serde_json::from_str(body).unwrap()).await.unwrap();
    let secrets =
        [&first, &second, &third].map(|made| made["app"]["clientSecret"].as_str().unwrap());
    assert!(secrets[0] != secrets[1] && secrets[1] != secrets[2], "each call gets its own secret");
    refused(
        &outcome(&server.plain(Method::POST, APPS, json!({ "clientId": "ci" })).await),
        "already_exists",
        &["ci"],
    );
}
