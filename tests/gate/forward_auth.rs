//! Proxies that ask whether a request may pass, over HTTP.

use http::Method;
use serde_json::json;

use super::{ADMIN, READ};
use crate::support::{Http, Response, Server, decoded};

/// What a proxy sends of a request, as its headers.
pub(super) type Family<'f> = Vec<(&'f str, &'f str)>;

/// The endpoints that read headers.
const ENDPOINTS: [&str; 2] = ["/gate/nginx", "/gate/forward"];

/// A procedure that needs no credential.
const OPEN: &str = "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata";

/// A server that answers proxies on loopback.
pub(super) async fn asked() -> Server {
    let server = "[server]\ntrusted_proxies = [\"127.0.0.1\"]\norganization = \"acme\"\n";
    let tokens = "[tokens]\nauthorization_metadata_key = \"flyte-authorization\"\n";
    Server::with_config(&format!("{server}{tokens}[gate]\nforward_auth = true\n")).await
}

pub(super) fn family<'f>(endpoint: &str, method: &'f str, target: &'f str) -> Family<'f> {
    match endpoint {
        "/gate/nginx" => vec![("x-original-method", method), ("x-original-uri", target)],
        "/gate/forward" => vec![
            ("x-forwarded-method", method),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "flyte.example.com"),
            ("x-forwarded-uri", target),
        ],
        _ => unreachable!("{endpoint}"),
    }
}

/// Asks about a POST with these headers.
async fn ask(server: &Server, endpoint: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut all = family(endpoint, "POST", target);
    all.extend(headers);
    server.http.get(endpoint, &all).await
}

/// Asks as Envoy does.
async fn ask_as_envoy(server: &Server, target: &str, headers: &[(&str, &str)]) -> Response {
    server.http.send(Method::POST, &format!("/gate/envoy{target}"), headers, "").await
}

/// Creates a key with a role, named after it, and returns its token as a Bearer token.
pub(super) async fn bearer_of(server: &Server, role: &str) -> String {
    let body = json!({ "role": format!("ROLE_{}", role.to_uppercase()) });
    let key = server.create_key_with(role, body).await;
    format!("Bearer {}", server.token(&key).await)
}

#[tokio::test]
async fn proxies_learn_whether_a_request_may_pass() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let admin = format!("Bearer {}", server.admin_token);
    let with_query = format!("{READ}?a=/../b");
    for (target, credential, status) in [
        (READ, "", 401),
        (READ, "Bearer wrong", 401),
        (READ, &*viewer, 200),
        (&*with_query, &*viewer, 200),
        (ADMIN, &*viewer, 403),
        (ADMIN, &*admin, 200),
        ("/unknown.Service/Method", &*admin, 403),
        (OPEN, "", 200),
    ] {
        let credential = [("authorization", credential)];
        let headers = if credential[0].1.is_empty() { &[][..] } else { &credential };
        for endpoint in ENDPOINTS {
            let answer = ask(&server, endpoint, target, headers).await;
            assert_eq!(answer.status, status, "{endpoint} {target}: {}", answer.text());
            assert_eq!(answer.header("cache-control"), "no-store");
            assert_eq!(answer.header("www-authenticate").is_empty(), status != 401);
        }
        let answer = ask_as_envoy(&server, target, headers).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
    }
    let root = ask_as_envoy(&server, "/", &[("authorization", &*admin)]).await;
    assert_eq!((root.status.as_u16(), root.text().contains("no rule")), (403, true));
}

