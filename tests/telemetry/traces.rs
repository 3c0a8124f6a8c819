//! Traces, as a collector receives them by OTLP over HTTP.

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use gatekey_client::{ApiKey, Client, PlainSecret, Protocol};
use gatekey_core::id::Hex;
use http::Method;
use rcgen::CertifiedKey;
use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsAcceptor;

use crate::support::{
    Http, Proxy, Server, ServerProcess, basic,
    collector::{Behavior, Collector, RecordedSpan},
    connection, eventually, gatekey, run,
};

const CREATE: &str = "/cloudidl.identity.AppsService/Create";
const LIST: &str = "/cloudidl.identity.AppsService/List";
const JWKS: &str = "/oauth2/jwks";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
// OTLP's `Span.SpanKind` and `Status.StatusCode`.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const UNSET: i32 = 0;
const ERROR: i32 = 2;
/// How long a server may take to send the remaining spans when it stops.
const FLUSH: Duration = Duration::from_secs(5);

async fn traced(collector: &Collector) -> Server {
    Server::with_flags(&["--otlp-endpoint", &collector.url]).await
}

fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

#[tokio::test]
async fn a_span_matches_its_log_line() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    let key = server.create_key("ci").await;
    let headers = [("authorization", &*key.basic()), ("x-request-id", "build-42")];
    let response =
        server.http.form("/oauth2/token", &headers, "grant_type=client_credentials").await;
    assert_eq!(response.status, 200);
    assert!(server.process.stop().await.success());
    let spans = collector.named("POST /oauth2/token");
    let is_it = |span: &&RecordedSpan| span.attribute("gatekey.request_id").unwrap() == "build-42";
    let span = spans.iter().find(is_it).unwrap();
    let port = server.process.url.rsplit_once(':').unwrap().1;
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/oauth2/token"),
        ("http.response.status_code", "200"),
        ("url.scheme", "https"),
        ("url.path", "/oauth2/token"),
        ("network.protocol.version", "2"),
        ("server.address", "127.0.0.1"),
        ("server.port", port),
        ("client.address", "127.0.0.1"),
        ("gatekey.client_id", "ci"),
        ("gatekey.outcome", "ok"),
    ] {
        assert_eq!(span.attribute(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(span.attribute("rpc.method"), None);
    assert_eq!((span.0.kind, span.0.status.clone().unwrap_or_default().code), (SERVER, UNSET));
    assert_eq!((span.0.trace_id.len(), span.0.span_id.len()), (16, 8));
    assert!(span.0.parent_span_id.is_empty(), "it is the root of its trace");
    let log = server.process.log();
    let line = log.iter().find(|line| line["request_id"] == "build-42").unwrap();
    let took = Duration::from_nanos(span.0.end_time_unix_nano - span.0.start_time_unix_nano);
    let logged = Duration::from_micros(line["duration_us"].as_u64().unwrap());
    assert!(
        took >= logged / 2 && took < logged + Duration::from_secs(1),
        "{took:?}, logged: {logged:?}"
    );
    for batch in collector.batches() {
        assert_eq!(
            (&*batch.path, &batch.headers["content-type"]),
            ("/v1/traces", &"application/x-protobuf".parse().unwrap())
        );
    }
    assert_eq!(collector.resource("service.name").unwrap(), "gatekey");
    assert_eq!(collector.resource("service.version").unwrap(), env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn a_store_call_has_its_own_child_span() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    for (protocol, name) in
        [(Protocol::Connect, "a"), (Protocol::Grpc, "b"), (Protocol::GrpcWeb, "c")]
    {
        let client = Client::builder()
            .endpoint(&server.process.url)
            .ca_file(server.process.ca_file())
            .credentials(&server.admin.client_id, PlainSecret::new(&server.admin.client_secret))
            .protocol(protocol)
            .build()
            .unwrap();
        ApiKey::create(&client, name).await.unwrap();
    }
    assert!(server.process.stop().await.success());
    let calls: Vec<_> = collector
        .spans()
        .into_iter()
        .filter(|span| span.0.name.ends_with("Service/Create"))
        .collect();
    let systems: Vec<_> =
        calls.iter().map(|call| call.attribute("rpc.system.name").unwrap()).collect();
    assert_eq!(systems, ["connectrpc", "grpc", "grpc"]);
    for call in &calls {
        let procedure = call.attribute("http.route").unwrap();
        assert_eq!(call.0.name, format!("POST {procedure}"));
        assert_eq!(format!("/{}", call.attribute("rpc.method").unwrap()), procedure);
        assert_eq!(call.attribute("gatekey.client_id").as_ref(), Some(&server.admin.client_id));
        let stored = collector.named("store.create_key");
        let stored: Vec<_> =
            stored.iter().filter(|span| span.0.parent_span_id == call.0.span_id).collect();
        assert_eq!(stored.len(), 1, "{procedure}");
        assert_eq!((&stored[0].0.trace_id, stored[0].0.kind), (&call.0.trace_id, INTERNAL));
        assert!(stored[0].0.start_time_unix_nano >= call.0.start_time_unix_nano);
        assert!(stored[0].0.end_time_unix_nano <= call.0.end_time_unix_nano);
    }
    assert_eq!(collector.named("store.create_key").len(), 3, "there are none outside of requests");
}

#[tokio::test]
async fn a_refusal_is_not_an_error_span() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    let wrong = basic("ci", "wrong");
    server
        .http
        .form("/oauth2/token", &[("authorization", &wrong)], "grant_type=client_credentials")
        .await;
    server.http.connect_json(LIST, "", &json!({})).await;
    assert!(server.process.stop().await.success());
    let refused: Vec<_> = collector
        .spans()
        .into_iter()
        .filter(|span| span.attribute("gatekey.outcome").as_deref() == Some("unauthenticated"))
        .collect();
    assert_eq!(refused.len(), 2);
    for span in refused {
        assert_eq!(span.attribute("http.response.status_code").unwrap(), "401");
        assert_eq!(span.attribute("error.type"), None);
        assert_eq!(span.0.status.unwrap_or_default().code, UNSET);
    }
}

#[tokio::test]
async fn a_server_failure_is_an_error_span() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    server.process.limit_files("0");
    let response =
        server.http.connect_json(CREATE, &server.admin_token, &json!({ "clientId": "ci" })).await;
    assert!(response.status.is_server_error(), "{}", response.text());
    server.process.limit_files("unlimited");
    assert!(server.process.stop().await.success());
    let call = collector.only(&format!("POST {CREATE}"));
    assert_eq!(call.attribute("error.type").unwrap(), "UNAVAILABLE");
    assert_eq!(call.attribute("gatekey.outcome").unwrap(), "failed");
    assert_eq!(call.0.status.as_ref().unwrap().code, ERROR);
    let stored = collector.only("store.create_key");
    assert_eq!(stored.attribute("error.type").unwrap(), "unavailable");
    assert_eq!(stored.0.status.as_ref().unwrap().code, ERROR);
}

#[tokio::test]
async fn span_names_contain_no_unknown_path_or_method() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    assert_eq!(server.http.get("/some/where?else", &[]).await.status, 404);
    server.http.send(Method::from_bytes(b"BREW").unwrap(), "/pot", &[], "").await;
    assert_eq!(server.http.get("/oauth_app/api/v1/some-key", &[]).await.status, 401);
    assert!(server.process.stop().await.success());
    let nowhere = collector.only("GET");
    assert_eq!(nowhere.attribute("url.path").unwrap(), "/some/where");
    assert_eq!(nowhere.attribute("http.route"), None);
    let template = "/oauth_app/api/v1/{client_id}";
    let served = collector.only(&format!("GET {template}"));
    assert_eq!(served.attribute("http.route").unwrap(), template);
    assert_eq!(served.attribute("url.path").unwrap(), "/oauth_app/api/v1/some-key");
    let other = collector.only("HTTP");
    assert_eq!(other.attribute("http.request.method").unwrap(), "_OTHER");
}

