//! What the upstream gets of a request, and the client of a response.

use http::Method;
use serde_json::{Value, json};

use super::{
    Gated, READ, WRITE,
    call::{Caller, frames, read},
    private_tls,
};
use crate::support::{
    Server, connection,
    upstream::{DO, Upstream, raw_upstream},
};

/// The headers that reached the upstream.
async fn headers_of(gated: &Gated, token: &str, headers: &[(&str, &str)]) -> Value {
    let bearer = format!("Bearer {token}");
    let all = [&[("authorization", &*bearer), ("content-type", "application/json")], headers];
    let answered = gated.over_http1().send(Method::POST, READ, &all.concat(), "{}").await;
    assert_eq!(answered.status, 200, "{}", answered.text());
    answered.json()["headers"].clone()
}

/// Flyte's `SelectCluster` builds URLs from them.
#[tokio::test]
async fn the_upstream_sees_host_and_scheme() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let forged = [
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-port", "1"),
        ("forwarded", "for=192.0.2.1"),
    ];
    let seen = headers_of(&gated, &token, &forged).await;
    let endpoint = connection::address(&gated.server.process);
    assert_eq!(seen["host"], json!([endpoint]));
    assert_eq!(seen["x-forwarded-host"], json!([endpoint]));
    assert_eq!(seen["x-forwarded-proto"], json!(["https"]));
    assert_eq!(seen["x-forwarded-for"], json!(["127.0.0.1"]));
    assert_eq!((&seen["x-forwarded-port"], &seen["forwarded"]), (&json!(null), &json!(null)));
    let answered = gated.call(READ, &token).await;
    assert_eq!(answered.json()["headers"]["host"], json!([endpoint]), "over HTTP/2");
}

#[tokio::test]
async fn headers_of_a_connection_stay_on_it() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let sent = [
        ("connection", "keep-alive, x-nominated, X-Auth-Request-User, te"),
        ("x-nominated", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("te", "trailers, gzip"),
        ("x-other", "1"),
    ];
    let seen = headers_of(&gated, &token, &sent).await;
    for gone in ["x-nominated", "keep-alive", "proxy-connection", "connection"] {
        assert_eq!(seen[gone], json!(null), "{gone}: {seen}");
    }
    assert_eq!((&seen["te"], &seen["x-other"]), (&json!(["trailers"]), &json!(["1"])));
    assert_eq!(seen["x-auth-request-user"], json!(["viewer"]));
}

/// Dropped by the proxy, it would still have to be checked (CVE-2024-45410 and others).
#[tokio::test]
async fn a_nominated_credential_is_checked() {
    let gated = Gated::start().await;
    let nominated = [
        ("connection", "authorization"),
        ("content-type", "application/json"),
        ("authorization", "Bearer wrong"),
    ];
    let refused = gated.over_http1().send(Method::POST, READ, &nominated, "{}").await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    assert!(gated.upstream.received().is_empty());
}

#[tokio::test]
async fn request_id_and_trace_continue_upstream() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent = [("x-request-id", "mine"), ("traceparent", parent)];
    let seen = headers_of(&gated, &token, &sent).await;
    assert_eq!(seen["x-request-id"], json!(["mine"]));
    assert_eq!(seen["traceparent"], json!([parent]));
}

#[tokio::test]
async fn grpc_goes_upstream_over_http2() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let caller = Caller::new(&gated.server.process, true);
    assert_eq!(caller.grpc(READ, &token, &[]).await.status(), 200);
    assert_eq!(gated.call(READ, &token).await.status, 200);
    let versions: Vec<_> = gated
        .upstream
        .received()
        .iter()
        .map(|received| format!("{:?}", received.version))
        .collect();
    assert_eq!(versions, ["HTTP/2.0", "HTTP/1.1"]);
}