#[tokio::test]
async fn each_answer_of_refusal_names_its_reason() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let limited = server.create_key_with("limited", json!({ "projects": ["web"] })).await;
    let limited = format!("Bearer {}", server.token(&limited).await);
    let elsewhere = server.create_key_with("elsewhere", json!({ "role": "ROLE_VIEWER" })).await;
    let away = format!("Bearer {}", server.token(&elsewhere).await);
    let key = json!({ "clientId": "elsewhere", "allowFrom": ["192.0.2.7"] });
    server.admin_call("Update", json!({ "apiKey": key, "updateMask": "allowFrom" })).await;
    for (target, credential, reason) in [
        ("/a//b", &*viewer, "path"),
        ("/OAuth2/token", &*viewer, "path"),
        (READ, "Bearer wrong", "credential"),
        (ADMIN, &*viewer, "role"),
        ("/unknown", &*viewer, "rule"),
        (READ, &*away, "network"),
        (ADMIN, &*limited, "role"),
        ("/flyteidl2.workflow.RunService/GetRunDetails", &*limited, "unseen_body"),
    ] {
        let headers = [("authorization", credential)];
        for endpoint in ENDPOINTS {
            let answer = ask(&server, endpoint, target, &headers).await;
            assert_eq!(answer.header("x-gate-reason"), reason, "{endpoint} {target}");
        }
        let answer = ask_as_envoy(&server, target, &headers).await;
        assert_eq!(answer.header("x-gate-reason"), reason, "{target}");
    }
    let incomplete = server.http.get("/gate/nginx", &[]).await;
    assert_eq!(incomplete.header("x-gate-reason"), "question");
    let untrusting = Server::with_config(
        "[server]\ntrusted_proxies = [\"192.0.2.1\"]\nforwarded_header = \"forwarded\"\n\
         [gate]\nforward_auth = true\n",
    )
    .await;
    for endpoint in ENDPOINTS {
        let answer = ask(&untrusting, endpoint, READ, &[]).await;
        assert_eq!(answer.header("x-gate-reason"), "untrusted_proxy", "{endpoint}");
    }
}

#[tokio::test]
async fn proxies_learn_the_rate_of_a_key() {
    let server = asked().await;
    let key = server.create_key_with("ci", json!({ "rate": "9/h" })).await;
    let bearer = format!("Bearer {}", server.token(&key).await);
    let headers = [("authorization", &*bearer)];
    let mut answers = vec![ask_as_envoy(&server, READ, &headers).await];
    for endpoint in ENDPOINTS {
        answers.push(ask(&server, endpoint, READ, &headers).await);
    }
    for (answer, left) in answers.iter().zip([7, 6, 5]) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("ratelimit-policy"), r#""key";q=9;w=3600"#);
        let limit = answer.header("ratelimit");
        assert!(limit.starts_with(&format!("\"key\";r={left};t=")), "{limit}");
    }
}

/// Envoy sends the body with `with_request_body`, and replaces what is not UTF-8 in it.
#[tokio::test]
async fn envoy_sends_json_of_limited_keys() {
    let server = asked().await;
    let key = server.create_key_with("ci", json!({ "projects": ["web"] })).await;
    let bearer = format!("Bearer {}", server.token(&key).await);
    let path = "/gate/envoy/flyteidl2.workflow.RunService/GetRunDetails";
    let web = json!({ "runId": { "project": "web", "domain": "development" } }).to_string();
    let other = web.replace("web", "other");
    let large = format!("{web}{}", " ".repeat(4 << 20));
    let json = ("content-type", "application/json");
    let whole = ("x-envoy-auth-partial-body", "false");
    let partial = ("x-envoy-auth-partial-body", "true");
    for (body, headers, status) in [
        (&*web, &[json, whole][..], 200),
        (&other, &[json, whole], 403),
        (&web, &[json, partial], 403),
        (&web, &[json, whole, whole], 403),
        (&web, &[json], 403),
        (&web, &[whole], 403),
        (&web, &[whole, ("content-type", "application/proto")], 403),
        (&web, &[json, whole, ("content-encoding", "gzip")], 403),
        ("", &[json, whole], 403),
        (&large, &[json, whole], 413),
    ] {
        let headers = [&[("authorization", &*bearer)], headers].concat();
        let answer = server.http.send(Method::POST, path, &headers, body.to_owned()).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
    }
}

