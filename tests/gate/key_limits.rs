//! Limits of keys at the gate: networks, rate, projects and domains.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};

use super::{Gated, READ, WRITE};
use crate::support::{Response, eventually, upstream::DO};

const GET_RUN: &str = "/flyteidl2.workflow.RunService/GetRunDetails";

/// A field of protobuf that is a text or a message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    [&[number << 3 | 2, length], bytes].concat()
}

/// The request to create a run in a project and domain, with inputs before their name.
fn create_run(project: &str, domain: &str) -> Vec<u8> {
    let id = [field(3, project.as_bytes()), field(2, domain.as_bytes())].concat();
    [field(3, &field(9, b"inputs")), field(6, &id)].concat()
}

/// One message of gRPC.
fn enveloped(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], length.as_slice(), message].concat()
}

impl Gated {
    /// A token of a contributor with limits.
    async fn limited(&self, limits: Value) -> String {
        let key = self.server.create_key_with("limited", limits).await;
        self.server.token(&key).await
    }

    async fn post(
        &self,
        path: &str,
        token: &str,
        kind: &str,
        body: impl Into<Vec<u8>>,
    ) -> Response {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer), ("content-type", kind)];
        self.server.http.send(Method::POST, path, &headers, body.into()).await
    }

    async fn create_run(&self, token: &str, project: &str, domain: &str) -> Response {
        self.post(WRITE, token, "application/proto", create_run(project, domain)).await
    }
}

#[tokio::test]
async fn a_network_is_checked_before_the_upstream() {
    let gated = Gated::start().await;
    let token = gated.limited(json!({ "allowFrom": ["127.0.0.1"] })).await;
    assert_eq!(gated.call(READ, &token).await.status, 200);
    let key = json!({ "clientId": "limited", "allowFrom": ["192.0.2.7"] });
    gated.server.admin_call("Update", json!({ "apiKey": key, "updateMask": "allowFrom" })).await;
    let refused = gated.call(READ, &token).await;
    assert_eq!(
        (refused.status.as_u16(), &refused.json()["code"]),
        (403, &json!("permission_denied"))
    );
    assert_eq!(gated.upstream.received().len(), 1);
}

/// Whoever uses a stolen key from elsewhere learns nothing about its role.
#[tokio::test]
async fn a_network_is_checked_before_the_rules() {
    let gated = Gated::with_settings("[gate.rules]\n\"/open\" = \"anonymous\"").await;
    let token = gated.limited(json!({ "role": "ROLE_VIEWER" })).await;
    let key = json!({ "clientId": "limited", "allowFrom": ["192.0.2.7"] });
    gated.server.admin_call("Update", json!({ "apiKey": key, "updateMask": "allowFrom" })).await;
    for path in [READ, WRITE, "/unknown", "/internal/x"] {
        let refused = gated.call(path, &token).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text());
        assert_eq!(refused.header("x-gate-reason"), "network", "{path}");
    }
    // Everybody may, and it counts as nobody.
    let open = gated.call("/open", &token).await;
    assert_eq!(open.json()["headers"]["x-auth-request-user"], json!([""]), "{}", open.text());
}

#[tokio::test]
async fn refused_calls_count_towards_the_rate() {
    let gated = Gated::start().await;
    // One use for the token.
    let token = gated.limited(json!({ "role": "ROLE_VIEWER", "rate": "4/h" })).await;
    for (path, reason) in [(WRITE, "role"), ("/unknown", "rule"), (WRITE, "role"), (WRITE, "rate")]
    {
        let refused = gated.call(path, &token).await;
        assert_eq!(refused.header("x-gate-reason"), reason, "{path}: {}", refused.text());
    }
}

