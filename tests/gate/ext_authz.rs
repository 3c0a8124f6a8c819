//! Envoy asks about requests over gRPC.

use std::collections::HashMap;

use buffa::Message as _;
use gatekey_proto::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, HeaderMap, HeaderValue, HeaderValueOption,
    attribute_context::{HttpRequest, Request},
    check_response::HttpResponse,
    header_value_option::HeaderAppendAction,
};
use http::Method;
use serde_json::json;

use super::{
    ADMIN, READ,
    forward_auth::{asked, bearer_of},
};
use crate::support::{Server, eventually};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A request as Envoy describes it.
pub(super) fn post(path: &str, headers: &[(&str, &str)]) -> HttpRequest {
    let pseudo = [(":method", "POST"), (":path", path), (":authority", "flyte.example.com")];
    let headers = pseudo.iter().chain(headers);
    HttpRequest {
        method: "POST".to_owned(),
        path: path.to_owned(),
        headers: headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..HttpRequest::default()
    }
}

/// Asks over gRPC.
pub(super) async fn check(server: &Server, http: HttpRequest) -> CheckResponse {
    let request = Request { http: http.into(), ..Request::default() };
    let attributes = AttributeContext { request: request.into(), ..AttributeContext::default() };
    let request = CheckRequest { attributes: attributes.into(), ..CheckRequest::default() };
    let message = request.encode_to_vec();
    let mut body = vec![0];
    body.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend(message);
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let answer = server.http.send(Method::POST, CHECK, &headers, body).await;
    let status = answer.trailers.get("grpc-status").or(answer.headers.get("grpc-status"));
    assert_eq!(status.unwrap(), "0", "{answer:?}");
    CheckResponse::decode_from_slice(&answer.body[5..]).unwrap()
}

/// Only the body names a project.
#[tokio::test]
async fn envoy_shows_the_body_of_limited_keys() {
    let server = asked().await;
    let key = server.create_key_with("ci", json!({ "projects": ["web"] })).await;
    let bearer = format!("Bearer {}", server.token(&key).await);
    let path = "/flyteidl2.workflow.RunService/GetRunDetails";
    let web = json!({ "runId": { "project": "web", "domain": "development" } }).to_string();
    let other = web.replace("web", "other");
    for (body, partial, passes) in [
        (web.as_str(), &["false"] as &[&str], true),
        (&other, &["false"], false),
        (&web, &["true"], false),
        (&web, &["TRUE"], false),
        (&web, &[], false),
        ("", &["false"], false),
    ] {
        let mut headers = vec![("authorization", &*bearer), ("content-type", "application/json")];
        headers.extend(partial.iter().map(|value| ("x-envoy-auth-partial-body", *value)));
        let request = HttpRequest { raw_body: body.as_bytes().to_vec(), ..post(path, &headers) };
        let answer = check(&server, request).await;
        assert_eq!(answer.status.code == 0, passes, "{body} {partial:?}: {answer:?}");
    }
}

/// Without `pack_as_bytes`, the body is text.
#[tokio::test]
async fn envoy_shows_json_as_text() {
    let server = asked().await;
    let key = server.create_key_with("ci", json!({ "projects": ["web"], "rate": "99/h" })).await;
    let bearer = format!("Bearer {}", server.token(&key).await);
    let path = "/flyteidl2.workflow.RunService/GetRunDetails";
    let web = json!({ "runId": { "project": "web", "domain": "development" } }).to_string();
    for (body, content_type, passes) in [
        (web.clone(), "application/json", true),
        (web.replace("web", "other"), "application/json", false),
        (web.clone(), "application/proto", false),
    ] {
        let headers = [
            ("authorization", &*bearer),
            ("content-type", content_type),
            ("x-envoy-auth-partial-body", "false"),
        ];
        let answer = check(&server, HttpRequest { body, ..post(path, &headers) }).await;
        assert_eq!(answer.status.code == 0, passes, "{content_type}: {answer:?}");
        if let Some(HttpResponse::OkResponse(ok)) = &answer.http_response {
            let for_client = by_name(&ok.response_headers_to_add);
            assert_eq!(for_client["ratelimit-policy"], r#""key";q=99;w=3600"#);
        }
    }
}

fn by_name(options: &[HeaderValueOption]) -> HashMap<&str, &str> {
    for option in options {
        let overwrite = HeaderAppendAction::OVERWRITE_IF_EXISTS_OR_ADD;
        assert_eq!(option.append_action, overwrite, "{option:?}");
    }
    options.iter().map(|option| (&*option.header.key, &*option.header.value)).collect()
}

#[tokio::test]
async fn envoy_learns_whether_a_request_may_pass() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let answer = check(&server, post(READ, &[("authorization", &viewer)])).await;
    assert_eq!(answer.status.code, 0);
    let Some(HttpResponse::OkResponse(ok)) = &answer.http_response else { panic!("{answer:?}") };
    let set = by_name(&ok.headers);
    assert_eq!(set["x-auth-request-user"], "viewer");
    assert_eq!(set["x-auth-request-roles"], "viewer");
    assert_eq!((set["x-auth-request-email"], set["x-auth-request-organization"]), ("", "acme"));
    let metadata = &answer.dynamic_metadata.fields;
    assert_eq!(metadata["client_id"].as_str(), Some("viewer"));
    assert_eq!(metadata["role"].as_str(), Some("viewer"));
    for (path, credential, code, status) in
        [(READ, "Bearer wrong", 16, 401), (ADMIN, &*viewer, 7, 403), ("/a//b", &*viewer, 3, 400)]
    {
        let answer = check(&server, post(path, &[("authorization", credential)])).await;
        // Without a code, Envoy would let it pass.
        assert_eq!(answer.status.code, code, "{path}");
        let Some(HttpResponse::DeniedResponse(denied)) = &answer.http_response else {
            panic!("{answer:?}")
        };
        assert_eq!(denied.status.code, status, "{path}");
        let headers = by_name(&denied.headers);
        assert_eq!(headers.contains_key("www-authenticate"), status == 401);
        assert!(headers.contains_key("x-gate-reason"), "{path}");
    }
}

