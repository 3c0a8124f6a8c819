//! Refusals of the built-in proxy, in the protocol that the client speaks.

use http::Method;
use serde_json::{Value, json};

use super::{ADMIN, Gated, READ, WRITE};
use crate::support::{Response, upstream::DO};

/// The challenges of RFC 6750 section 3.
const CHALLENGE: &str = r#"Bearer realm="gatekey""#;
const INVALID_TOKEN: &str = r#"Bearer realm="gatekey", error="invalid_token""#;

/// Sends a POST with a content type, and a token unless it is empty.
async fn post(gated: &Gated, path: &str, content_type: &str, token: &str) -> Response {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("content-type", content_type), ("te", "trailers")];
    if !token.is_empty() {
        headers.push(("authorization", &bearer));
    }
    gated.server.http.send(Method::POST, path, &headers, &[0, 0, 0, 0, 0][..]).await
}

fn assert_polite(answer: &Response) {
    let text = format!("{} {}", answer.header("grpc-message"), answer.text()).to_lowercase();
    let message =
        text.replace(r#""code":"unauthenticated""#, "").replace(r#""title":"unauthorized""#, "");
    assert!(!message.contains("unauthorized") && !message.contains("unauthenticated"), "{text}");
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test]
async fn grpc_is_refused_in_trailers_only() {
    let gated = Gated::start().await;
    let viewer = gated.token_of("viewer").await;
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc-web",
        "application/grpc-web+proto",
        "application/grpc-web-text",
    ] {
        for (path, token, status, challenge) in [
            (READ, "", "16", CHALLENGE),
            (READ, "wrong", "16", INVALID_TOKEN),
            (ADMIN, &*viewer, "7", ""),
            ("/a//b", &*viewer, "3", ""),
        ] {
            let answer = post(&gated, path, content_type, token).await;
            assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, status));
            assert_eq!(answer.header("content-type"), content_type);
            assert_eq!(answer.header("www-authenticate"), challenge, "{path}");
            assert!(!answer.header("grpc-message").is_empty());
            assert!(answer.body.is_empty() && answer.trailers.is_empty(), "{answer:?}");
            assert_polite(&answer);
        }
    }
    assert!(gated.upstream.received().is_empty());
}

#[tokio::test]
async fn connect_is_refused_in_its_own_form() {
    let gated = Gated::start().await;
    let viewer = gated.token_of("viewer").await;
    for (path, token, status, code) in [
        (READ, "", 401, "unauthenticated"),
        (READ, "wrong", 401, "unauthenticated"),
        (ADMIN, &*viewer, 403, "permission_denied"),
        ("/a//b", &*viewer, 400, "invalid_argument"),
    ] {
        let answer = post(&gated, path, "application/proto", token).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (status, &json!(code)));
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401);
        assert_polite(&answer);
        // A stream has its error in the last envelope.
        for content_type in ["application/connect+proto", "application/connect+json"] {
            let answer = post(&gated, path, content_type, token).await;
            assert_eq!(
                (answer.status.as_u16(), answer.header("content-type")),
                (200, content_type)
            );
            let (head, end) = answer.body.split_at(5);
            assert_eq!(
                (head[0], u32::from_be_bytes(head[1..].try_into().unwrap()) as usize),
                (2, end.len())
            );
            let end: Value = serde_json::from_slice(end).unwrap();
            assert_eq!(end["error"]["code"], code);
            assert_eq!(answer.header("www-authenticate").is_empty(), status != 401);
        }
    }
    let get = format!("{READ}?connect=v1&encoding=json&message=%7B%7D");
    let answer = gated.server.http.get(&get, &[]).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (401, &json!("unauthenticated")));
}

/// RFC 9457.
#[tokio::test]
async fn plain_http_is_refused_with_a_problem() {
    let gated = Gated::start().await;
    let viewer = gated.token_of("viewer").await;
    let bearer = format!("Bearer {viewer}");
    for (headers, path, status) in [
        (&[][..], "/api/v1/projects", 401),
        (&[("authorization", &*bearer)], "/unknown", 403),
        (&[("authorization", &*bearer)], "/a/%2e%2e/b", 400),
    ] {
        let answer = gated.server.http.get(path, headers).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (status, &json!(status)));
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401);
        assert_polite(&answer);
        let head = gated.server.http.send(Method::HEAD, path, headers, "").await;
        assert_eq!((head.status.as_u16(), head.body.len()), (status, 0));
    }
}

