//! Requests that have got past other gates, through every kind of proxy with its configuration of
//! `docs/gate`.

use http::Method;
use serde_json::{Value, json};

use super::{
    each::{READ, RUN, call, each},
    kind::{Behind, Kind, key},
};
use crate::gate::call::{frames, read};

/// What proxies and upstreams believe about where a request came from. 10.0.0.1 is the client that
/// the attacker claims to be.
const FORWARDED: [(&str, &str); 11] = [
    ("x-forwarded-proto", "http"),
    ("x-forwarded-scheme", "http"),
    ("x-forwarded-host", "evil.example.com"),
    ("x-forwarded-port", "1"),
    ("x-forwarded-prefix", "/healthz"),
    ("x-forwarded-server", "evil.example.com"),
    ("x-forwarded-for", "10.0.0.1"),
    ("x-original-forwarded-for", "10.0.0.1"),
    ("x-real-ip", "10.0.0.1"),
    ("x-envoy-external-address", "10.0.0.1"),
    ("forwarded", "for=10.0.0.1;host=evil.example.com;proto=http"),
];

/// Traefik CVE-2026-54764, oathkeeper GHSA-vhr5-ggp3-qq85.
#[tokio::test]
async fn forged_forwarding_headers_pass_no_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        let headers = [&[("authorization", &*bearer)], &FORWARDED[..]].concat();
        let called = call(behind, READ, &headers).await;
        assert_eq!(called.status, 200, "{kind:?}: {}", called.text());
        // Flyte builds URLs from these.
        assert_eq!(called.header("seen-x-forwarded-proto"), "https", "{kind:?}");
        for name in ["seen-host", "seen-x-forwarded-host", "seen-forwarded"] {
            assert!(!called.header(name).contains("evil"), "{kind:?}: {name}");
        }
        assert_eq!(call(behind, RUN, &headers).await.status, 403, "{kind:?}");
        assert_eq!(call(behind, READ, &FORWARDED).await.status, 401, "{kind:?}");
        // The key of another network does not come from there because it says so.
        let change = json!({ "clientId": "ci", "allowFrom": ["10.0.0.0/8"] });
        let change = json!({ "apiKey": change, "updateMask": "allowFrom" });
        behind.gatekey.admin_call("Update", change).await;
        behind.reached();
        assert_eq!(call(behind, READ, &headers).await.status, 403, "{kind:?}");
        assert_eq!(behind.reached(), [""; 0], "{kind:?}");
    })
    .await;
}

/// Traefik CVE-2024-45410, Fabio CVE-2025-48865.
#[tokio::test]
async fn a_nominated_header_passes_no_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        let nominated = [
            "authorization",
            "x-auth-request-user",
            "x-auth-request-user, x-auth-request-roles, authorization",
            "x-forwarded-method, x-forwarded-uri, x-forwarded-host, x-forwarded-proto",
            "x-original-method, x-original-uri",
            "x-forwarded-for, x-real-ip",
            "content-length, host",
        ];
        for names in nominated {
            behind.reached();
            for (path, credential) in [(RUN, &*bearer), (READ, ""), (READ, "Bearer wrong")] {
                let mut headers = vec![
                    ("connection", names),
                    ("content-type", "application/json"),
                    ("x-auth-request-user", "admin"),
                    ("x-auth-request-roles", "admin"),
                ];
                if !credential.is_empty() {
                    headers.push(("authorization", credential));
                }
                let sent = behind.http1.try_send(Method::POST, path, &headers, "{}").await;
                let status = sent.map_or(0, |called| called.status.as_u16());
                assert_ne!(status, 200, "{kind:?} {names} {path} {credential}");
            }
            assert_eq!(behind.reached(), [""; 0], "{kind:?} {names}");
            let headers = [
                ("authorization", &*bearer),
                ("connection", names),
                ("content-type", "application/json"),
                ("x-auth-request-user", "admin"),
            ];
            let Ok(called) = behind.http1.try_send(Method::POST, READ, &headers, "{}").await else {
                continue;
            };
            let caller = called.header("seen-x-auth-request-user");
            assert!(called.status != 200 || caller == "ci", "{kind:?} {names}: {caller}");
        }
    })
    .await;
}