#[tokio::test]
async fn envoy_removes_claimed_identities_by_name() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let forged = [
        "flyte-authorization-copy",
        "x-amzn-oidc-identity",
        "x_auth_request_user",
        "x.auth.request.user",
        "grpc-metadata-flyte-authorization",
        "x-http-method-override",
        "from_http",
    ];
    let mut headers = vec![("authorization", &*viewer), ("x-auth-request-user", "root")];
    headers.extend(forged.map(|name| (name, "root")));
    let answer = check(&server, post(READ, &headers)).await;
    let Some(HttpResponse::OkResponse(ok)) = &answer.http_response else { panic!("{answer:?}") };
    let removed = |name: &str| ok.headers_to_remove.iter().any(|removed| removed == name);
    for name in &forged[1..] {
        assert!(removed(name), "{name}");
    }
    assert!(removed("authorization") && !removed("x-auth-request-user"));
    assert!(!removed("flyte-authorization-copy"), "it is nobody's");
    assert_eq!(by_name(&ok.headers)["x-auth-request-user"], "viewer");
}

/// Envoy joins them unless it sends raw headers.
#[tokio::test]
async fn envoys_repeated_headers_are_seen() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let admin = format!("Bearer {}", server.admin_token);
    let raw = |values: &[&str]| HttpRequest {
        headers: HashMap::default(),
        header_map: HeaderMap {
            headers: values
                .iter()
                .map(|value| HeaderValue {
                    key: "authorization".to_owned(),
                    raw_value: value.as_bytes().to_vec(),
                    ..HeaderValue::default()
                })
                .collect(),
            ..HeaderMap::default()
        }
        .into(),
        ..post(READ, &[])
    };
    assert_eq!(check(&server, raw(&[&viewer])).await.status.code, 0);
    assert_eq!(check(&server, raw(&[&viewer, &admin])).await.status.code, 3);
    let joined = format!("{viewer},{admin}");
    let answer = check(&server, post(READ, &[("authorization", &joined)])).await;
    assert_eq!(answer.status.code, 3);
}

/// Envoy writes the status of gRPC itself, with the body as its message.
#[tokio::test]
async fn envoy_refuses_in_the_clients_protocol() {
    let server = asked().await;
    for (content_type, answered) in [
        ("application/grpc", None),
        ("application/grpc-web", Some("application/grpc-web")),
        ("application/proto", Some("application/json")),
        ("text/plain", Some("application/problem+json")),
    ] {
        let answer = check(&server, post(READ, &[("content-type", content_type)])).await;
        let Some(HttpResponse::DeniedResponse(denied)) = &answer.http_response else {
            panic!("{answer:?}")
        };
        let headers = by_name(&denied.headers);
        assert_eq!(headers.get("content-type").copied(), answered, "{content_type}");
        assert_eq!(denied.body.is_empty(), content_type == "application/grpc-web");
        assert!(!denied.body.starts_with('{') || answered.is_some(), "{}", denied.body);
    }
}

#[tokio::test]
async fn envoys_malformed_questions_fail() {
    let server = asked().await;
    let admin = server.admin_token.clone();
    for http in [
        json!({}),
        json!({ "method": "POST", "path": "no-path" }),
        json!({ "method": "CONNECT", "path": READ }),
        json!({ "method": "POST", "path": READ, "headers": { "a b": "c" } }),
        json!({ "method": "POST", "path": READ, "headers": { "a": "\n" } }),
    ] {
        let question = json!({ "attributes": { "request": { "http": http } } });
        let answer = server.http.connect_json(CHECK, &admin, &question).await;
        assert_eq!(answer.status, 400, "{question}: {}", answer.text());
        assert_eq!(answer.json()["code"], "invalid_argument");
    }
}

/// The client's address is the one that Envoy forwards, not Envoy's.
#[tokio::test]
async fn refused_keys_are_recorded_for_every_door() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let headers = [("authorization", &*viewer), ("x-forwarded-for", "203.0.113.7")];
    assert_eq!(check(&server, post(ADMIN, &headers)).await.status.code, 7);
    let family = [("x-original-method", "POST"), ("x-original-uri", ADMIN)];
    for _ in 0..3 {
        let headers = [&family[..], &headers[..]].concat();
        assert_eq!(server.http.get("/gate/nginx", &headers).await.status, 403);
    }
    let mut refusals = Vec::new();
    eventually("the refusal is recorded", async || {
        let entries = server.ledger().await.into_iter();
        refusals = entries.filter(|entry| &*entry.action == "refuse").collect();
        !refusals.is_empty()
    })
    .await;
    assert_eq!(refusals.len(), 1, "once a minute: {refusals:?}");
    assert_eq!(refusals[0].peer, "203.0.113.7");
    assert!(refusals[0].target.contains(ADMIN), "{refusals:?}");
}