/// Also without a value: what a proxy does not replace is the client's.
#[tokio::test]
async fn every_pass_has_all_identity_headers() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    for (target, credential, user, roles) in
        [(READ, Some(&*viewer), "viewer", "viewer"), (OPEN, None, "", "")]
    {
        let headers: Vec<_> =
            credential.map(|value| ("authorization", value)).into_iter().collect();
        let mut answers = vec![ask_as_envoy(&server, target, &headers).await];
        for endpoint in ENDPOINTS {
            let answer = ask(&server, endpoint, target, &headers).await;
            // No credential of the client goes on.
            for name in ["authorization", "flyte-authorization", "proxy-authorization"] {
                assert!(
                    answer.headers.get(name).is_some_and(http::HeaderValue::is_empty),
                    "{name}"
                );
            }
            answers.push(answer);
        }
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
            for (name, value) in [
                ("x-auth-request-user", user),
                ("x-auth-request-email", ""),
                ("x-auth-request-roles", roles),
            ] {
                assert!(answer.headers.get(name).is_some_and(|sent| sent == value), "{name}");
            }
            assert!(answer.headers.contains_key("x-auth-request-organization"));
        }
    }
}

/// In place of the credential.
#[tokio::test]
async fn proxies_get_a_token_for_the_upstream() {
    let server = Server::with_config(
        "[server]\ntrusted_proxies = [\"127.0.0.1\"]\n[gate]\nforward_auth = true\n\
         audience = \"https://flyte.example.com\"\n",
    )
    .await;
    let viewer = bearer_of(&server, "viewer").await;
    let authorization = [("authorization", &*viewer)];
    for answer in [
        ask(&server, "/gate/nginx", READ, &authorization).await,
        ask(&server, "/gate/forward", READ, &authorization).await,
        ask_as_envoy(&server, READ, &authorization).await,
    ] {
        let token = answer.header("authorization").strip_prefix("Bearer ").unwrap();
        let (_, claims) = decoded(token);
        assert_eq!(claims["aud"], json!(["https://flyte.example.com"]), "{claims}");
        assert_eq!(claims["sub"], "viewer");
        let removed = answer.header("x-envoy-auth-headers-to-remove");
        assert!(!removed.split(',').any(|name| name == "authorization"), "{removed}");
    }
    // An open request has no caller.
    assert_eq!(
        ask(&server, "/gate/nginx", OPEN, &authorization[..0]).await.header("authorization"),
        ""
    );
}

#[tokio::test]
async fn nginx_gets_only_statuses_it_knows() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let authorization = ("authorization", &*viewer);
    for (target, headers, status, true_status) in [
        (READ, vec![authorization], 200, "200"),
        (READ, vec![], 401, "401"),
        (ADMIN, vec![authorization], 403, "403"),
        // 400 would become 500.
        ("/a//b", vec![authorization], 403, "400"),
        ("no-path", vec![authorization], 403, "400"),
        (READ, vec![authorization, ("flyte-authorization", "Bearer other")], 401, "400"),
    ] {
        let answer = ask(&server, "/gate/nginx", target, &headers).await;
        assert_eq!(answer.status, status, "{target} {headers:?}");
        assert_eq!(answer.header("x-gate-status"), true_status, "{target} {headers:?}");
        assert_eq!(answer.header("www-authenticate").is_empty(), status != 401);
    }
}

#[tokio::test]
async fn untrusted_proxies_get_no_decision() {
    let config = "[server]\ntrusted_proxies = [\"192.0.2.1\"]\n[gate]\nforward_auth = true\n";
    let server = Server::with_config(config).await;
    let admin = format!("Bearer {}", server.admin_token);
    let authorization = [("authorization", &*admin)];
    for endpoint in ENDPOINTS {
        let answer = ask(&server, endpoint, READ, &authorization).await;
        assert_eq!(answer.status, 403, "{endpoint}");
        assert!(answer.text().contains("server.trusted_proxies"), "{}", answer.text());
        assert!(!answer.headers.contains_key("x-auth-request-user"));
    }
    assert_eq!(ask_as_envoy(&server, READ, &authorization).await.status, 403);
    let check = "/envoy.service.auth.v3.Authorization/Check";
    let answer = server.http.connect_json(check, "", &json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["code"]),
        (403, &json!("permission_denied"))
    );
    server.process.wait_for_log(
        "refused a proxy's question about a request: it is not in server.trusted_proxies (logged once)",
    );
}