#[tokio::test]
async fn a_callers_trace_is_continued() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    let parent = format!("{PARENT}-01");
    server.http.get(JWKS, &[("traceparent", &parent), ("tracestate", "vendor=canary")]).await;
    assert!(server.process.stop().await.success());
    let span = collector.only(&format!("GET {JWKS}"));
    let ids = format!("00-{}-{}", hex(&span.0.trace_id), hex(&span.0.parent_span_id));
    assert_eq!(ids, PARENT);
    assert_eq!(span.0.trace_state, "", "tracestate may contain anything");
}

#[tokio::test]
async fn an_unsampled_parent_is_respected() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    let parent = format!("{PARENT}-00");
    let bearer = format!("Bearer {}", server.admin_token);
    let headers = [
        ("traceparent", &*parent),
        ("content-type", "application/json"),
        ("authorization", &bearer),
    ];
    server.http.get(JWKS, &headers[..1]).await;
    let created = server.http.send(Method::POST, CREATE, &headers, r#"{"clientId":"ci"}"#).await;
    assert_eq!(created.status, 200, "{}", created.text());
    assert!(server.process.stop().await.success());
    let names: Vec<_> = collector.spans().into_iter().map(|span| span.0.name).collect();
    assert_eq!(names, ["POST /oauth2/token"], "only requests without a parent");
}

