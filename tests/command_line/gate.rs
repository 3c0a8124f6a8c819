//! `gatekey gate`.

use std::fs;

use serde_json::{Value, json};

use super::{fails, json, stdout};
use crate::support::{Server, gatekey, run};

const READ: &str = "/flyteidl2.project.ProjectService/GetProject";
const WRITE: &str = "/flyteidl2.workflow.RunService/CreateRun";

fn explain(method: &str, path: &str, flags: &[&str]) -> Value {
    let words = ["gate", "explain", method, path, "--output", "json"];
    json(&run(&[&words, flags].concat()))
}

/// Who is allowed, in the order of the output.
fn allowed(explanation: &Value) -> Vec<&str> {
    let decisions = explanation["decisions"].as_array().unwrap().iter();
    let allowed = decisions.filter(|decision| decision["allowed"] == true);
    let name = |decision: &'_ Value| match decision["credential"].as_bool() {
        Some(true) => None,
        _ => Some("nobody"),
    };
    allowed
        .map(|decision| {
            name(decision).unwrap_or_else(|| decision["role"].as_str().unwrap_or("no role"))
        })
        .collect()
}

fn reasons(explanation: &Value) -> Vec<&str> {
    let decisions = explanation["decisions"].as_array().unwrap().iter();
    decisions.filter_map(|decision| decision["reason"].as_str()).collect()
}

#[test]
fn gate_rules_lists_own_and_shipped_paths() {
    let rules = json(&run(&["gate", "rules", "--output", "json"]));
    let find = |pattern: &str| {
        let mut rules = rules.as_array().unwrap().iter();
        rules.find(|rule| rule["pattern"] == pattern).unwrap_or_else(|| panic!("{pattern}"))
    };
    for own in ["/oauth2/token", "/me", "/gatekey.v1.ApiKeyService/Create", "/openapi.json"] {
        assert_eq!(find(own)["access"], "own", "{own}");
    }
    for (pattern, access, methods) in [
        (READ, "read", json!(["GET", "POST"])),
        (WRITE, "write", json!(["POST"])),
        ("/flyteidl2.project.ProjectService/CreateProject", "admin", json!(["POST"])),
        ("/flyteidl2.actions.ActionsService/Enqueue", "denied", json!(["POST"])),
        ("/api/v1/executions/{id.project}/{id.domain}", "read", json!(["GET"])),
        ("/healthz", "anonymous", json!(["GET"])),
    ] {
        let rule = find(pattern);
        assert_eq!((&rule["access"], &rule["methods"]), (&json!(access), &methods), "{rule}");
        assert_eq!((&rule["source"], &rule["origin"]), (&json!("shipped"), &Value::Null), "{rule}");
    }
}

#[test]
fn gate_rules_names_the_configurations_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatekey.toml");
    fs::write(
        &file,
        format!("[gate.rules]\n\"{READ}\" = \"any-key\"\n\"/grafana/*\" = \"read\"\n"),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let text = stdout(&run(&["gate", "rules", "--config", file]));
    let line = |pattern: &str| {
        let end = format!(" {pattern}");
        let lines: Vec<_> = text.lines().filter(|line| line.ends_with(&end)).collect();
        assert_eq!(lines.len(), 1, "{pattern}: {lines:?}");
        lines[0].split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line(READ), format!("any-key GET,POST {file}, line 2 {READ}"));
    assert_eq!(line("/grafana/*"), format!("read any {file}, line 3 /grafana/*"));
    assert_eq!(line(WRITE), format!("write POST shipped {WRITE}"));
    let explanation = explain("POST", READ, &["--config", file]);
    assert_eq!(explanation["rule"]["origin"], format!("{file}, line 2"));
    assert_eq!(
        allowed(&explanation),
        ["no role", "verifier", "viewer", "contributor", "admin"],
        "{explanation}"
    );
}

/// flyteadmin's console reads its own `/me`.
#[test]
fn a_path_handed_on_is_not_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("gatekey.toml");
    fs::write(&file, "[[gate.upstreams]]\nurl = \"http://127.0.0.1:1\"\npass = [\"/me\"]\n")
        .unwrap();
    let file = file.to_str().unwrap();
    let explanation = explain("GET", "/me", &["--config", file]);
    assert_eq!(explanation["rule"]["access"], "any-key");
    assert_eq!(reasons(&explanation), ["credential"]);
    let rules = json(&run(&["gate", "rules", "--output", "json", "--config", file]));
    let mut rules = rules.as_array().unwrap().iter();
    assert_eq!(rules.find(|rule| rule["pattern"] == "/me").unwrap()["source"], "shipped");
}

