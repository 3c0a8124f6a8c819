//! The rules, as requests meet them.

use http::Method;
use serde_json::json;

use super::{ADMIN, Gated, READ, WRITE};

const INTERNAL: &str = "/flyteidl2.actions.ActionsService/Enqueue";

/// The status of a request, with a token or without one.
async fn status(gated: &Gated, method: &str, target: &str, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let headers: &[_] = if token.is_empty() { &[] } else { &[("authorization", &*bearer)] };
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    gated.server.http.send(method, target, headers, "").await.status.as_u16()
}

#[tokio::test]
async fn unknown_and_internal_paths_are_denied() {
    let gated = Gated::start().await;
    let admin = &gated.server.admin_token;
    for path in [
        INTERNAL,
        "/flyteidl2.workflow.InternalRunService/RecordAction",
        "/internal/flyteidl2.app.AppService/Create",
        "/flyteidl2.project.ProjectService/Unknown",
        "/flyteidl2.project.ProjectService/getProject",
        "/flyteidl2.project.ProjectService/GetProject/",
        "/unknown",
        "/",
        "/HEALTHZ",
        "/healthz/",
    ] {
        assert_eq!(status(&gated, "POST", path, admin).await, 403, "{path}");
        assert_eq!(status(&gated, "POST", path, "").await, 401, "{path}");
    }
    assert!(gated.upstream.received().is_empty());
    let open = Gated::with_settings("internal_services = true").await;
    let viewer = open.token_of("viewer").await;
    assert_eq!(open.call(INTERNAL, &viewer).await.status, 403);
    assert_eq!(open.call(INTERNAL, &open.server.admin_token).await.status, 200);
}

#[tokio::test]
async fn health_passes_without_a_credential() {
    let gated = Gated::start().await;
    for path in ["/healthz", "/readyz", "/healthcheck", "/healthz?x=1"] {
        assert_eq!(status(&gated, "GET", path, "").await, 200, "{path}");
        assert_eq!(status(&gated, "GET", path, "wrong").await, 200, "{path}");
        assert_eq!(status(&gated, "POST", path, "").await, 401, "{path}");
    }
    for target in ["/unknown?/healthz", "/unknown?path=/healthz"] {
        assert_eq!(status(&gated, "GET", target, "").await, 401, "{target}");
    }
}

#[tokio::test]
async fn only_post_calls_a_procedure() {
    let gated = Gated::start().await;
    let admin = &gated.server.admin_token;
    for method in ["PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS", "PROPFIND", "post"] {
        for path in [WRITE, ADMIN] {
            let status = status(&gated, method, path, admin).await;
            assert!((400..500).contains(&status) || status == 501, "{method} {path}: {status}");
        }
    }
    let query = "?connect=v1&encoding=json&message=%7B%7D";
    let get = "/flyteidl2.project.ProjectService/GetProject";
    assert_eq!(status(&gated, "GET", get, admin).await, 403);
    assert_eq!(status(&gated, "GET", &format!("{WRITE}{query}"), admin).await, 403);
    assert!(gated.upstream.received().is_empty());
    assert_eq!(status(&gated, "GET", &format!("{get}{query}"), admin).await, 200);
    assert_eq!(status(&gated, "GET", &format!("{get}{query}"), "").await, 401);
}

#[tokio::test]
async fn plain_http_of_flyte_1_has_rules() {
    let gated = Gated::start().await;
    let viewer = gated.token_of("viewer").await;
    let contributor = gated.token_of("contributor").await;
    let execution = "/api/v1/executions/p/d/n";
    for (method, path, by_viewer, by_contributor) in [
        ("GET", execution, 200, 200),
        ("HEAD", execution, 200, 200),
        ("PUT", execution, 403, 200),
        ("DELETE", execution, 403, 200),
        ("POST", execution, 403, 403),
        ("POST", "/api/v1/executions", 403, 200),
        ("POST", "/api/v1/projects", 403, 403),
        ("GET", "/api/v1/projects", 200, 200),
        ("GET", "/api/v1/unknown", 403, 403),
    ] {
        assert_eq!(status(&gated, method, path, "").await, 401, "{method} {path}");
        assert_eq!(status(&gated, method, path, &viewer).await, by_viewer, "{method} {path}");
        let answered = status(&gated, method, path, &contributor).await;
        assert_eq!(answered, by_contributor, "{method} {path}");
    }
}

#[tokio::test]
async fn configured_rules_override_shipped_ones() {
    let gated = Gated::with_settings(&format!(
        "[gate.rules]\n\"{WRITE}\" = \"read\"\n\"/flyteidl2.project.ProjectService/*\" = \"admin\"\n\
         \"/grafana/*\" = \"read\"\n\"/grafana/public/*\" = \"anonymous\"\n\"/grafana/public/x\" = \"denied\""
    ))
    .await;
    let viewer = gated.token_of("viewer").await;
    assert_eq!(gated.call(WRITE, &viewer).await.status, 200);
    assert_eq!(gated.call(READ, &viewer).await.status, 403);
    assert_eq!(gated.call(READ, &gated.server.admin_token).await.status, 200);
    for (path, nobody, by_viewer) in [
        ("/grafana/x", 401, 200),
        ("/grafana/public/y", 200, 200),
        ("/grafana/public/x", 401, 403),
        ("/grafana", 401, 403),
    ] {
        assert_eq!(status(&gated, "GET", path, "").await, nobody, "{path}");
        assert_eq!(status(&gated, "GET", path, &viewer).await, by_viewer, "{path}");
    }
}

/// For operators, who see it in what a proxy or client logs.
#[tokio::test]
async fn a_header_names_the_reason() {
    let gated = Gated::start().await;
    let viewer = gated.token_of("viewer").await;
    let bearer = format!("Bearer {viewer}");
    let (key, nobody) = ([("authorization", &*bearer)], []);
    for (target, headers, reason) in [
        ("/x/../y", &key[..], "path"),
        (READ, &nobody[..], "credential"),
        (READ, &[("authorization", "Bearer wrong")], "credential"),
        (WRITE, &key, "role"),
        ("/unknown", &key, "rule"),
    ] {
        let refused = gated.server.http.send(Method::POST, target, headers, "").await;
        assert_eq!(refused.header("x-gate-reason"), reason, "{target}: {}", refused.text());
    }
    let by_get = gated.server.http.send(Method::GET, WRITE, &key, "").await;
    assert_eq!(by_get.header("x-gate-reason"), "method");
    let passed = gated.server.http.send(Method::POST, READ, &key, "").await;
    assert_eq!(passed.header("x-gate-reason"), "");
}

/// The message names the role, so that its reader knows what to ask for.
#[tokio::test]
async fn a_denial_names_the_role() {
    let gated = Gated::start().await;
    let viewer = gated.token_of("viewer").await;
    let refused = gated.call(WRITE, &viewer).await;
    assert_eq!(refused.json()["code"], json!("permission_denied"));
    assert!(refused.text().contains("role contributor is needed"), "{}", refused.text());
}