#[tokio::test]
async fn an_invalid_traceparent_starts_a_trace() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    let zeros = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
    let unknown = format!("ff{}-01", &PARENT[2..]);
    for parent in ["", "x", &zeros, &unknown, &PARENT.to_uppercase()] {
        server.http.get(JWKS, &[("traceparent", parent)]).await;
    }
    let twice = format!("{PARENT}-01");
    server.http.get(JWKS, &[("traceparent", &twice), ("traceparent", &twice)]).await;
    assert!(server.process.stop().await.success());
    let spans = collector.named(&format!("GET {JWKS}"));
    assert_eq!(spans.len(), 6);
    for span in spans {
        assert!(span.0.parent_span_id.is_empty() && hex(&span.0.trace_id) != PARENT[3..35]);
    }
}

/// A trace that a caller records is always recorded.
#[tokio::test]
async fn the_ratio_samples_only_new_traces() {
    let collector = Collector::start().await;
    let url = &collector.url;
    let mut server =
        Server::with_config(&format!("traces.endpoint = \"{url}\"\ntraces.sample_ratio = 0")).await;
    server.http.get(JWKS, &[]).await;
    server.http.get(JWKS, &[("traceparent", &format!("{PARENT}-01"))]).await;
    assert!(server.process.stop().await.success());
    let spans = collector.spans();
    assert_eq!(spans.len(), 1, "a sampled parent is recorded");
    assert_eq!(hex(&spans[0].0.trace_id), PARENT[3..35]);
}

#[tokio::test]
async fn waiting_spans_are_sent_at_shutdown() {
    let collector = Collector::start().await;
    let mut server = traced(&collector).await;
    for _ in 0..600 {
        server.http.get(JWKS, &[]).await;
    }
    assert!(server.process.stop().await.success());
    assert_eq!(collector.named(&format!("GET {JWKS}")).len(), 600);
}

#[tokio::test]
async fn flags_override_opentelemetrys_environment() {
    let (below, whole, flagged) =
        (Collector::start().await, Collector::start().await, Collector::start().await);
    let directory = tempfile::tempdir().unwrap();
    let whole_url = format!("{}/custom/path", whole.url);
    for (name, collector, flags, environment) in [
        ("a", &below, vec![], vec![("OTEL_EXPORTER_OTLP_ENDPOINT", &*below.url)]),
        (
            "b",
            &whole,
            vec![],
            vec![
                ("OTEL_EXPORTER_OTLP_ENDPOINT", &*below.url),
                ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &*whole_url),
                ("OTEL_SERVICE_NAME", "keys"),
                ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=data%20platform"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20other"),
                ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "authorization=Bearer%20canary,x-tenant=a"),
            ],
        ),
        (
            "c",
            &flagged,
            vec!["--otlp-endpoint", &*flagged.url],
            vec![("OTEL_EXPORTER_OTLP_ENDPOINT", &*below.url), ("OTEL_SERVICE_NAME", "")],
        ),
    ] {
        let mut server =
            ServerProcess::start_in(&directory.path().join(name), &flags, &environment);
        server.http().get(JWKS, &[]).await;
        assert!(server.stop().await.success());
        collector.only(&format!("GET {JWKS}"));
        assert!(!format!("{:?}", server.log()).contains("canary"));
    }
    let batch = &whole.batches()[0];
    assert_eq!(batch.path, "/custom/path");
    assert_eq!(batch.headers["x-tenant"], "a");
    assert_eq!(batch.headers["authorization"], "Bearer canary");
    assert_eq!(whole.resource("service.name").unwrap(), "keys");
    assert_eq!(whole.resource("team").unwrap(), "data platform");
    assert_eq!(flagged.resource("service.name").unwrap(), "gatekey");
    assert_eq!(below.batches()[0].headers.get("authorization"), None);
}