/// What the upstream could take for another caller, method or path.
#[tokio::test]
async fn forged_headers_never_reach_the_upstream() {
    let gated = Gated::start().await;
    let token = gated.token_of("viewer").await;
    let bearer = format!("Bearer {token}");
    let forged = [
        "x-auth-request-user",
        "x_auth_request_user",
        "X.Auth-Request.User",
        "x-auth-request-groups",
        "x-amzn-oidc-data",
        "x-amzn_oidc-identity",
        "x-forwarded-user",
        "x-original-uri",
        "x-original-url",
        "x-real-ip",
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
        "x-envoy-original-path",
        "x-user-subject",
        "from_http",
        "forwarded",
        "proxy-authorization",
        "flyte-authorization-copy",
        "grpc-metadata-authorization",
        "grpc-metadata-grpc-metadata-flyte-authorization",
        "grpc_metadata_x_auth_request_user",
        "grpcgateway-authorization",
        "nominated",
    ];
    let mut headers = vec![
        ("authorization", &*bearer),
        ("content-type", "application/json"),
        ("connect-protocol-version", "1"),
        ("connection", "nominated, x-auth-request-user, authorization"),
    ];
    headers.extend(forged.map(|name| (name, "forged")));
    let answer = gated.over_http1().send(Method::POST, READ, &headers, "{}").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = answer.json()["headers"].clone();
    assert_eq!(seen["x-auth-request-user"], json!(["viewer"]));
    assert_eq!(seen["flyte-authorization-copy"], json!(["forged"]), "it is nobody's");
    let forged: Vec<_> = seen
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, values)| values.as_array().unwrap().iter().any(|value| value == "forged"))
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(forged, ["flyte-authorization-copy"]);
    assert!(!answer.text().contains(&token), "{}", answer.text());
}

/// At every door, in every protocol.
#[tokio::test]
async fn every_refusal_names_its_reason() {
    let gated = Gated::start().await;
    let viewer = gated.token_of("viewer").await;
    let bearer = format!("Bearer {viewer}");
    let key = ("authorization", &*bearer);
    let limited = gated.server.create_key_with("limited", json!({ "projects": ["web"] })).await;
    let limited = format!("Bearer {}", gated.server.token(&limited).await);
    let limited = ("authorization", &*limited);
    let upgrade = [key, ("connection", "upgrade"), ("upgrade", "h2c")];
    let http1 = gated.over_http1();
    for content_type in ["application/grpc", "application/grpc-web", "application/proto", "text/x"]
    {
        for (http, path, headers, reason) in [
            (&gated.server.http, "/a//b", &[][..], "path"),
            (&gated.server.http, READ, &[], "credential"),
            (&gated.server.http, READ, &[key, limited], "credentials"),
            (&gated.server.http, ADMIN, &[key], "role"),
            (&gated.server.http, "/unknown", &[key], "rule"),
            (&gated.server.http, WRITE, &[limited], "unreadable_body"),
            (&gated.server.http, READ, &[limited], "no_project"),
            (&http1, READ, &[key, ("expect", "other")], "expectation"),
            (&http1, READ, &upgrade, "upgrade"),
            (&gated.server.http, READ, &[key, (DO, "die")], "upstream"),
        ] {
            let headers = [&[("content-type", content_type)], headers].concat();
            let body = if path == WRITE { &b"\xff\xff\xff\xff\xff"[..] } else { b"" };
            let refused = http.send(Method::POST, path, &headers, body).await;
            let named = refused.header("x-gate-reason");
            let is_named = named == reason || reason == "no_project" && named.ends_with("_body");
            assert!(is_named, "{content_type} {path} {reason}: {named} {}", refused.text());
        }
    }
}
