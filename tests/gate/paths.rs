//! Paths that another server could read differently.

use http::Method;

use super::{Gated, READ};
use crate::support::connection;

/// Rules that let every key pass everywhere, so that only the check of the path refuses.
const OPEN: &str =
    "[gate.rules]\n\"/*\" = \"any-key\"\n\"/flyteidl2.project.ProjectService/*\" = \"any-key\"";

/// Targets that HTTP clients can send.
const TRICKS: &[&str] = &[
    "/open/%2e%2e/a",
    "/open/%2E%2e/a",
    "/open/.%2e/a",
    "/open/%252e%252e/a",
    "/open/%252fa",
    "/open%2fa",
    "/open%2Fa",
    "/open%5ca",
    "/open%255ca",
    "/open//a",
    "//open/a",
    "//127.0.0.1/a",
    "/open/./a",
    "/open/../a",
    "/open/..",
    "/open/.",
    "/open/...",
    "/open;x=1",
    "/open/..;/a",
    "/open%3bx=1",
    "/open%23a",
    "/open%3fa",
    "/open%00",
    "/open%09a",
    "/open%0d%0aa",
    "/open%7f",
    "/open%80",
    "/open%c0%ae%c0%ae/a",
    "/open%ef%bc%8fa",
    "/open%",
    "/open%zz",
    "/open%4",
    "/flyteidl2.project.ProjectService/Create%50roject",
    "/flyteidl2.project.%50rojectService/GetProject",
    "/flyteidl2%2eproject.ProjectService/GetProject",
    "/flyteidl2.project.ProjectService%2fGetProject",
    "/flyteidl2.project.ProjectService//GetProject",
    "/flyteidl2.project.ProjectService/../flyteidl2.project.ProjectService/GetProject",
];

/// Targets that only raw bytes can carry.
const RAW: &[&[u8]] = &[
    b"open/a",
    b"*",
    b"",
    b"h:443",
    b"http://h/open/a",
    b"https://h//open/a",
    b"/open\\a",
    b"\\open\\a",
    b"/open\0a",
    b"/open\ta",
    b"/open\x80a",
    b"/open\xff",
    "/open/é".as_bytes(),
    b"/open/\"a",
    b"/open/<a>",
];

/// Over HTTP/1.1 and HTTP/2.
#[tokio::test]
async fn a_path_with_two_readings_never_passes() {
    let gated = Gated::with_settings(OPEN).await;
    let token = &gated.server.admin_token;
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer)];
    for http in [&gated.server.http, &gated.over_http1()] {
        for trick in TRICKS {
            for method in [Method::GET, Method::POST] {
                let answered = http.send(method, trick, &headers, "").await;
                assert_eq!(answered.status, 400, "{trick}: {}", answered.text());
            }
        }
    }
    for trick in RAW {
        let head = [b"GET ", *trick, b" HTTP/1.1\r\nhost: h\r\nconnection: close\r\n"].concat();
        let request = [&*head, format!("authorization: {bearer}\r\n\r\n").as_bytes()].concat();
        let answered = connection::exchange(&gated.server.process, &request).await;
        let is_refused = answered.is_empty() || answered.starts_with("HTTP/1.1 4");
        assert!(is_refused, "{}: {answered}", String::from_utf8_lossy(trick));
    }
    let received = gated.upstream.received();
    assert!(received.is_empty(), "{received:?}");
    // The same rules let plain paths pass.
    let passed = gated.server.http.send(Method::GET, "/open/a", &headers, "").await;
    assert_eq!(passed.status, 200, "{}", passed.text());
}

/// What the upstream receives is what was checked.
#[tokio::test]
async fn an_accepted_path_passes_unchanged() {
    let gated = Gated::with_settings(OPEN).await;
    let bearer = format!("Bearer {}", gated.server.admin_token);
    let headers = [("authorization", &*bearer)];
    let targets = ["/open/%61%20b", "/open/a?x=%2e%2e/&y=//;", "/open/A/", READ];
    for target in targets {
        let passed = gated.server.http.send(Method::POST, target, &headers, "").await;
        assert_eq!(passed.status, 200, "{target}: {}", passed.text());
    }
    let received = gated.upstream.received();
    let received: Vec<_> = received.iter().map(|request| request.uri.to_string()).collect();
    let received: Vec<_> =
        received.iter().map(|uri| uri.strip_prefix(&gated.upstream.url).unwrap_or(uri)).collect();
    assert_eq!(received, targets);
}

/// hyper ends a target at the fragment, and so must everybody behind it.
#[tokio::test]
async fn a_fragment_never_reaches_the_upstream() {
    let gated = Gated::with_settings(OPEN).await;
    let request = format!(
        "GET /open/a#/../b HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        gated.server.admin_token
    );
    connection::exchange(&gated.server.process, request.as_bytes()).await;
    for request in gated.upstream.received() {
        assert_eq!(request.uri.path(), "/open/a");
    }
}

/// The upstream could take them for its own token endpoint.
#[tokio::test]
async fn no_spelling_of_own_paths_passes() {
    let gated = Gated::with_settings("[gate.rules]\n\"/*\" = \"anonymous\"").await;
    let http1 = gated.over_http1();
    for path in [
        "/oauth2/%74oken",
        "/oauth2/toke%6E",
        "/oauth%32/token",
        "/OAuth2/Token",
        "/oauth2/token/",
        "/oauth2/token.",
        "/oauth2./token",
        "/oauth2/token%20",
        "/oauth2/%20token",
        "/oauth2/%EF%BD%94oken",
        "//oauth2/token",
        "/oauth2//token",
        "/oauth2/./token",
        "/oauth2/token;a=b",
        "/oauth2/token%3Ba",
        "/oauth2%2Ftoken",
        "/oauth2/%2574oken",
        "/%6De",
        "/ME",
        "/me/",
        "/.well-known/%6Fauth-authorization-server",
        "/.Well-Known/openid-configuration",
        "/gatekey/v1/%6Beys",
        "/gatekey/v1/keys/ci/",
        "/gate/%6Eginx",
        "/Gate/envoy/x",
        "/gatekey.v1.%41piKeyService/Get",
        "/gatekey.v1.apikeyservice/Get",
        "/gatekey.v1.ApiKeyService/Get/",
        "/cloudidl.identity.AppsService./Create",
    ] {
        for http in [&gated.server.http, &http1] {
            for method in [Method::GET, Method::POST] {
                let answered = http.send(method, path, &[], "").await;
                assert_eq!(answered.status, 400, "{path}: {}", answered.text());
                assert_eq!(answered.header("x-gate-reason"), "path", "{path}");
            }
        }
    }
    assert!(gated.upstream.received().is_empty());
    assert_eq!(gated.server.http.get("/oauth2/tokens", &[]).await.status, 200);
}
