//! What the gate counts, and that no client can add to the labels.

use std::collections::BTreeMap;

use http::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{
    ADMIN, Gated, READ, WRITE,
    call::Caller,
    ext_authz::{check, post},
    forward_auth::{bearer_of, family},
};
use crate::support::{
    Http, Server,
    collector::Collector,
    connection, eventually,
    upstream::{DO, Upstream},
};

/// A server in front of an upstream that proxies may ask as well, with metrics.
async fn start(further: &str) -> Gated {
    let toml = format!(
        "[server]\nadmin_listen = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n{further}\n\
         [gate.rules]\n\"/ws\" = \"read\"\n[gate]\nforward_auth = true\n"
    );
    let upstream = Upstream::start().await;
    let toml = format!("{toml}upstream = \"{}\"\naudience = \"flyte\"\n", upstream.url);
    Gated { server: Server::with_config(&toml).await, upstream }
}

/// Every count of the gate and of caches by its name with labels, without the upstream's address.
async fn samples(gated: &Gated) -> BTreeMap<String, u64> {
    let admin = Http::new(gated.server.process.admin_url.as_ref().unwrap(), None);
    let text = admin.get("/metrics", &[]).await.text();
    let address = gated.upstream.url.strip_prefix("http://").unwrap();
    let of_gate =
        |line: &&str| line.starts_with("gatekey_gate_") || line.starts_with("gatekey_cache_");
    // Sums of seconds are not counts.
    let is_count = |line: &&str| !line.contains("_seconds_sum{");
    let samples = text.lines().filter(of_gate).filter(is_count).map(|line| {
        let (name, value) = line.rsplit_once(' ').unwrap();
        (name.replace(address, "UPSTREAM"), value.parse().unwrap())
    });
    samples.collect()
}

async fn decisions(gated: &Gated, outcome: &str, reason: &str) -> u64 {
    let name = format!("gatekey_gate_decisions_total{{outcome=\"{outcome}\",reason=\"{reason}\"}}");
    samples(gated).await[&name]
}

#[tokio::test]
async fn every_door_counts_its_decisions() {
    let gated = start("").await;
    let server = &gated.server;
    let viewer = bearer_of(server, "viewer").await;
    let credential = ("authorization", &*viewer);
    for endpoint in ["/gate/nginx", "/gate/forward"] {
        for target in [READ, ADMIN, "/a//b"] {
            let headers = [&family(endpoint, "POST", target)[..], &[credential]].concat();
            server.http.get(endpoint, &headers).await;
        }
    }
    for target in [READ, ADMIN, "/a//b"] {
        check(server, post(target, &[credential])).await;
        for path in [format!("/gate/envoy{target}"), target.to_owned()] {
            server.http.send(Method::POST, &path, &[credential], "").await;
        }
    }
    assert_eq!(decisions(&gated, "allowed", "key").await, 5);
    assert_eq!(decisions(&gated, "refused", "role").await, 5);
    assert_eq!(decisions(&gated, "refused", "path").await, 5);
    server.http.get("/gate/nginx", &[]).await;
    assert_eq!(decisions(&gated, "refused", "question").await, 1);
}

#[tokio::test]
async fn hits_of_caches_are_counted() {
    let gated = start("").await;
    let key = gated.key_of("viewer").await;
    let token = gated.server.token(&key).await;
    let encoded = key.encoded("127.0.0.1");
    for credential in [&token, &token, &token, &encoded, &encoded, &encoded] {
        assert_eq!(gated.call(READ, credential).await.status, 200);
    }
    let samples = samples(&gated).await;
    let counted = |cache: &str, outcome: &str| {
        let name =
            format!("gatekey_cache_lookups_total{{cache=\"{cache}\",outcome=\"{outcome}\"}}");
        samples[&name]
    };
    assert_eq!(counted("encoded_credentials", "miss"), 1);
    assert_eq!(counted("encoded_credentials", "hit"), 2);
    // One for each credential.
    assert_eq!(counted("upstream_token", "miss"), 2);
    assert_eq!(counted("upstream_token", "hit"), 4);
    assert!(counted("access_token", "hit") >= 2);
}

