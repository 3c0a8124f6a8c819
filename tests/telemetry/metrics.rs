//! Prometheus metrics.

use std::collections::{BTreeMap, BTreeSet};

use gatekey_client::{ApiKey, Client, PlainSecret, Protocol};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Server, eventually};

const LIST: &str = "/cloudidl.identity.AppsService/List";
const DELETE: &str = "/cloudidl.identity.AppsService/Delete";
const TOKEN: &str = "/oauth2/token";

impl Server {
    /// Every sample by its name with labels.
    async fn samples(&self) -> BTreeMap<String, f64> {
        let response = self.probe("/metrics").await;
        assert_eq!(response.status, 200);
        assert!(
            response.header("content-type").starts_with("text/plain; version=0.0.4"),
            "{:?}",
            response.headers
        );
        let text = response.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("not a number: {line}")))
        });
        samples.collect()
    }
}

fn requests(samples: &BTreeMap<String, f64>, route: &str, outcome: &str) -> f64 {
    let name = format!("gatekey_requests_total{{route=\"{route}\",outcome=\"{outcome}\"}}");
    *samples.get(&name).unwrap_or_else(|| panic!("no {name}"))
}

fn assert_counts(samples: &BTreeMap<String, f64>, name: &str, expected: f64) {
    assert_eq!(samples.get(name), Some(&expected), "{name}");
}

#[tokio::test]
async fn calls_are_counted_by_status() {
    let server = Server::with_admin_listener().await;
    let calls = async |route: &str, status: &str| {
        let name = format!("gatekey_calls_total{{route=\"{route}\",grpc_status=\"{status}\"}}");
        server.samples().await.get(&name).copied()
    };
    assert_eq!(calls(DELETE, "NOT_FOUND").await, None, "a status that never occurred");
    let body = json!({ "clientId": "absent" });
    for token in [&*server.admin_token, &*server.admin_token, ""] {
        server.http.connect_json(DELETE, token, &body).await;
    }
    assert_eq!(calls(DELETE, "NOT_FOUND").await, Some(2.0));
    assert_eq!(calls(DELETE, "UNAUTHENTICATED").await, Some(1.0));
    assert_eq!(calls(DELETE, "OK").await, None);
}

/// Covers every protocol.
#[tokio::test]
async fn requests_are_counted_by_route_and_outcome() {
    let server = Server::with_admin_listener().await;
    let key = server.create_key("ci").await;
    let before = server.samples().await;
    for protocol in [Protocol::Connect, Protocol::Grpc, Protocol::GrpcWeb] {
        let client = Client::builder()
            .endpoint(&server.process.url)
            .ca_file(server.process.ca_file())
            .credentials("ci", PlainSecret::new(&key.client_secret))
            .protocol(protocol)
            .build()
            .unwrap();
        for refused in [ApiKey::get(&client, "admin").await, ApiKey::create(&client, "x").await] {
            let refused = refused.unwrap_err();
            assert!(refused.is_permission_denied(), "{refused}");
        }
        ApiKey::get(&client, "ci").await.unwrap();
    }
    server.http.connect_json(LIST, "", &json!({})).await;
    server.http.connect_json(DELETE, &server.admin_token, &json!({ "clientId": "nope" })).await;
    let wrong = crate::support::basic("ci", "wrong");
    server.http.form(TOKEN, &[("authorization", &wrong)], "grant_type=client_credentials").await;
    server.http.form(TOKEN, &[("authorization", &key.basic())], "grant_type=x").await;
    let after = server.samples().await;
    for (route, outcome, expected) in [
        ("/cloudidl.identity.AppsService/Get", "denied", 3.0),
        ("/cloudidl.identity.AppsService/Create", "denied", 3.0),
        ("/cloudidl.identity.AppsService/Get", "ok", 3.0),
        (LIST, "unauthenticated", 1.0),
        (DELETE, "refused", 1.0),
        (TOKEN, "ok", 3.0),
        (TOKEN, "unauthenticated", 1.0),
        (TOKEN, "refused", 1.0),
    ] {
        let more = requests(&after, route, outcome) - requests(&before, route, outcome);
        assert!(
            (more - expected).abs() < f64::EPSILON,
            "{route} {outcome}: {more} instead of {expected}"
        );
    }
    let failed =
        after.iter().filter(|(name, count)| name.contains("outcome=\"failed\"") && **count > 0.0);
    assert_eq!(failed.count(), 0);
}

#[tokio::test]
async fn duration_buckets_add_up() {
    let server = Server::with_admin_listener().await;
    for _ in 0..20 {
        server.token(&server.admin).await;
    }
    let samples = server.samples().await;
    let counted: f64 = ["ok", "unauthenticated", "denied", "refused", "failed"]
        .map(|outcome| requests(&samples, TOKEN, outcome))
        .iter()
        .sum();
    let name = |part: &str, le: &str| {
        format!("gatekey_request_duration_seconds_{part}{{route=\"{TOKEN}\"{le}}}")
    };
    assert_counts(&samples, &name("count", ""), counted);
    assert_counts(&samples, &name("bucket", ",le=\"+Inf\""), counted);
    let ends = [
        "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.1", "0.25",
        "1", "10",
    ];
    let buckets = ends.map(|end| samples[&name("bucket", &format!(",le=\"{end}\""))]);
    assert!(buckets.is_sorted(), "{buckets:?}");
    let sum = samples[&name("sum", "")];
    assert!(sum > 0.0 && sum < 60.0, "{sum} s");
}