/// Traefik merged trailers into headers (CVE-2026-88004).
#[tokio::test]
async fn request_trailers_pass_without_identities() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let bearer = format!("Bearer {token}");
    for (http2, content_type) in
        [(true, "application/grpc"), (false, "text/plain"), (true, "text/plain")]
    {
        let trailers = [
            ("x-trailer", "sent"),
            ("x-auth-request-user", "root"),
            ("x_auth_request_user", "root"),
            ("authorization", "Bearer forged"),
            ("host", "evil"),
        ];
        let names = "x-trailer, x-auth-request-user, x_auth_request_user, authorization, host";
        let headers = [
            ("content-type", content_type),
            ("authorization", &*bearer),
            ("trailer", names),
            ("te", "trailers"),
        ];
        let caller = Caller::new(&gated.server.process, http2);
        let body = frames(&["a", "b"], &trailers);
        let answered = caller.send(Method::POST, READ, &headers, body).await;
        assert_eq!(answered.status(), 200);
        let seen: Value = serde_json::from_slice(&read(answered).await.last).unwrap();
        assert_eq!(seen["trailers"], json!({ "x-trailer": ["sent"] }), "{content_type} {seen}");
        assert_eq!(seen["body"], json!("ab"));
    }
}

#[tokio::test]
async fn response_trailers_reach_the_client() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let caller = Caller::new(&gated.server.process, true);
    let body = frames(&["a"], &[("x-trailer", "sent")]);
    let answered = caller.grpc_with(READ, &token, &[(DO, "grpc")], body).await;
    let ended = read(answered).await;
    assert_eq!((ended.trailer("grpc-status"), ended.trailer("x-trailer")), ("0", "sent"));
    // Over HTTP/1.1 to the upstream.
    let bearer = format!("Bearer {token}");
    for http2 in [true, false] {
        let headers = [
            ("authorization", &*bearer),
            ("te", "trailers"),
            ("trailer", "x-trailer"),
            (DO, "mirror"),
        ];
        let caller = Caller::new(&gated.server.process, http2);
        let body = frames(&["a", "b"], &[("x-trailer", "sent")]);
        let ended = read(caller.send(Method::POST, READ, &headers, body).await).await;
        assert_eq!((ended.bytes, ended.trailer("x-trailer")), (2, "sent"), "HTTP/2: {http2}");
    }
}

#[tokio::test]
async fn grpc_web_passes_as_it_is() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let bearer = format!("Bearer {token}");
    let web = "application/grpc-web+proto";
    let headers = [("authorization", &*bearer), ("content-type", web), (DO, "mirror")];
    let frame = "\0\0\0\0\u{1}x\u{7f}\0\0\0\u{10}grpc-status:0\r\n\n";
    let answered = gated.server.http.send(Method::POST, READ, &headers, frame).await;
    assert_eq!((answered.status.as_u16(), answered.header("content-type")), (200, web));
    assert_eq!(answered.text(), frame);
}

#[tokio::test]
async fn a_response_passes_as_it_is() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), (DO, "answer cache-control max-age=5")];
    let answered = gated.server.http.send(Method::POST, READ, &headers, "").await;
    assert_eq!(answered.header("cache-control"), "max-age=5");
    let headers = [("authorization", &*bearer), (DO, "answer etag \"x\"")];
    let answered = gated.server.http.send(Method::POST, READ, &headers, "").await;
    assert_eq!((answered.header("etag"), answered.header("cache-control")), ("\"x\"", ""));
    assert_eq!(answered.header("x-content-type-options"), "");
}

#[tokio::test]
async fn an_outage_is_no_refusal() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let bearer = format!("Bearer {token}");
    let dies = [
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("connect-protocol-version", "1"),
        (DO, "die"),
    ];
    let lost = gated.server.http.send(Method::POST, READ, &dies, "{}").await;
    assert_eq!((lost.status.as_u16(), &lost.json()["code"]), (502, &json!("unavailable")));
    let caller = Caller::new(&gated.server.process, true);
    let lost = caller.grpc(READ, &token, &[(DO, "die")]).await;
    assert_eq!(lost.headers()["grpc-status"], "14");
    let Gated { server, upstream } = gated;
    drop(upstream);
    let down = server.http.connect_json(READ, &token, &json!({})).await;
    assert_eq!(down.status, 503, "{}", down.text());
    assert_eq!(down.json()["code"], "unavailable");
    let down = caller.grpc(READ, &token, &[]).await;
    assert_eq!(down.headers()["grpc-status"], "14");
    // Nobody learns from an outage what the gate would have decided.
    assert_eq!(server.http.connect_json(WRITE, "", &json!({})).await.status, 401);
}