/// oauth2-proxy CVE-2025-64484, Traefik CVE-2026-39858 and CVE-2026-88011, Caddy CVE-2026-52845.
#[tokio::test]
async fn names_like_ours_pass_no_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        let uniform = [
            "x_auth_request_user",
            "x_auth_request_email",
            "x_auth_request_roles",
            "x.auth.request.user",
            "x.auth.request.roles",
        ];
        let mixed = ["X.Auth-Request.User", "x_auth-request_user", "x-amzn_oidc-data"];
        // Traefik removes only what its configuration lists.
        let mixed = if kind == Kind::Traefik { &[][..] } else { &mixed };
        for &name in uniform.iter().chain(mixed) {
            let headers = [("authorization", &*bearer), (name, "forged")];
            // Envoy ends such a stream.
            let Ok(called) = behind.http.try_send(Method::POST, READ, &headers, "").await else {
                continue;
            };
            let headers = called.headers.iter();
            let forged: Vec<_> =
                headers.filter(|(_, value)| value.as_bytes() == b"forged").collect();
            assert!(forged.is_empty(), "{kind:?} {name}: {forged:?}");
            assert!(called.status == 200 || called.status == 400, "{kind:?} {name}");
        }
    })
    .await;
}

/// Traefik CVE-2026-88004.
#[tokio::test]
async fn trailers_name_no_caller_behind_proxies() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let trailers = [
            ("x-auth-request-user", "admin"),
            ("authorization", "Bearer forged"),
            ("x-forwarded-uri", READ),
        ];
        let names = [("trailer", "x-auth-request-user, authorization, x-forwarded-uri")];
        for (path, passes) in [(READ, true), (RUN, false)] {
            behind.reached();
            let body = frames(&["\0\0\0\0\0"], &trailers);
            // nginx 1.22 breaks off.
            let called = behind.caller().try_grpc_with(path, &token, &names, body).await;
            let Ok(called) = called else {
                assert!(passes || behind.reached().is_empty(), "{kind:?} {path}");
                continue;
            };
            let headers = called.headers().clone();
            let caller = headers.get("seen-x-auth-request-user");
            assert!(caller.is_none_or(|caller| caller == "ci"), "{kind:?}: {caller:?}");
            assert!(!headers.contains_key("seen-authorization"), "{kind:?}: {headers:?}");
            read(called).await;
            assert_eq!(!behind.reached().is_empty(), passes, "{kind:?} {path}");
        }
    })
    .await;
}

/// Envoy CVE-2026-26308.
#[tokio::test]
async fn several_credentials_pass_no_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, viewer) = key(behind, "viewer", "ROLE_VIEWER").await;
        let (_, contributor) = key(behind, "contributor", "ROLE_CONTRIBUTOR").await;
        let (one, other) = (format!("Bearer {viewer}"), format!("Bearer {contributor}"));
        let (joined, basic) = (format!("{one}, {other}"), behind.gatekey.admin.basic());
        let in_query = format!("{RUN}?access_token={contributor}");
        for (path, credentials) in [
            (RUN, &[&*one, &*other][..]),
            (RUN, &[&other, &one]),
            (RUN, &[&joined]),
            (RUN, &[&basic, &other]),
            (RUN, &[&basic]),
            (&in_query, &[&one]),
            (&in_query, &[]),
        ] {
            behind.reached();
            for http in [&behind.http, &behind.http1] {
                let json = ("content-type", "application/json");
                let credentials = credentials.iter().map(|value| ("authorization", *value));
                let headers: Vec<_> = std::iter::once(json).chain(credentials).collect();
                let called = http.send(Method::POST, path, &headers, "{}").await;
                assert_ne!(called.status, 200, "{kind:?} {path} {headers:?}");
            }
            assert_eq!(behind.reached(), [""; 0], "{kind:?} {path}");
        }
    })
    .await;
}

/// A request with a request line and further lines, as bytes.
fn request(line: &[u8], headers: &[&str]) -> Vec<u8> {
    let headers = [headers, &["", "{}"]].concat().join("\r\n");
    let rest = format!(
        "content-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n{headers}"
    );
    [line, b" HTTP/1.1\r\n", rest.as_bytes()].concat()
}