#[tokio::test]
async fn unknown_paths_create_no_labels() {
    let server = Server::with_admin_listener().await;
    let before = server.samples().await;
    for number in 0..300 {
        let path = match number % 4 {
            0 => format!("/{number}"),
            1 => format!("/cloudidl.identity.AppsService/Method{number}"),
            2 => format!("/oauth2/token/{number}?x=\"{number}\""),
            _ => format!("/{}%22%0a{number}", "x".repeat(300)),
        };
        let path = path.replace('"', "%22");
        let method = if number % 2 == 0 { Method::GET } else { Method::POST };
        let unknown =
            server.http.send(method, &path, &[("content-type", "application/json")], "{}").await;
        assert!(matches!(unknown.status.as_u16(), 404 | 405 | 501), "{path}: {}", unknown.status);
    }
    let after = server.samples().await;
    let names = |samples: &BTreeMap<String, f64>| samples.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&before), names(&after));
    let more = requests(&after, "other", "refused") - requests(&before, "other", "refused");
    assert!((more - 300.0).abs() < f64::EPSILON, "{more}");
}

#[tokio::test]
async fn every_advertised_url_has_its_own_label() {
    let server = Server::with_admin_listener().await;
    let metadata = server.http.get("/.well-known/oauth-authorization-server", &[]).await.json();
    let advertised = metadata.as_object().unwrap().values().filter_map(Value::as_str);
    let paths: Vec<_> =
        advertised.filter_map(|url| url.strip_prefix(&*server.process.url)).collect();
    let before = server.samples().await;
    for path in paths.iter().filter(|path| !path.is_empty()) {
        requests(&before, path, "ok");
    }
    assert!(paths.len() > 4, "{paths:?}");
}

#[tokio::test]
async fn keys_tokens_and_the_queue_are_counted() {
    let server = Server::with_admin_listener().await;
    let issued = server.samples().await["gatekey_tokens_issued_total"];
    let lasting = server.create_key("lasting").await;
    server.create_key("off").await;
    server.admin_call("Disable", json!({ "clientId": "off" })).await;
    for name in ["brief", "gone"] {
        let soon = crate::support::in_future(std::time::Duration::from_millis(1500));
        server.create_key_with(name, json!({ "expiresAt": soon })).await;
    }
    server.admin_call("Delete", json!({ "clientId": "gone" })).await;
    let token = server.token(&lasting).await;
    let headers = [("authorization", &*lasting.basic())];
    server.http.form("/oauth2/revoke", &headers, &format!("token={token}")).await;
    let expired = "gatekey_keys{state=\"expired\"}";
    eventually("a key expires", async || server.samples().await[expired] > 0.5).await;
    let samples = server.samples().await;
    assert_counts(&samples, expired, 1.0);
    assert_counts(&samples, "gatekey_keys{state=\"enabled\"}", 2.0);
    assert_counts(&samples, "gatekey_keys{state=\"disabled\"}", 1.0);
    assert_counts(&samples, "gatekey_denied_tokens", 1.0);
    assert_counts(&samples, "gatekey_tokens_issued_total", issued + 1.0);
    assert_counts(&samples, "gatekey_store_queue_depth", 0.0);
    server.admin_call("Enable", json!({ "clientId": "off" })).await;
    server.admin_call("Delete", json!({ "clientId": "lasting" })).await;
    let samples = server.samples().await;
    assert_counts(&samples, "gatekey_keys{state=\"enabled\"}", 2.0);
    assert_counts(&samples, "gatekey_keys{state=\"disabled\"}", 0.0);
    assert_counts(&samples, "gatekey_denied_tokens", 0.0);
}

#[tokio::test]
async fn metrics_reveal_nothing_about_a_key() {
    let server = Server::with_admin_listener().await;
    let key = server.create_key("a-very-special-name").await;
    let token = server.token(&key).await;
    server.http.get("/a-very-special-name", &[]).await;
    let text = server.probe("/metrics").await.text();
    for part in ["a-very-special-name", &key.client_secret, &token, "127.0.0.1"] {
        assert!(!text.contains(part), "{part}");
    }
}

#[tokio::test]
async fn plain_http_is_counted_by_path_template() {
    let server = Server::with_admin_listener().await;
    for client_id in ["admin", "missing"] {
        let bearer = format!("Bearer {}", server.admin_token);
        let path = format!("/oauth_app/api/v1/{client_id}");
        server.http.get(&path, &[("authorization", &bearer)]).await;
    }
    let samples = server.samples().await;
    let route = "/oauth_app/api/v1/{client_id}";
    assert_counts(
        &samples,
        &format!("gatekey_request_duration_seconds_count{{route=\"{route}\"}}"),
        2.0,
    );
    assert_eq!(requests(&samples, route, "ok").to_string(), "1");
}
