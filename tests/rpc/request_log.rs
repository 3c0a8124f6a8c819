//! The log line of a call: its gRPC status and its outcome, over every protocol.

use http::Method;
use serde_json::{Value, json};

use super::{
    protocols::{Protocol, RpcClient},
    stop_and_read_log,
};
use crate::support::Server;

const GET: &str = "/cloudidl.identity.AppsService/Get";
const DELETE: &str = "/cloudidl.identity.AppsService/Delete";
const UNKNOWN: &str = "/cloudidl.identity.AppsService/Rename";
const CREATE: &str = "/cloudidl.identity.AppsService/Create";

/// Status and outcome in the lines of some paths, in order.
fn results(log: &[Value], paths: &[&str]) -> Vec<(String, String)> {
    let of_paths = |line: &&Value| line["path"].as_str().is_some_and(|path| paths.contains(&path));
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let lines = log.iter().filter(of_paths);
    lines.map(|line| (text(&line["grpc_status"]), text(&line["outcome"]))).collect()
}

#[tokio::test]
async fn every_call_is_logged_with_its_status() {
    for protocol in Protocol::ALL {
        let server = Server::start().await;
        let key = server.create_key("ci").await;
        let (own, admin) = (server.token(&key).await, server.admin_token.clone());
        let client = RpcClient::new(&server.process, protocol);
        let calls = [
            (GET, &*admin, json!({ "clientId": "ci" }), "OK", "ok"),
            (GET, &*admin, json!({ "clientId": "gone" }), "NOT_FOUND", "refused"),
            (GET, &*admin, json!({}), "INVALID_ARGUMENT", "refused"),
            (GET, &*own, json!({ "clientId": "admin" }), "PERMISSION_DENIED", "denied"),
            (DELETE, &*own, json!({ "clientId": "ci" }), "PERMISSION_DENIED", "denied"),
            (GET, "", json!({ "clientId": "ci" }), "UNAUTHENTICATED", "unauthenticated"),
            (DELETE, &*admin, json!({ "clientId": "admin" }), "FAILED_PRECONDITION", "refused"),
            (UNKNOWN, &*admin, json!({}), "UNIMPLEMENTED", "refused"),
        ];
        let mut expected = Vec::new();
        for (procedure, token, request, status, outcome) in calls {
            let _ = client.call(procedure, token, &request).await;
            expected.push((status.to_owned(), outcome.to_owned()));
        }
        let log = stop_and_read_log(server.process).await;
        let name = protocol.name();
        assert_eq!(results(&log, &[GET, DELETE, UNKNOWN]), expected, "{name}");
    }
}

/// Such a call never reaches its handler, and its status is only at the end of the response.
#[tokio::test]
async fn a_call_that_is_too_large_is_logged() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_token);
    let message = vec![b'x'; 2 << 20];
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0][..], &length, &message].concat();
    for content_type in ["application/grpc", "application/grpc-web"] {
        let headers =
            [("content-type", content_type), ("te", "trailers"), ("authorization", &*bearer)];
        server.http.send(Method::POST, CREATE, &headers, framed.clone()).await;
    }
    let log = stop_and_read_log(server.process).await;
    let refused = ("RESOURCE_EXHAUSTED".to_owned(), "refused".to_owned());
    assert_eq!(results(&log, &[CREATE]), [refused.clone(), refused]);
}

#[tokio::test]
async fn plain_http_is_logged_with_its_outcome() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin_token);
    let (path, headers) = ("/oauth_app/api/v1/gone", [("authorization", &*bearer)]);
    server.http.send(Method::GET, path, &headers, "").await;
    server.http.send(Method::GET, "/me", &[], "").await;
    let log = stop_and_read_log(server.process).await;
    let result = |status: &str, outcome: &str| (status.to_owned(), outcome.to_owned());
    assert_eq!(results(&log, &[path]), [result("NOT_FOUND", "refused")]);
    assert_eq!(results(&log, &["/me"]), [result("none", "unauthenticated")]);
}
