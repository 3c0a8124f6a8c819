//! Every kind of proxy asks the gate about each request, with its configuration of `docs/gate`.

use http::Method;
use serde_json::json;

use super::kind::{ADDED, Behind, Kind, Setup, key};
use crate::support::Response;

pub(super) const READ: &str = "/flyteidl2.project.ProjectService/GetProject";
const WRITE: &str = "/flyteidl2.project.ProjectService/UpdateProject";
pub(super) const RUN: &str = "/flyteidl2.workflow.RunService/CreateRun";
const INTERNAL: &str = "/flyteidl2.actions.ActionsService/Enqueue";

/// The proxies that are installed.
pub(super) async fn each(mut test: impl AsyncFnMut(&mut Behind)) {
    for kind in Kind::ALL {
        if let Some(mut behind) = Behind::start(kind, Setup::Flyte2).await {
            println!("{kind:?}");
            test(&mut behind).await;
        }
    }
}

pub(super) async fn call(behind: &Behind, path: &str, headers: &[(&str, &str)]) -> Response {
    let all = [&[("content-type", "application/json")], headers].concat();
    behind.http.send(Method::POST, path, &all, "{}").await
}

async fn grpc(behind: &Behind, path: &str, token: &str) -> (u16, String) {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
    if !token.is_empty() {
        headers.push(("authorization", &bearer));
    }
    let called = behind.http.send(Method::POST, path, &headers, &[0, 0, 0, 0, 0][..]).await;
    let in_trailers = called.trailers.get("grpc-status").map(|value| value.to_str().unwrap());
    let status = in_trailers.unwrap_or_else(|| called.header("grpc-status")).to_owned();
    (called.status.as_u16(), status)
}

#[tokio::test]
async fn proxies_pass_what_the_role_allows() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, viewer) = key(behind, "viewer", "ROLE_VIEWER").await;
        let (_, contributor) = key(behind, "contributor", "ROLE_CONTRIBUTOR").await;
        let (viewer, contributor) = (format!("Bearer {viewer}"), format!("Bearer {contributor}"));
        for http in ["h2", "h1"] {
            for (path, token, status) in [
                (READ, "", 401),
                (READ, "Bearer e30.e30.", 401),
                (READ, &*viewer, 200),
                (RUN, &viewer, 403),
                (RUN, &contributor, 200),
                (WRITE, &contributor, 403),
                (INTERNAL, &contributor, 403),
                ("/internal/flyteidl2.app.AppService/List", &contributor, 403),
                ("/unknown.Service/Method", &contributor, 403),
            ] {
                let client = if http == "h1" { &behind.http1 } else { &behind.http };
                let mut headers = vec![("content-type", "application/json")];
                if !token.is_empty() {
                    headers.push(("authorization", token));
                }
                let called = client.send(Method::POST, path, &headers, "{}").await;
                let shown = called.text();
                assert_eq!(called.status, status, "{kind:?} {http} {path} {token}: {shown}");
                let passed = !called.header("seen-path").is_empty();
                assert_eq!(passed, status == 200, "{kind:?} {http} {path}");
            }
        }
        // Everyone learns from Gatekey how to log in, whatever Flyte is told.
        let login = "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata";
        let open = call(behind, login, &[]).await;
        assert_eq!((open.status.as_u16(), open.header("seen-path")), (200, ""), "{kind:?}");
    })
    .await;
}

#[tokio::test]
async fn proxies_replace_the_credential_with_an_identity() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        let forged = [
            ("authorization", &*bearer),
            ("x-auth-request-user", "root"),
            ("x-auth-request-email", "root@example.com"),
            ("x-auth-request-roles", "admin"),
            ("x-auth-request-organization", "other"),
            ("x-amzn-oidc-identity", "root"),
            ("x-amzn-oidc-data", "e30.e30.e30"),
            ("x.auth.request.user", "root"),
            ("grpc-metadata-authorization", "root"),
        ];
        let called = call(behind, READ, &forged).await;
        assert_eq!(called.status, 200, "{kind:?}: {}", called.text());
        assert_eq!(called.header("seen-x-auth-request-user"), "ci", "{kind:?}");
        assert_eq!(called.header("seen-x-auth-request-roles"), "viewer", "{kind:?}");
        for gone in [
            "authorization",
            "flyte-authorization",
            "x-auth-request-email",
            "x-amzn-oidc-identity",
            "x-amzn-oidc-data",
            "x.auth.request.user",
            "grpc-metadata-authorization",
        ] {
            let seen = called.header(&format!("seen-{gone}")).to_owned();
            assert_eq!(seen, "", "{kind:?} {gone}");
        }
        assert_ne!(called.header("seen-x-auth-request-organization"), "other", "{kind:?}");
        // Without a credential where none is needed, nobody has an identity.
        let called = behind.http.get("/healthz", &[("x-auth-request-user", "root")]).await;
        assert_eq!((called.status.as_u16(), called.header("seen-path")), (200, "/healthz"));
        assert_eq!(called.header("seen-x-auth-request-user"), "", "{kind:?}");
    })
    .await;
}

