//! `--admin-listen`: probes, and what Prometheus reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use gatekey_client::{ApiKey, Client, PlainSecret, Protocol};
use http::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::support::{Http, Response, Server, ServerProcess, connection, eventually};

const LIST: &str = "/cloudidl.identity.AppsService/List";
const DELETE: &str = "/cloudidl.identity.AppsService/Delete";
const TOKEN: &str = "/oauth2/token";

impl Server {
    async fn observed() -> Self {
        Self::with_flags(&["--admin-listen", "127.0.0.1:0"]).await
    }

    async fn probe(&self, path: &str) -> Response {
        Http::new(self.process.admin_url.as_ref().unwrap(), None).get(path, &[]).await
    }

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
            (name.to_owned(), value.parse().unwrap_or_else(|_| panic!("no number: {line}")))
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
async fn nothing_of_it_is_served_unless_it_is_asked_for_nor_ever_to_clients() {
    for flags in [&[][..], &["--admin-listen", "127.0.0.1:0"]] {
        let server = ServerProcess::start_with(flags);
        assert_eq!(server.admin_url.is_some(), !flags.is_empty());
        for path in ["/healthz", "/readyz", "/metrics"] {
            assert_eq!(server.http().get(path, &[]).await.status, 404, "{path}");
        }
    }
}

#[tokio::test]
async fn a_server_that_serves_is_healthy_and_ready() {
    let server = Server::observed().await;
    assert_eq!(server.probe("/healthz").await.text(), "ok\n");
    let ready = server.probe("/readyz").await;
    assert_eq!(ready.status, 200, "{}", ready.text());
    let expected = json!({ "ready": true, "store": true, "signing_key": true, "stopping": false });
    assert_eq!(ready.json(), expected);
    assert_eq!(server.probe("/").await.status, 404);
}

#[tokio::test]
async fn a_server_that_drains_is_healthy_and_not_ready() {
    let mut server = Server::observed().await;
    let form = "content-type: application/x-www-form-urlencoded";
    let mut stream = connection::begin(&server.process, "/oauth2/token", &[form], 50).await;
    let pid = server.process.pid().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    server.process.wait_for_log("draining connections");
    let ready = server.probe("/readyz").await;
    assert_eq!((ready.status.as_u16(), &ready.json()["stopping"]), (503, &json!(true)));
    assert_eq!(server.probe("/healthz").await.status, 200);
    stream.write_all(&[b'x'; 50]).await.unwrap();
    drop(stream);
    assert!(server.process.wait().success());
}

#[tokio::test]
async fn a_server_whose_database_is_gone_is_healthy_and_not_ready() {
    let server = Server::observed().await;
    // A reader that is open already keeps its file; so its pages are made unreadable.
    let database = server.process.data_dir.join("gatekey.db");
    fs::OpenOptions::new().write(true).truncate(true).open(&database).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(database.with_file_name("gatekey.db-wal"))
        .unwrap();
    eventually("the loss is noticed", async || server.probe("/readyz").await.status == 503).await;
    assert_eq!(server.probe("/readyz").await.json()["store"], false);
    assert_eq!(server.probe("/healthz").await.status, 200);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_outcome_over_every_protocol() {
    let server = Server::observed().await;
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
        assert!((more - expected).abs() < f64::EPSILON, "{route} {outcome}: {more} instead of {expected}");
    }
    let failed = after.iter().filter(|(name, count)| name.contains("outcome=\"failed\"") && **count > 0.0);
    assert_eq!(failed.count(), 0);
}

#[tokio::test]
async fn how_long_requests_took_is_counted_in_buckets_that_add_up() {
    let server = Server::observed().await;
    for _ in 0..20 {
        server.token(&server.admin).await;
    }
    let samples = server.samples().await;
    let counted: f64 = ["ok", "unauthenticated", "denied", "refused", "failed"]
        .map(|outcome| requests(&samples, TOKEN, outcome))
        .iter()
        .sum();
    let name =
        |part: &str, le: &str| format!("gatekey_request_duration_seconds_{part}{{route=\"{TOKEN}\"{le}}}");
    assert_counts(&samples, &name("count", ""), counted);
    assert_counts(&samples, &name("bucket", ",le=\"+Inf\""), counted);
    let ends = [
        "0.0001", "0.00025", "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.1", "0.25", "1", "10",
    ];
    let buckets = ends.map(|end| samples[&name("bucket", &format!(",le=\"{end}\""))]);
    assert!(buckets.is_sorted(), "{buckets:?}");
    let sum = samples[&name("sum", "")];
    assert!(sum > 0.0 && sum < 60.0, "{sum} s");
}

#[tokio::test]
async fn random_paths_make_no_new_labels() {
    let server = Server::observed().await;
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
        let unknown = server.http.send(method, &path, &[("content-type", "application/json")], "{}").await;
        assert!(matches!(unknown.status.as_u16(), 404 | 405 | 501), "{path}: {}", unknown.status);
    }
    let after = server.samples().await;
    let names = |samples: &BTreeMap<String, f64>| samples.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&before), names(&after));
    let more = requests(&after, "other", "refused") - requests(&before, "other", "refused");
    assert!((more - 300.0).abs() < f64::EPSILON, "{more}");
}

#[tokio::test]
async fn everything_that_is_advertised_has_a_label_of_its_own() {
    let server = Server::observed().await;
    let metadata = server.http.get("/.well-known/oauth-authorization-server", &[]).await.json();
    let advertised = metadata.as_object().unwrap().values().filter_map(Value::as_str);
    let paths: Vec<_> = advertised.filter_map(|url| url.strip_prefix(&*server.process.url)).collect();
    let before = server.samples().await;
    for path in paths.iter().filter(|path| !path.is_empty()) {
        requests(&before, path, "ok");
    }
    assert!(paths.len() > 4, "{paths:?}");
}

#[tokio::test]
async fn keys_denied_tokens_issued_tokens_and_the_queue_are_told() {
    let server = Server::observed().await;
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
async fn nothing_of_a_key_is_told() {
    let server = Server::observed().await;
    let key = server.create_key("a-very-special-name").await;
    let token = server.token(&key).await;
    server.http.get("/a-very-special-name", &[]).await;
    let text = server.probe("/metrics").await.text();
    for part in ["a-very-special-name", &key.client_secret, &token, "127.0.0.1"] {
        assert!(!text.contains(part), "{part}");
    }
}

#[test]
fn the_ready_file_says_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ready.json");
    let server =
        ServerProcess::start_with(&["--admin-listen", "127.0.0.1:0", "--ready-file", file.to_str().unwrap()]);
    // Written once the port accepts.
    let written = || fs::read(&file).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let ready = loop {
        if let Some(ready) = written() {
            break ready;
        }
        std::thread::yield_now();
    };
    assert_eq!(ready["admin_url"].as_str(), server.admin_url.as_deref());
}

#[tokio::test]
async fn plain_http_is_counted_by_the_shape_of_its_path() {
    let server = Server::observed().await;
    for client_id in ["admin", "missing"] {
        let bearer = format!("Bearer {}", server.admin_token);
        let path = format!("/oauth_app/api/v1/{client_id}");
        server.http.get(&path, &[("authorization", &bearer)]).await;
    }
    let samples = server.samples().await;
    let route = "/oauth_app/api/v1/{client_id}";
    assert_counts(&samples, &format!("gatekey_request_duration_seconds_count{{route=\"{route}\"}}"), 2.0);
    assert_eq!(requests(&samples, route, "ok").to_string(), "1");
}