#[tokio::test]
async fn the_collectors_certificate_is_verified() {
    let directory = tempfile::tempdir().unwrap();
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let ca_file = directory.path().join("collector.pem");
    fs::write(&ca_file, cert.pem()).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let collector =
        Collector::with(Behavior::Accepts, Some(TlsAcceptor::from(Arc::new(tls)))).await;
    for (name, flags, sent) in
        [("a", &["--otlp-ca-file", ca_file.to_str().unwrap()][..], 1), ("b", &[], 0)]
    {
        let flags = [&["--otlp-endpoint", &*collector.url], flags].concat();
        let mut server = ServerProcess::start_on(&directory.path().join(name), &flags);
        server.http().get(JWKS, &[]).await;
        assert!(server.stop().await.success());
        assert_eq!(collector.spans().len(), sent, "{name}");
        if sent == 0 {
            let causes = failures(&server);
            assert!(causes[0].contains("certificate"), "{causes:?}");
        }
        collector.clear();
    }
}

/// The causes of failed exports in the log.
fn failures(server: &ServerProcess) -> Vec<String> {
    let lines = server.log();
    let lines =
        lines.iter().filter(|line| line["message"] == "failed to send spans to the collector");
    lines.map(|line| line["cause"].as_str().unwrap().to_owned()).collect()
}

async fn spans(server: &ServerProcess, outcome: &str) -> u64 {
    let response = Http::new(server.admin_url.as_ref().unwrap(), None).get("/metrics", &[]).await;
    let name = format!("gatekey_spans_total{{outcome=\"{outcome}\"}} ");
    let text = response.text();
    text.lines().find_map(|line| line.strip_prefix(&name)).unwrap().parse().unwrap()
}