#[tokio::test]
async fn streams_and_tunnels_are_gauges() {
    let gated = start("").await;
    let token = gated.token_of("viewer").await;
    let gauge =
        async |name: &str| samples(&gated).await[&format!("{name}{{upstream=\"UPSTREAM\"}}")];
    let caller = Caller::new(&gated.server.process, true);
    let stream = caller.grpc(READ, &token, &[(DO, "stall")]).await;
    let mut tunnel = connection::connect(&gated.server.process).await;
    let handshake = format!(
        "GET /ws HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\nx-test-do: upgrade\r\n\
         connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    tunnel.write_all(handshake.as_bytes()).await.unwrap();
    eventually("the tunnel is open", async || gauge("gatekey_gate_tunnels").await == 1).await;
    assert_eq!(gauge("gatekey_gate_calls").await, 2);
    // A key that is disabled ends both.
    gated.server.admin_call("Disable", json!({ "clientId": "viewer" })).await;
    eventually("the tunnel has ended", async || gauge("gatekey_gate_tunnels").await == 0).await;
    eventually("the stream has ended", async || gauge("gatekey_gate_calls").await == 0).await;
    let ended = samples(&gated).await["gatekey_gate_calls_ended_total{reason=\"credential\"}"];
    assert!(ended >= 2, "{ended}");
    drop(stream);
}

#[tokio::test]
async fn failures_of_the_upstream_are_counted() {
    let gated = start("").await;
    let token = gated.token_of("viewer").await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), (DO, "die")];
    assert_eq!(gated.server.http.send(Method::POST, READ, &headers, "").await.status, 502);
    let name = "gatekey_gate_upstream_failures_total{upstream=\"UPSTREAM\",reason=\"lost\"}";
    assert_eq!(samples(&gated).await[name], 1);
}

/// Prometheus keeps each label value for good.
#[tokio::test]
async fn clients_cannot_add_labels_of_the_gate() {
    let gated = start("").await;
    let before = samples(&gated).await;
    let token = gated.token_of("viewer").await;
    for path in ["/unknown", "/unknown.Service/Method", READ, WRITE, "/a%2fb", "/%ff"] {
        for credential in ["", "wrong", &token] {
            let bearer = format!("Bearer {credential}");
            let headers = [
                ("authorization", &*bearer),
                ("host", "label.example.com"),
                ("x-auth-request-user", "label"),
                ("user-agent", "label"),
            ];
            for method in [Method::GET, Method::POST, Method::from_bytes(b"LABEL").unwrap()] {
                gated.over_http1().send(method, path, &headers, "").await;
            }
        }
    }
    let after = samples(&gated).await;
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert_ne!(before, after);
}

/// The span of the request is the parent of what the upstream records.
#[tokio::test]
async fn a_trace_continues_with_the_requests_span() {
    let collector = Collector::start().await;
    let mut gated = Gated::with_flags(&["--otlp-endpoint", &collector.url]).await;
    let token = gated.token_of("viewer").await;
    let bearer = format!("Bearer {token}");
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("authorization", &*bearer),
        ("traceparent", parent),
        ("content-type", "application/json"),
    ];
    assert_eq!(gated.server.http.send(Method::POST, READ, &headers, "{}").await.status, 200);
    assert!(gated.server.process.stop().await.success());
    let span = collector.only("POST gate");
    let hex = |bytes: &[u8]| gatekey_core::id::Hex(bytes).to_string();
    assert_eq!(hex(&span.0.parent_span_id), "b7ad6b7169203331");
    let received = &gated.upstream.received()[0].headers;
    let expected = format!("00-{}-{}-01", hex(&span.0.trace_id), hex(&span.0.span_id));
    assert_eq!(received["traceparent"], *expected);
    assert_eq!(&expected[3..35], &parent[3..35]);
    let id = span.attribute("gatekey.request_id").unwrap();
    assert_eq!(received["x-request-id"], *id);
}

#[tokio::test]
async fn a_refused_key_is_recorded_once_a_minute() {
    let gated = start("").await;
    let viewer = bearer_of(&gated.server, "viewer").await;
    let credential = ("authorization", &*viewer);
    for _ in 0..2 {
        assert_eq!(
            gated.server.http.send(Method::POST, ADMIN, &[credential], "").await.status,
            403
        );
        for endpoint in ["/gate/nginx", "/gate/forward"] {
            let headers = [&family(endpoint, "POST", ADMIN)[..], &[credential]].concat();
            assert_eq!(gated.server.http.get(endpoint, &headers).await.status, 403);
        }
        let envoy = format!("/gate/envoy{ADMIN}");
        assert_eq!(
            gated.server.http.send(Method::POST, &envoy, &[credential], "").await.status,
            403
        );
        assert_eq!(check(&gated.server, post(ADMIN, &[credential])).await.status.code, 7);
    }
    // Another procedure is another entry, and comes last.
    assert_eq!(gated.server.http.send(Method::POST, WRITE, &[credential], "").await.status, 403);
    let mut targets = Vec::new();
    eventually("both are recorded", async || {
        let entries = gated.server.ledger().await.into_iter();
        targets =
            entries.filter(|entry| &*entry.action == "refuse").map(|entry| entry.target).collect();
        targets.len() >= 2
    })
    .await;
    assert_eq!(targets.len(), 2, "{targets:?}");
}