#[test]
fn gate_explain_names_rule_and_reason() {
    let explanation = explain("POST", WRITE, &[]);
    assert_eq!(explanation["rule"]["pattern"], WRITE);
    assert_eq!(allowed(&explanation), ["contributor", "admin"]);
    assert_eq!(reasons(&explanation), ["credential", "role", "role", "role"]);
    let by_get = explain("GET", WRITE, &[]);
    assert_eq!(reasons(&by_get), ["credential", "method", "method", "method", "method", "method"]);
    let unknown = explain("POST", "/unknown", &[]);
    assert_eq!(unknown["rule"], Value::Null);
    assert_eq!(reasons(&unknown)[1..], ["rule"; 5]);
    let own = explain("GET", "/me", &[]);
    assert_eq!((&own["rule"]["access"], &own["decisions"]), (&json!("own"), &json!([])));
    let text = stdout(&run(&["gate", "explain", "post", WRITE]));
    assert!(text.contains("write: role contributor and scope all"), "{text}");
    assert!(text.contains("role contributor is needed"), "{text}");
}

#[test]
fn gate_explain_refuses_paths_with_two_readings() {
    for path in
        ["//healthz", "/healthz/..", "/%2e%2e/x", "/flyteidl2.a.B/%43reate", "/x;y", "*", "/ME"]
    {
        let explanation = explain("GET", path, &[]);
        assert_eq!(reasons(&explanation), ["path"; 6], "{path}");
        let text = stdout(&run(&["gate", "explain", "GET", path]));
        assert!(text.contains("refused for everybody"), "{text}");
    }
}

#[tokio::test]
async fn gate_explain_reads_a_limited_keys_body() {
    let server = Server::start().await;
    server.create_key_with("ci", json!({ "projects": ["web"] })).await;
    let data_dir = server.process.data_dir.to_str().unwrap();
    let files = tempfile::tempdir().unwrap();
    let ask = |body: Option<&str>| {
        let file = files.path().join("body");
        let mut flags = vec!["--as", "ci", "--data-dir", data_dir];
        if let Some(body) = body {
            std::fs::write(&file, body).unwrap();
            flags.extend(["--body", file.to_str().unwrap()]);
        }
        explain("POST", WRITE, &flags)["decisions"][0]["reason"].clone()
    };
    assert_eq!(ask(None), "unseen_body");
    assert_eq!(ask(Some(r#"{"projectId":{"name":"web","domain":"dev"}}"#)), Value::Null);
    assert_eq!(ask(Some(r#"{"projectId":{"name":"other","domain":"dev"}}"#)), "project");
    assert_eq!(ask(Some("\u{32}\u{5}\u{1a}\u{3}web")), Value::Null);
    assert_eq!(ask(Some("{")), "unreadable_body");
}

#[tokio::test]
async fn gate_explain_names_limits_before_rules() {
    let server = Server::start().await;
    server.create_key_with("ci", json!({ "allowFrom": ["10.0.0.0/8"], "rate": "5/s" })).await;
    let data_dir = server.process.data_dir.to_str().unwrap();
    let text =
        stdout(&run(&["gate", "explain", "POST", WRITE, "--as", "ci", "--data-dir", data_dir]));
    for limit in ["used from 10.0.0.0/8", "used at most 5/s"] {
        assert!(text.contains(&format!("{limit}, checked before the rule")), "{text}");
    }
}

#[tokio::test]
async fn gate_explain_reads_the_keys_role() {
    let mut server = Server::start().await;
    let body = json!({ "role": "ROLE_VIEWER" });
    server.create_key_with("dashboard", body).await;
    server.create_key("ci").await;
    server.create_key("off").await;
    server.admin_call("Disable", json!({ "clientId": "off" })).await;
    let data_dir = server.process.data_dir.to_str().unwrap().to_owned();
    let ask = |key: &str| {
        let explanation = explain("POST", WRITE, &["--as", key, "--data-dir", &data_dir]);
        explanation["decisions"].clone()
    };
    let check = || {
        let viewer = ask("dashboard");
        let expected = json!([{
            "key": "dashboard",
            "credential": true,
            "role": "viewer",
            "allowed": false,
            "reason": "role",
            "message": "role contributor is needed",
        }]);
        assert_eq!(viewer, expected);
        assert_eq!(
            (&ask("ci")[0]["allowed"], &ask("ci")[0]["role"]),
            (&json!(true), &json!("contributor"))
        );
        assert_eq!(ask("off")[0]["reason"], "credential");
        let unknown = ["gate", "explain", "POST", WRITE, "--as", "nobody", "--data-dir", &data_dir];
        let error = fails(&gatekey().args(unknown).output().unwrap(), 3);
        assert!(error.contains("nobody"), "{error}");
    };
    check();
    assert!(server.process.stop().await.success());
    check();
}