#[tokio::test]
async fn proxies_are_answered_only_if_configured() {
    let server = Server::with_config("[server]\ntrusted_proxies = [\"127.0.0.1\"]\n").await;
    let admin = format!("Bearer {}", server.admin_token);
    for endpoint in ENDPOINTS {
        let answer = ask(&server, endpoint, READ, &[("authorization", &admin)]).await;
        assert_eq!(answer.status, 404, "{endpoint}");
        assert!(answer.text().contains("gate.forward_auth"), "{}", answer.text());
    }
    let answer = ask_as_envoy(&server, READ, &[("authorization", &admin)]).await;
    assert_eq!(answer.status, 404);
    let check = "/envoy.service.auth.v3.Authorization/Check";
    let answer = server.http.connect_json(check, "", &json!({})).await;
    assert_eq!(answer.json()["code"], "unimplemented");
}

/// Every proxy passes on the headers of the other kinds as its client sent them.
#[tokio::test]
async fn each_endpoint_reads_only_its_own_headers() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let authorization = ("authorization", &*viewer);
    for (endpoint, other) in [("/gate/nginx", "/gate/forward"), ("/gate/forward", "/gate/nginx")] {
        let mut forged = family(other, "POST", READ);
        forged.push(authorization);
        assert_eq!(ask(&server, endpoint, ADMIN, &forged).await.status, 403, "{endpoint}");
        let only_forged = server.http.get(endpoint, &forged).await;
        let missing = if endpoint == "/gate/nginx" { 403 } else { 400 };
        assert_eq!(only_forged.status, missing, "{endpoint}: {}", only_forged.text());
        assert!(only_forged.text().contains("did not send"), "{}", only_forged.text());
        assert_eq!(ask_as_envoy(&server, ADMIN, &forged).await.status, 403, "{other}");
    }
}

#[tokio::test]
async fn an_incomplete_or_repeated_family_is_refused() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    for endpoint in ENDPOINTS {
        let whole = family(endpoint, "POST", READ);
        let refused = if endpoint == "/gate/nginx" { 403 } else { 400 };
        let send = async |mut headers: Family<'_>| {
            headers.push(("authorization", &viewer));
            server.http.get(endpoint, &headers).await
        };
        assert_eq!(send(whole.clone()).await.status, 200);
        for (index, (name, value)) in whole.iter().enumerate() {
            let mut missing = whole.clone();
            missing.remove(index);
            assert_eq!(send(missing).await.status, refused, "{endpoint} without {name}");
            let mut repeated = whole.clone();
            repeated.push((name, value));
            assert_eq!(send(repeated).await.status, refused, "{endpoint} with two {name}");
            let mut joined = whole.clone();
            let both = format!("{value}, {value}");
            joined[index].1 = &both;
            assert_eq!(send(joined).await.status, refused, "{endpoint} with {both}");
        }
        for target in ["http://h/a", "a", "*", "/a#/healthz", "/a b"] {
            let answer = send(family(endpoint, "POST", target)).await;
            assert_eq!(answer.status, refused, "{endpoint} {target}");
        }
        for method in ["CONNECT", "TRACE", "post", "POST GET"] {
            let answer = send(family(endpoint, method, READ)).await;
            assert_eq!(answer.status, refused, "{endpoint} {method}");
        }
    }
}