/// oauth2-proxy CVE-2025-54576, CVE-2026-41059 and CVE-2026-34457, gRPC-Go CVE-2026-33186, Traefik
/// CVE-2022-23632, Authelia CVE-2026-48794.
#[tokio::test]
async fn odd_targets_and_hosts_pass_no_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        let sent = behind.exchange(&request(b"POST /healthz", &["host: localhost"])).await;
        assert!(sent.starts_with("HTTP/1.1 "), "{kind:?} answers: {sent}");
        behind.reached();
        let targets: &[&[u8]] = &[
            b"POST /flyteidl2.workflow.RunService/CreateRun?x=/healthz",
            b"POST /flyteidl2.workflow.RunService/CreateRun?/.well-known/x",
            b"POST /flyteidl2.workflow.RunService/CreateRun#/healthz",
            b"POST /healthz#/../flyteidl2.workflow.RunService/CreateRun",
            b"POST flyteidl2.workflow.RunService/CreateRun",
            b"POST \\flyteidl2.workflow.RunService\\CreateRun",
            b"POST /oauth2\\..\\flyteidl2.workflow.RunService\\CreateRun",
            b"POST http://localhost/flyteidl2.workflow.RunService/CreateRun",
            b"POST https://healthz/flyteidl2.workflow.RunService/CreateRun",
            b"POST //localhost/flyteidl2.workflow.RunService/CreateRun",
            b"POST /FLYTEIDL2.workflow.RunService/CreateRun",
            b"POST /flyteidl2.workflow.RunService/CreateRun%00",
            b"POST /flyteidl2.workflow.RunService/CreateRun\0",
            b"POST /flyteidl2.workflow.RunService/CreateRun\t",
            b"POST /flyteidl2.workflow.RunService/CreateRun\x80",
            b"POST /flyteidl2.workflow.RunService/%2e%2e/flyteidl2.workflow.RunService/CreateRun",
            b"POST /oauth2/%252e%252e/flyteidl2.workflow.RunService/CreateRun",
            b"POST /oauth2%2f..%2fflyteidl2.workflow.RunService/CreateRun",
            b"GET /flyteidl2.workflow.RunService/CreateRun?connect=v1&encoding=json&message={}",
            b"PUT /flyteidl2.workflow.RunService/CreateRun",
            b"post /flyteidl2.workflow.RunService/CreateRun",
            b"HEAD /flyteidl2.project.ProjectService/GetProject",
            b"OPTIONS /flyteidl2.workflow.RunService/CreateRun",
            b"OPTIONS *",
            b"TRACE /flyteidl2.workflow.RunService/CreateRun",
            b"CONNECT localhost:8090",
            b"CONNECT /flyteidl2.workflow.RunService/CreateRun",
        ];
        let (_, token) = key(behind, "viewer", "ROLE_VIEWER").await;
        let bearer = format!("authorization: Bearer {token}");
        for target in targets {
            for credential in ["user-agent: kube-probe/1.34", &bearer] {
                behind.exchange(&request(target, &["host: localhost", credential])).await;
                let reached = behind.reached();
                let shown = String::from_utf8_lossy(target);
                assert_eq!(reached, [""; 0], "{kind:?} {shown} {credential}");
            }
        }
        let line = format!("POST {READ}");
        for hosts in [
            &["host: LOCALHOST"][..],
            &["host: localhost."],
            &["host: localhost:1"],
            &["host: evil.example.com"],
            &["host: healthz@localhost"],
            &["host: localhost", "host: evil.example.com"],
            &["host: evil.example.com", "host: localhost"],
            &["host:"],
            &[],
        ] {
            behind.exchange(&request(line.as_bytes(), hosts)).await;
            assert_eq!(behind.reached(), [""; 0], "{kind:?} {hosts:?}");
        }
    })
    .await;
}