/// Sends many requests without waiting, on one plaintext connection, and reads all responses.
async fn flood(server: &ServerProcess, requests: usize) {
    const STATUS: &[u8] = b"HTTP/1.1 404";
    let stream = TcpStream::connect(connection::address(server)).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let sending = tokio::spawn(async move {
        for _ in 0..requests {
            writer.write_all(b"GET /nowhere HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        }
        writer
    });
    let (mut responses, mut read, mut rest) = (0, vec![0; 16 * 1024], Vec::new());
    while responses < requests {
        let length = reader.read(&mut read).await.unwrap();
        assert!(length > 0, "the server closed the connection after {responses} responses");
        rest.extend_from_slice(&read[..length]);
        responses += rest.windows(STATUS.len()).filter(|window| *window == STATUS).count();
        rest.drain(..rest.len().saturating_sub(STATUS.len() - 1));
    }
    sending.await.unwrap();
}

/// Failures are counted, and requests are not affected.
#[tokio::test]
async fn a_refusing_collector_is_logged_once() {
    for behavior in [Behavior::Responds(400), Behavior::Responds(503)] {
        let collector = Collector::with(behavior, None).await;
        let flags =
            ["--plaintext", "--admin-listen", "127.0.0.1:0", "--otlp-endpoint", &collector.url];
        let mut server = ServerProcess::start_with(&flags);
        flood(&server, 1200).await;
        eventually("two batches fail", async || spans(&server, "failed").await >= 1024).await;
        let started = Instant::now();
        assert!(server.stop().await.success());
        assert!(started.elapsed() < FLUSH * 3, "{:?}", started.elapsed());
        let causes = failures(&server);
        assert_eq!(causes.len(), 1, "{causes:?}");
        assert!(causes[0].contains("the collector answered"), "{causes:?}");
    }
}

#[tokio::test]
async fn an_absent_collector_affects_no_request() {
    // A port that was free a moment ago, without a listener.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{gone}");
    let mut server = ServerProcess::start_with(&["--otlp-endpoint", &url]);
    let admin = server.init();
    server.token(&admin).await;
    let started = Instant::now();
    assert!(server.stop().await.success());
    assert!(started.elapsed() < FLUSH * 3, "{:?}", started.elapsed());
    let causes = failures(&server);
    assert!(causes.len() == 1 && causes[0].contains("refused"), "{causes:?}");
}

/// Spans beyond the queue are dropped and counted.
#[tokio::test]
async fn a_hanging_collector_slows_no_request() {
    let collector = Collector::with(Behavior::Hangs, None).await;
    let flags = ["--plaintext", "--admin-listen", "127.0.0.1:0", "--otlp-endpoint", &collector.url];
    let mut server = ServerProcess::start_with(&flags);
    flood(&server, 10_000).await;
    assert!(spans(&server, "dropped").await >= 10_000 - 8192 - 1024);
    assert_eq!(spans(&server, "sent").await, 0);
    let started = Instant::now();
    assert!(server.stop().await.success());
    assert!(started.elapsed() < FLUSH * 3, "{:?}", started.elapsed());
    server.wait_for_log("timed out exporting the last spans");
}

#[tokio::test]
async fn a_second_signal_skips_the_collector() {
    let collector = Collector::with(Behavior::Hangs, None).await;
    let mut server = ServerProcess::start_with(&["--otlp-endpoint", &collector.url]);
    server.http().get(JWKS, &[]).await;
    let terminate =
        || Command::new("kill").args(["-TERM", &server.pid().to_string()]).status().unwrap();
    assert!(terminate().success());
    server.wait_for_log("draining connections");
    eventually("the collector receives the waiting spans", async || {
        !collector.batches().is_empty()
    })
    .await;
    let started = Instant::now();
    assert!(terminate().success());
    assert!(server.wait().success());
    assert!(started.elapsed() < FLUSH, "{:?}", started.elapsed());
}

#[tokio::test]
async fn without_a_collector_there_are_no_span_metrics() {
    let server = ServerProcess::start_with(&["--admin-listen", "127.0.0.1:0"]);
    let response = Http::new(server.admin_url.as_ref().unwrap(), None).get("/metrics", &[]).await;
    assert!(response.status == 200 && !response.text().contains("gatekey_spans"));
}

#[test]
fn invalid_trace_settings_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let data_dir = data_dir.to_str().unwrap();
    let nowhere = "/nonexistent/ca.pem";
    let good = "http://127.0.0.1:1";
    for (flags, named) in [
        (
            vec!["--otlp-endpoint", "localhost:4318"],
            "--otlp-endpoint: traces.endpoint must be an http or https URL",
        ),
        (vec!["--otlp-endpoint", "http://user:canary@h"], "--otlp-endpoint: traces.endpoint"),
        (
            vec!["--otlp-endpoint", good, "--otlp-ca-file", nowhere],
            "--otlp-ca-file: traces.ca_file",
        ),
    ] {
        for command in [
            &["serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir][..],
            &["config", "check"],
        ] {
            let mut command_line = gatekey();
            command_line.args(command).args(&flags);
            let output = command_line.output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains(named) && !error.contains("canary"), "{error}");
        }
    }
    assert!(!directory.path().join("data/gatekey.db").exists());
}

#[test]
fn config_check_prints_the_trace_endpoint() {
    let output = String::from_utf8(run(&["config", "check"]).stdout).unwrap();
    assert!(output.contains("\n# endpoint: disabled\n"), "{output}");
    let flags = ["config", "check", "--otlp-endpoint", "https://example.com/otlp/"];
    let output = String::from_utf8(run(&flags).stdout).unwrap();
    let endpoint = "\nendpoint = \"https://example.com/otlp/\" # --otlp-endpoint\n";
    assert!(output.contains(endpoint), "{output}");
    let full_endpoint = "\nfull_endpoint = \"https://example.com/otlp/v1/traces\" # default\n";
    assert!(output.contains(full_endpoint), "{output}");
}

/// The name of the collector resolves nowhere but at the proxy.
#[tokio::test]
async fn a_proxy_leads_to_the_collector() {
    let collector = Collector::start().await;
    let proxy = Proxy::start(
        collector.url.trim_start_matches("http://").split('/').next().unwrap(),
        Some("proxy-authorization: Basic bWU6czNjcmV0"),
    );
    let url = format!("http://me:s3cret@{}", proxy.address);
    let flags = ["--otlp-endpoint", "http://collector.example.com"];
    let directory = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(directory, &flags, &[("http_proxy", &url)]).await;
    assert_eq!(server.http.get(JWKS, &[]).await.status, 200);
    assert!(server.process.stop().await.success());
    assert!(!collector.named("GET /oauth2/jwks").is_empty());
    assert!(proxy.heads()[0].starts_with("POST http://collector.example.com/"));
}

/// Variables that are malformed, or ask for what is not supported.
const IGNORED: [(&str, &str); 17] = [
    ("OTEL_RESOURCE_ATTRIBUTES", "service.version"),
    ("OTEL_RESOURCE_ATTRIBUTES", "=canary"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "canary"),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a b=canary"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://user:canary@h"),
    ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "canary"),
    ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nonexistent/ca.pem"),
    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "canary"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "canary.pem"),
    ("OTEL_SDK_DISABLED", "canary"),
    ("OTEL_TRACES_EXPORTER", "canary"),
    ("OTEL_TRACES_SAMPLER", "canary"),
    ("OTEL_TRACES_SAMPLER_ARG", "canary"),
    ("OTEL_PROPAGATORS", "canary"),
];