/// The shapes that clients understand when the proxy passes the answer on.
#[tokio::test]
async fn refusals_through_proxies_speak_the_clients_protocol() {
    let server = asked().await;
    for (content_type, answered) in [
        ("application/grpc", "application/grpc"),
        ("application/grpc-web+proto", "application/grpc-web+proto"),
        ("application/proto", "application/json"),
        ("application/connect+proto", "application/json"),
        ("text/plain", "application/problem+json"),
    ] {
        for endpoint in ENDPOINTS {
            let answer = ask(&server, endpoint, READ, &[("content-type", content_type)]).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.header("content-type"), answered, "{endpoint}");
            assert_eq!(answer.header("www-authenticate"), r#"Bearer realm="gatekey""#);
            let is_grpc = content_type.starts_with("application/grpc");
            assert_eq!(answer.header("grpc-status"), if is_grpc { "16" } else { "" });
            assert_eq!(answer.body.is_empty(), is_grpc);
        }
    }
    // flytekit sends it for ingress-nginx.
    let answer = ask(&server, "/gate/forward", READ, &[("accept", "application/grpc")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (401, "16"));
    // Without a body, as HAProxy asks.
    let headers = family("/gate/forward", "POST", READ);
    let answer = server.http.send(Method::HEAD, "/gate/forward", &headers, "").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (401, 0));
}

#[tokio::test]
async fn envoy_removes_what_clients_claim() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let headers = [
        ("authorization", &*viewer),
        ("x_auth_request_user", "root"),
        ("x-amzn-oidc-data", "e30.e30.e30"),
        ("grpc-metadata-authorization", "Bearer x"),
        ("x-forwarded-proto", "https"),
    ];
    let answer = ask_as_envoy(&server, READ, &headers).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let removed: Vec<_> = answer.header("x-envoy-auth-headers-to-remove").split(',').collect();
    for name in [
        "authorization",
        "flyte-authorization",
        "proxy-authorization",
        "x_auth_request_user",
        "x-amzn-oidc-data",
        "grpc-metadata-authorization",
    ] {
        assert!(removed.contains(&name), "{name}: {removed:?}");
    }
    // Envoy removes last.
    assert!(!removed.contains(&"x-auth-request-user") && !removed.contains(&"x-forwarded-proto"));
    assert!(!answer.headers.contains_key("authorization"));
}

/// Flyte answers them for any origin, without a credential.
#[tokio::test]
async fn preflights_do_not_pass_through_proxies() {
    let server = asked().await;
    for endpoint in ENDPOINTS {
        let headers = family(endpoint, "OPTIONS", OPEN);
        assert_eq!(server.http.get(endpoint, &headers).await.status, 403, "{endpoint}");
    }
}

#[tokio::test]
async fn proxies_refuse_a_disabled_key_at_once() {
    let server = asked().await;
    let viewer = bearer_of(&server, "viewer").await;
    let authorization = [("authorization", &*viewer)];
    for endpoint in ENDPOINTS {
        assert_eq!(ask(&server, endpoint, READ, &authorization).await.status, 200);
    }
    server.admin_call("Disable", json!({ "clientId": "viewer" })).await;
    for endpoint in ENDPOINTS {
        assert_eq!(ask(&server, endpoint, READ, &authorization).await.status, 401, "{endpoint}");
    }
}

#[tokio::test]
async fn metrics_count_answers_to_proxies() {
    let server = Server::with_config(
        "[server]\ntrusted_proxies = [\"127.0.0.1\"]\nadmin_listen = \"127.0.0.1:0\"\n[gate]\nforward_auth = true\n",
    )
    .await;
    assert_eq!(ask(&server, "/gate/forward", OPEN, &[]).await.status, 200);
    assert_eq!(ask(&server, "/gate/nginx", READ, &[]).await.status, 401);
    let admin = Http::new(server.process.admin_url.as_ref().unwrap(), None);
    let metrics = admin.get("/metrics", &[]).await.text();
    for counted in ["allowed\",reason=\"anonymous", "refused\",reason=\"credential"] {
        let line = format!("gatekey_gate_decisions_total{{outcome=\"{counted}\"}} 1");
        assert!(metrics.lines().any(|one| one == line), "{line} is not in {metrics}");
    }
}