/// Requests whose end is in doubt, or that ask for a tunnel. Each is followed by another that the
/// caller may not make.
fn smuggling(bearer: &str) -> Vec<(&'static str, String)> {
    let inner = format!(
        "POST {RUN} HTTP/1.1\r\nhost: localhost\r\nauthorization: {bearer}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}"
    );
    let chunk = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    let (after_end, whole) = (format!("0\r\n\r\n{inner}"), format!("{{}}{inner}"));
    let lengths = |body: &str| format!("content-length: {}", body.len());
    let post = |version: &str, headers: &[&str], body: &str| {
        let rest = [headers, &["", body]].concat().join("\r\n");
        format!(
            "POST {READ} HTTP/{version}\r\nhost: localhost\r\nauthorization: {bearer}\r\n\
             content-type: application/json\r\n{rest}"
        )
    };
    let chunked = "transfer-encoding: chunked";
    vec![
        ("CL.TE", post("1.1", &[&lengths(&after_end), chunked], &after_end)),
        ("TE.CL", post("1.1", &[chunked, "content-length: 4"], &chunk)),
        ("two lengths", post("1.1", &["content-length: 2", &lengths(&whole)], &whole)),
        ("a list of lengths", post("1.1", &["content-length: 2, 300"], &whole)),
        ("a signed length", post("1.1", &["content-length: +2"], &whole)),
        ("another coding", post("1.1", &["transfer-encoding: chunked, identity"], &after_end)),
        ("no coding", post("1.1", &["transfer-encoding: xchunked", "content-length: 2"], &whole)),
        ("two codings", post("1.1", &[chunked, "transfer-encoding: identity"], &after_end)),
        ("HTTP/1.0", post("1.0", &[chunked, &lengths(&after_end)], &after_end)),
        ("a folded line", post("1.1", &["x: a", " transfer-encoding: chunked"], &after_end)),
        ("a space", post("1.1", &["transfer-encoding : chunked", "content-length: 2"], &whole)),
        ("a bare LF", post("1.1", &["x: a\ntransfer-encoding: chunked"], &after_end)),
        ("a bare CR", post("1.1", &["x: a\rtransfer-encoding: chunked"], &after_end)),
        ("an extension", post("1.1", &[chunked], &format!("2;\n{{}}\r\n{after_end}"))),
        (
            "a nominated length",
            post("1.1", &["connection: content-length", &lengths("{}")], &whole),
        ),
        (
            "h2c",
            post(
                "1.1",
                &[
                    "connection: upgrade, http2-settings",
                    "upgrade: h2c",
                    "http2-settings: AAMAAABkAAQAAP__",
                ],
                &inner,
            ),
        ),
        (
            "a websocket",
            post(
                "1.1",
                &["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 777"],
                &inner,
            ),
        ),
        ("an expectation", post("1.1", &["expect: 100-continue, x", "content-length: 2"], &whole)),
    ]
}

/// Pingora CVE-2026-2833 and CVE-2026-2835, nginx CVE-2026-42926.
#[tokio::test]
async fn smuggled_requests_pass_no_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "viewer", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        let plain = request(
            format!("POST {READ}").as_bytes(),
            &["host: localhost", &format!("authorization: {bearer}")],
        );
        behind.exchange(&plain).await;
        assert_eq!(behind.reached(), [format!("POST {READ}")], "{kind:?}");
        for (what, bytes) in smuggling(&bearer) {
            behind.exchange(bytes.as_bytes()).await;
            let reached = behind.reached();
            let smuggled = reached.iter().any(|one| one != &format!("POST {READ}"));
            assert!(!smuggled, "{kind:?}, {what}: {reached:?}");
        }
        assert_still_decides(behind, &bearer).await;
    })
    .await;
}

/// Nothing that was left on a connection changes the next request.
async fn assert_still_decides(behind: &Behind, bearer: &str) {
    let headers = [("authorization", bearer)];
    assert_eq!(call(behind, READ, &headers).await.status, 200, "{:?}", behind.kind);
    assert_eq!(call(behind, RUN, &headers).await.status, 403, "{:?}", behind.kind);
    let refused: Value = json!(call(behind, READ, &[]).await.status.as_u16());
    assert_eq!(refused, 401, "{:?}", behind.kind);
}