#[tokio::test]
async fn a_malformed_opentelemetry_variable_is_ignored() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    for (number, (variable, value)) in IGNORED.into_iter().enumerate() {
        let mut environment = vec![(variable, value)];
        if variable == "OTEL_TRACES_SAMPLER_ARG" {
            environment.push(("OTEL_TRACES_SAMPLER", "traceidratio"));
        }
        if variable != "OTEL_EXPORTER_OTLP_ENDPOINT" {
            environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url));
        }
        let data_dir = directory.path().join(number.to_string());
        let mut server = ServerProcess::start_in(&data_dir, &[], &environment);
        server.http().get(JWKS, &[]).await;
        assert!(server.stop().await.success());
        let log = server.log();
        let reports = log.iter().filter(|line| line["variable"] == variable);
        assert_eq!(reports.count(), 1, "{variable}: {log:#?}");
        assert!(!format!("{log:?}").contains("canary"));
        let traced = usize::from(variable != "OTEL_EXPORTER_OTLP_ENDPOINT");
        assert_eq!(collector.named(&format!("GET {JWKS}")).len(), traced, "{variable}");
        collector.clear();

        let mut check = gatekey();
        let output = check.args(["config", "check"]).envs(environment).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{error}");
        assert!(error.contains(variable) && !error.contains("canary"), "{error}");
    }
}

#[tokio::test]
async fn a_malformed_variable_leaves_the_files_setting() {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatekey.toml");
    fs::write(&file, format!("[traces]\nendpoint = \"{}\"", collector.url)).unwrap();
    let flags = ["--config", file.to_str().unwrap()];
    let environment = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-good=1,broken"),
    ];
    let data_dir = directory.path().join("data");
    let mut server = ServerProcess::start_in(&data_dir, &flags, &environment);
    server.http().get(JWKS, &[]).await;
    assert!(server.stop().await.success());
    collector.only(&format!("GET {JWKS}"));
    assert_eq!(collector.batches()[0].headers.get("x-good"), None, "the whole value is ignored");
}

/// The spans that two requests leave, without and with a caller's recorded trace.
async fn recorded(environment: &[(&str, &str)]) -> usize {
    let collector = Collector::start().await;
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--otlp-endpoint", &*collector.url];
    let data_dir = directory.path().join("data");
    let mut server = ServerProcess::start_in(&data_dir, &flags, environment);
    server.http().get(JWKS, &[]).await;
    let parent = format!("{PARENT}-01");
    server.http().get(JWKS, &[("traceparent", &parent)]).await;
    assert!(server.stop().await.success());
    collector.named(&format!("GET {JWKS}")).len()
}

#[tokio::test]
async fn opentelemetrys_switches_are_heeded() {
    for (environment, spans) in [
        (&[("OTEL_SDK_DISABLED", "true")][..], 0),
        (&[("OTEL_SDK_DISABLED", "false")], 2),
        (&[("OTEL_TRACES_EXPORTER", "none")], 0),
        (&[("OTEL_TRACES_EXPORTER", "otlp")], 2),
        (&[("OTEL_TRACES_SAMPLER", "always_off")], 0),
        (&[("OTEL_TRACES_SAMPLER", "always_on")], 2),
        (&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")], 1),
        (&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0")], 0),
        (
            &[
                ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0"),
            ],
            1,
        ),
        (&[("OTEL_TRACES_SAMPLER", "parentbased_always_off"), ("OTEL_PROPAGATORS", "none")], 0),
        (&[("OTEL_SDK_DISABLED", ""), ("OTEL_TRACES_SAMPLER", ""), ("OTEL_PROPAGATORS", "")], 2),
    ] {
        assert_eq!(recorded(environment).await, spans, "{environment:?}");
    }
}