#[tokio::test]
async fn proxies_refuse_grpc_in_grpc() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        assert_eq!(grpc(behind, READ, &token).await, (200, "0".to_owned()), "{kind:?}");
        // A client that does not find the status in gRPC derives the same from HTTP's.
        let known = |(http, grpc): (u16, String)| match (http, &*grpc) {
            (_, "16") | (401, "") => "UNAUTHENTICATED",
            (_, "7") | (403, "") => "PERMISSION_DENIED",
            (_, "14") | (502..=504, "") => "UNAVAILABLE",
            _ => panic!("{kind:?}: {http} {grpc}"),
        };
        assert_eq!(known(grpc(behind, READ, "").await), "UNAUTHENTICATED", "{kind:?}");
        assert_eq!(known(grpc(behind, RUN, &token).await), "PERMISSION_DENIED", "{kind:?}");
    })
    .await;
}

#[tokio::test]
async fn headers_of_other_proxies_decide_nothing() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        for (method, uri) in [
            ("x-original-method", "x-original-uri"),
            ("x-original-method", "x-original-url"),
            ("x-forwarded-method", "x-forwarded-uri"),
            ("x-http-method-override", "x-rewrite-url"),
            ("x-envoy-original-method", "x-envoy-original-path"),
        ] {
            let url = format!("https://localhost{READ}");
            let target = if uri.ends_with("url") { &*url } else { READ };
            let forged = [("authorization", &*bearer), (method, "POST"), (uri, target)];
            let called = call(behind, RUN, &forged).await;
            assert!(
                called.status == 403 || called.status == 400,
                "{kind:?} {uri}: {}",
                called.status
            );
            let nominated = [("authorization", &*bearer), (method, "POST"), (uri, target)].to_vec();
            let nominated = [&nominated[..], &[("connection", "x-forwarded-uri")]].concat();
            let headers = [&[("content-type", "application/json")], &nominated[..]].concat();
            let called = behind.http1.send(Method::POST, RUN, &headers, "{}").await;
            assert_ne!(called.status, 200, "{kind:?} {uri}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_escaped_path_passes_no_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        for path in [
            "/flyteidl2.workflow.RunService/Create%52un",
            "/flyteidl2.workflow.RunService%2fCreateRun",
            "/flyteidl2.project.ProjectService/GetProject/../../flyteidl2.workflow.RunService/CreateRun",
            "/flyteidl2.project.ProjectService/GetProject/%2e%2e/%2e%2e/flyteidl2.workflow.RunService/CreateRun",
            "//flyteidl2.workflow.RunService/CreateRun",
            "/flyteidl2.workflow.RunService//CreateRun",
            "/flyteidl2.workflow.RunService/CreateRun;x=1",
            "/flyteidl2.workflow.RunService/CreateRun/",
            "/oauth2/../flyteidl2.workflow.RunService/CreateRun",
            "/oauth2/%2e%2e/flyteidl2.workflow.RunService/CreateRun",
            "/healthz/../flyteidl2.workflow.RunService/CreateRun",
        ] {
            let called = call(behind, path, &[("authorization", &bearer)]).await;
            assert_eq!(called.header("seen-path"), "", "{kind:?} {path}");
            assert_ne!(called.status, 200, "{kind:?} {path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_revoked_key_passes_no_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer)];
        assert_eq!(call(behind, READ, &headers).await.status, 200, "{kind:?}");
        behind.gatekey.admin_call("Disable", json!({ "clientId": "ci" })).await;
        assert_eq!(call(behind, READ, &headers).await.status, 401, "{kind:?}, at the next request");
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_the_gate_passes_nothing() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, token) = key(behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        behind.gatekey.process.kill();
        let down = call(behind, READ, &[("authorization", &bearer)]).await;
        assert_eq!(down.header("seen-path"), "", "{kind:?}");
        // Traefik's answer is fixed.
        let expected = if kind == Kind::Traefik { 500 } else { 503 };
        assert_eq!(down.status, expected, "{kind:?}: {}", down.text());
    })
    .await;
}

/// The header that `tokens.authorization_metadata_key` names, with the lines for it.
#[tokio::test]
async fn a_custom_header_never_reaches_flyte() {
    let documented = include_str!("../../docs/gate/credentials.md");
    for (file, _, line) in ADDED {
        let row = documented.lines().find(|one| one.contains(&format!("[{file}]")));
        assert!(row.is_some_and(|row| row.contains(&format!("`{line}`"))), "{file}: {row:?}");
    }
    for kind in Kind::ALL {
        let Some(behind) = Behind::start(kind, Setup::CustomHeader).await else { continue };
        let (_, token) = key(&behind, "ci", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {token}");
        let answer = call(&behind, READ, &[("x-flyte-token", &bearer)]).await;
        assert_eq!(answer.status, 200, "{kind:?}: {}", answer.text());
        assert_eq!(answer.header("seen-x-auth-request-user"), "ci", "{kind:?}");
        assert_eq!(answer.header("seen-x-flyte-token"), "", "{kind:?}");
        assert!(!format!("{:?}", answer.headers).contains(&token), "{kind:?}");
    }
}