/// A server before an upstream that answers with fixed bytes, and a token of its admin.
async fn before_raw(answer: &'static [u8]) -> (Server, String) {
    let upstream = raw_upstream(answer).await;
    let server = Server::with_flags(&["--upstream", &upstream]).await;
    let token = server.admin_token.clone();
    (server, token)
}

#[tokio::test]
async fn a_response_cut_short_fails() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ] {
        let (server, token) = before_raw(answer).await;
        for http2 in [true, false] {
            let caller = Caller::new(&server.process, http2);
            let bearer = format!("Bearer {token}");
            let headers = [("authorization", &*bearer)];
            let answered = caller.send(Method::POST, READ, &headers, frames(&[], &[])).await;
            assert_eq!(answered.status(), 200);
            assert!(read(answered).await.failed, "HTTP/2: {http2}");
        }
    }
}

#[tokio::test]
async fn early_hints_are_ignored() {
    let answer = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n\
                   HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let (server, token) = before_raw(answer).await;
    let answered = server.http.connect_json(READ, &token, &json!({})).await;
    assert_eq!((answered.status.as_u16(), answered.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn an_unasked_upgrade_is_an_outage() {
    let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    let (server, token) = before_raw(answer).await;
    let answered = server.http.connect_json(READ, &token, &json!({})).await;
    assert_eq!(answered.status, 502, "{}", answered.text());
}

/// The upstream closes each connection after its response, without saying so.
#[tokio::test]
async fn a_closed_connection_is_replaced() {
    let (server, token) = before_raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    for _ in 0..20 {
        let answered = server.http.connect_json(READ, &token, &json!({})).await;
        assert_eq!((answered.status.as_u16(), answered.text().as_str()), (200, "ok"));
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let caller = Caller::new(&gated.server.process, true);
    for _ in 0..20 {
        assert_eq!(gated.call(READ, &token).await.status, 200);
        assert!(!read(caller.grpc(READ, &token, &[]).await).await.failed);
    }
    // One for each protocol; one more if a response was faster than its connection.
    assert!(gated.upstream.connections() <= 4, "{}", gated.upstream.connections());
}

#[tokio::test]
async fn only_100_continue_can_be_expected() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let server = &gated.server.process;
    for expectation in ["200-ok", "100-continue, 200-ok", "100-continuex", ""] {
        let request = format!(
            "POST {READ} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\
             expect: {expectation}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
        );
        let answered = connection::exchange(server, request.as_bytes()).await;
        assert!(answered.starts_with("HTTP/1.1 417 "), "{expectation}: {answered}");
    }
    assert!(gated.upstream.received().is_empty());
    let request = format!(
        "POST {READ} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\
         expect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}"
    );
    let answered = connection::exchange(server, request.as_bytes()).await;
    assert!(answered.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "), "{answered}");
    assert!(!gated.upstream.received()[0].headers.contains_key("expect"));
    let request =
        "POST /a HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let answered = connection::exchange(server, request.as_bytes()).await;
    assert!(answered.starts_with("HTTP/1.1 401 "), "decided before the body: {answered}");
}

#[tokio::test]
async fn an_early_response_ends_the_upload() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let caller = Caller::new(&gated.server.process, true);
    let body = frames(&[&*"x".repeat(1 << 20).leak(); 16], &[]);
    let answered = caller.grpc_with(READ, &token, &[(DO, "early 413")], body).await;
    assert_eq!(answered.status(), 413);
}

#[tokio::test]
async fn connect_and_trace_are_refused() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    for line in ["CONNECT flyte:443", "TRACE /healthz", "OPTIONS *", "GET http://flyte/"] {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: flyte:443\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        let answered = connection::exchange(&gated.server.process, request.as_bytes()).await;
        assert!(
            answered.starts_with("HTTP/1.1 4") || answered.starts_with("HTTP/1.1 501"),
            "{answered}"
        );
    }
    assert!(gated.upstream.received().is_empty());
}

#[tokio::test]
async fn grpc_goes_to_its_own_upstream() {
    let (grpc, rest) = (Upstream::start().await, Upstream::start().await);
    let config = format!(
        "[[gate.upstreams]]\nurl = \"{}\"\nmatch = [\"grpc\"]\n\
         [[gate.upstreams]]\nurl = \"{}\"\npass = [\"/me\"]\naudience = \"flyteadmin\"\n\
         [gate.rules]\n\"/me\" = \"any-key\"\n",
        grpc.url, rest.url
    );
    let server = Server::with_config(&config).await;
    let token = server.admin_token.clone();
    let caller = Caller::new(&server.process, true);
    assert_eq!(caller.grpc(READ, &token, &[]).await.status(), 200);
    assert_eq!((grpc.received().len(), rest.received().len()), (1, 0));
    let bearer = format!("Bearer {token}");
    let me = server.http.get("/me", &[("authorization", &bearer)]).await;
    assert_eq!((me.status.as_u16(), rest.received().len()), (200, 1), "{}", me.text());
    let minted = me.json()["headers"]["authorization"][0].as_str().unwrap().to_owned();
    assert!(minted.starts_with("Bearer ") && minted != bearer, "{minted}");
    assert!(!grpc.received()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_upstream_with_tls_is_verified() {
    let (acceptor, authority) = private_tls();
    let upstream = Upstream::with(Some(acceptor), 250).await;
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, authority).unwrap();
    for (trusted, status) in [(false, 503), (true, 200)] {
        let ca_file = if trusted { format!("ca_file = {ca_file:?}\n") } else { String::new() };
        let config = format!("[[gate.upstreams]]\nurl = \"{}\"\n{ca_file}", upstream.url);
        let server = Server::with_config(&config).await;
        let answered = server.http.connect_json(READ, &server.admin_token, &json!({})).await;
        assert_eq!(answered.status, status, "{}", answered.text());
        if trusted {
            assert_eq!(answered.json()["version"], "HTTP/2.0");
        }
    }
}

#[tokio::test]
async fn metrics_count_decisions_and_calls() {
    let gated = Gated::with_flags(&["--admin-listen", "127.0.0.1:0"]).await;
    let token = gated.token_of("viewer").await;
    assert_eq!(gated.call(READ, &token).await.status, 200);
    assert_eq!(gated.call(WRITE, &token).await.status, 403);
    assert_eq!(gated.call(WRITE, "").await.status, 401);
    let admin = crate::support::Http::new(gated.server.process.admin_url.as_ref().unwrap(), None);
    let metrics = admin.get("/metrics", &[]).await.text();
    let upstream = gated.upstream.url.strip_prefix("http://").unwrap();
    for line in [
        "gatekey_gate_decisions_total{outcome=\"allowed\",reason=\"key\"} 1".to_owned(),
        "gatekey_gate_decisions_total{outcome=\"refused\",reason=\"role\"} 1".to_owned(),
        "gatekey_gate_decisions_total{outcome=\"refused\",reason=\"credential\"} 1".to_owned(),
        format!("gatekey_gate_upstream_duration_seconds_count{{upstream=\"{upstream}\"}} 1"),
        format!(
            "gatekey_gate_upstream_connections{{upstream=\"{upstream}\",protocol=\"http1\"}} 1"
        ),
        format!("gatekey_gate_calls{{upstream=\"{upstream}\"}} 0"),
        format!("gatekey_gate_tunnels{{upstream=\"{upstream}\"}} 0"),
        "gatekey_requests_total{route=\"gate\",outcome=\"ok\"} 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line} is not in {metrics}");
    }
    // Readiness is about Gatekey alone.
    let Gated { upstream, server: _server } = gated;
    drop(upstream);
    assert_eq!(admin.get("/readyz", &[]).await.status, 200);
}