#[tokio::test]
async fn a_rate_is_refused_in_the_callers_protocol() {
    let gated = Gated::start().await;
    // One use for the token.
    let token = gated.limited(json!({ "rate": "2/h" })).await;
    assert_eq!(gated.call(READ, &token).await.status, 200);
    let connect = gated.call(READ, &token).await;
    assert_eq!(
        (connect.status.as_u16(), &connect.json()["code"]),
        (429, &json!("resource_exhausted"))
    );
    let grpc = gated.post(READ, &token, "application/grpc", enveloped(b"")).await;
    assert_eq!((grpc.status.as_u16(), grpc.header("grpc-status")), (200, "8"));
    let plain = gated.post(READ, &token, "text/plain", "").await;
    assert_eq!(plain.status, 429);
    let problem = plain.json();
    assert!(problem["type"].as_str().unwrap().ends_with("#quota-exceeded"), "{problem}");
    assert_eq!(problem["violated-policies"], json!(["key"]));
    for refused in [connect, grpc, plain] {
        assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
        assert_eq!(refused.header("ratelimit-policy"), r#""key";q=2;w=3600"#);
        assert!(refused.header("ratelimit").starts_with(r#""key";r=0;t="#));
    }
    assert_eq!(gated.upstream.received().len(), 1);
}

/// Draft-ietf-httpapi-ratelimit-headers-11, in place of the upstream's own.
#[tokio::test]
async fn allowed_responses_tell_the_rate() {
    let gated = Gated::start().await;
    // One use for the token.
    let token = gated.limited(json!({ "rate": "5/h" })).await;
    let bearer = format!("Bearer {token}");
    for (name, left) in [("ratelimit", 3), ("ratelimit-policy", 2)] {
        let upstreams = format!("answer {name} upstream");
        let headers = [("authorization", &*bearer), (DO, &upstreams)];
        let passed = gated.server.http.send(Method::POST, READ, &headers, "").await;
        assert_eq!(passed.status, 200, "{}", passed.text());
        assert_eq!(passed.headers.get_all("ratelimit-policy").iter().count(), 1);
        assert_eq!(passed.header("ratelimit-policy"), r#""key";q=5;w=3600"#);
        let limit = passed.header("ratelimit");
        assert!(limit.starts_with(&format!("\"key\";r={left};t=")), "{limit}");
        assert!(!passed.trailers.contains_key("ratelimit"));
    }
    let refused = gated.call("/unknown", &token).await;
    assert!(refused.header("ratelimit").starts_with("\"key\";r=1;t="), "{refused:?}");
    let unlimited = format!("Bearer {}", gated.server.admin_token);
    let headers = [("authorization", &*unlimited), (DO, "answer ratelimit upstream")];
    let passed = gated.server.http.send(Method::POST, READ, &headers, "").await;
    assert_eq!(passed.header("ratelimit"), "upstream");
}

#[tokio::test]
async fn the_longest_body_is_a_setting() {
    let gated = Gated::with_settings("max_message_bytes = 1024").await;
    let token = gated.limited(json!({ "projects": ["web"] })).await;
    let run = create_run("web", "development");
    let padded = |length: usize| {
        let inputs = vec![b'x'; length - run.len() - 3];
        let [low, high] = [inputs.len() & 0x7f | 0x80, inputs.len() >> 7];
        let head = [0x7a, u8::try_from(low).unwrap(), u8::try_from(high).unwrap()];
        [&head[..], &inputs, &run].concat()
    };
    let passed = gated.post(WRITE, &token, "application/proto", padded(1024)).await;
    assert_eq!(passed.status, 200, "{}", passed.text());
    let refused = gated.post(WRITE, &token, "application/proto", padded(1025)).await;
    assert_eq!(refused.status, 413);
    assert!(refused.text().contains("gate.max_message_bytes"), "{}", refused.text());
}

#[tokio::test]
async fn a_key_stays_within_projects_and_domains() {
    let gated = Gated::start().await;
    let limits = json!({ "projects": ["web", "data"], "domains": ["development"] });
    let token = gated.limited(limits).await;
    for project in ["web", "data"] {
        let passed = gated.create_run(&token, project, "development").await;
        assert_eq!(passed.status, 200, "{}", passed.text());
    }
    for (project, domain) in [
        ("other", "development"),
        ("web", "production"),
        ("Web", "development"),
        ("", "development"),
        ("web", ""),
        ("web ", "development"),
    ] {
        let refused = gated.create_run(&token, project, domain).await;
        assert_eq!(refused.status, 403, "{project:?} {domain:?}: {}", refused.text());
    }
    assert_eq!(gated.upstream.received().len(), 2);
    let recorded = async || {
        let entries = gated.server.ledger().await;
        entries.iter().any(|entry| entry.action == "refuse" && entry.detail == "project")
    };
    eventually("the refusal is in the ledger", recorded).await;
}

#[tokio::test]
async fn every_protocol_names_a_project() {
    let gated = Gated::start().await;
    let token = gated.limited(json!({ "projects": ["web"] })).await;
    for (project, status) in [("web", 200), ("other", 403)] {
        let id = json!({ "project": project, "domain": "development", "name": "r" });
        let camel = json!({ "runId": id }).to_string();
        let snake = json!({ "run_id": id }).to_string();
        let run = field(1, &[field(2, project.as_bytes()), field(3, b"development")].concat());
        for (kind, body) in [
            ("application/json", camel.into_bytes()),
            ("application/json; charset=utf-8", snake.into_bytes()),
            ("application/proto", run.clone()),
            ("application/connect+proto", enveloped(&run)),
        ] {
            let answer = gated.post(GET_RUN, &token, kind, body).await;
            let refused_inside = answer.text().contains("permission_denied");
            let is_refused = answer.status == 403 || refused_inside;
            assert_eq!(is_refused, status == 403, "{kind} {project}: {}", answer.text());
        }
        let grpc = gated.post(GET_RUN, &token, "application/grpc", enveloped(&run)).await;
        assert_eq!(grpc.header("grpc-status") == "7", status == 403, "{project}");
        let message = BASE64_URL_SAFE_NO_PAD.encode(&run);
        let get = format!("{GET_RUN}?connect=v1&encoding=proto&base64=1&message={message}");
        let bearer = format!("Bearer {token}");
        let answer = gated.server.http.get(&get, &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, status, "{project}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_request_with_two_readings_is_refused() {
    let gated = Gated::start().await;
    let token = gated.limited(json!({ "projects": ["web"] })).await;
    let id = |project: &str| [field(3, project.as_bytes()), field(2, b"development")].concat();
    let twice = [create_run("web", "development"), field(6, &id("other"))].concat();
    let merged = field(6, &[id("web"), field(3, b"other")].concat());
    let both = [create_run("web", "development"), field(2, &field(2, b"other"))].concat();
    for (name, body) in [
        ("a repeated message", twice),
        ("a repeated field", merged),
        ("another member of a oneof", both),
        ("a group", [create_run("web", "development"), vec![0x0b, 0x0c]].concat()),
        ("half a message", vec![0x32, 0x7f]),
        ("nothing", Vec::new()),
    ] {
        let refused = gated.post(WRITE, &token, "application/proto", body).await;
        assert_eq!(refused.status, 403, "{name}: {}", refused.text());
    }
    let json = r#"{"runId":{"project":"web"},"run_id":{"project":"other"}}"#;
    let refused = gated.post(GET_RUN, &token, "application/json", json).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    for kind in ["application/grpc+json", "application/x-protobuf", "text/plain"] {
        let refused = gated.post(WRITE, &token, kind, create_run("web", "development")).await;
        let is_refused = refused.status == 403 || refused.header("grpc-status") == "7";
        assert!(is_refused, "{kind}: {}", refused.text());
    }
    let large = gated.post(WRITE, &token, "application/proto", vec![0; (4 << 20) + 1]).await;
    assert_eq!((large.status.as_u16(), &large.json()["code"]), (413, &json!("resource_exhausted")));
    assert!(gated.upstream.received().is_empty());
}

#[tokio::test]
async fn a_limited_key_reaches_nothing_beyond_projects() {
    let gated = Gated::start().await;
    let token = gated.limited(json!({ "projects": ["web"] })).await;
    let project = field(4, &[field(3, b"web"), field(2, b"development")].concat());
    let list_runs = "/flyteidl2.workflow.RunService/ListRuns";
    let passed = gated.post(list_runs, &token, "application/proto", project.clone()).await;
    assert_eq!(passed.status, 200, "{}", passed.text());
    let org = [project, field(2, b"org")].concat();
    for (path, body) in [
        (list_runs, org),
        (list_runs, field(2, b"org")),
        (READ, Vec::new()),
        ("/flyteidl2.app.AppService/Get", field(2, b"\x0a\x00")),
        ("/flyteidl2.secret.SecretService/ListSecrets", Vec::new()),
        ("/flyteidl.service.AdminService/ListMatchableAttributes", Vec::new()),
        ("/flyteidl.service.DataProxyService/CreateDownloadLocation", field(1, b"s3://bucket/key")),
        ("/flyteidl.service.DataProxyService/GetData", field(1, b"flyte://v1/other/development/x")),
    ] {
        let refused = gated.post(path, &token, "application/proto", body).await;
        assert_eq!(refused.status, 403, "{path}: {}", refused.text());
    }
    let data = field(1, b"flyte://v1/web/development/x/n0/i");
    let path = "/flyteidl.service.DataProxyService/GetData";
    assert_eq!(gated.post(path, &token, "application/proto", data).await.status, 200);
}

#[tokio::test]
async fn plain_http_names_a_project_by_its_path() {
    let gated = Gated::start().await;
    let token = gated.limited(json!({ "projects": ["web"], "domains": ["development"] })).await;
    let bearer = format!("Bearer {token}");
    for (path, status) in [
        ("/api/v1/executions/web/development/x", 200),
        ("/api/v1/executions/other/development/x", 403),
        ("/api/v1/executions/web/production/x", 403),
        ("/api/v1/executions/web/development/x?id.project=other", 403),
        ("/api/v1/projects", 403),
        ("/api/v1/version", 200),
        ("/api/v1/data?flyte_url=flyte://v1/web/development/x/n0/i", 200),
        ("/api/v1/data?flyteUrl=flyte://v1/other/development/x/n0/i", 403),
    ] {
        let answer = gated.server.http.get(path, &[("authorization", &bearer)]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    for (project, status) in [("web", 200), ("other", 403)] {
        let body = json!({ "project": project, "domain": "development" }).to_string();
        let answer = gated.post("/api/v1/executions", &token, "application/json", body).await;
        assert_eq!(answer.status, status, "{project}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_read_body_reaches_the_upstream_whole() {
    let gated = Gated::start().await;
    let token = gated.limited(json!({ "projects": ["web"] })).await;
    let body = create_run("web", "development");
    let bearer = format!("Bearer {token}");
    let headers =
        [("authorization", &*bearer), ("content-type", "application/proto"), (DO, "mirror")];
    for http in [&gated.server.http, &gated.over_http1()] {
        let answer = http.send(Method::POST, WRITE, &headers, body.clone()).await;
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (200, &body[..]));
    }
}
