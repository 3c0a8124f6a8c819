//! nginx asks the gate about every request, with the configuration of `docs/gate`.

use http::Method;
use serde_json::json;

use super::{LIST, call, nginx::Proxied};
use crate::support::Response;

/// A procedure that needs the role `admin`.
const CREATE: &str = "/flyteidl2.project.ProjectService/CreateProject";

/// The settings of the guide, and the header of Flyte 1's clients.
const SETTINGS: &str = "[tokens]\nauthorization_metadata_key = \"flyte-authorization\"\n\
                        [gate]\nforward_auth = true\n";

async fn start() -> Option<Proxied> {
    Proxied::start_with("docs/gate/nginx.conf", SETTINGS).await
}

/// Creates a key with the role `viewer`, and returns its token.
async fn viewer(proxied: &Proxied) -> String {
    let viewer = proxied.gatekey.create_key_with("ci", json!({ "role": "ROLE_VIEWER" })).await;
    proxied.token(&proxied.http, &viewer).await
}

async fn grpc(proxied: &Proxied, path: &str, headers: &[(&str, &str)]) -> Response {
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let headers = [&grpc, headers].concat();
    proxied.http.send(Method::POST, path, &headers, &[0, 0, 0, 0, 0][..]).await
}

#[tokio::test]
async fn nginx_asks_the_gate_about_every_request() {
    let Some(proxied) = start().await else { return };
    let viewer = viewer(&proxied).await;
    let admin = proxied.token(&proxied.http, &proxied.admin).await;
    for http in [&proxied.http, &proxied.http1] {
        for (path, token, status) in [
            (LIST, "", 401),
            (LIST, "wrong", 401),
            (LIST, &*viewer, 200),
            (CREATE, &*viewer, 403),
            (CREATE, &*admin, 200),
            ("/flyteidl2.actions.ActionsService/Enqueue", &*admin, 403),
            ("/a//b", &*admin, 400),
            ("/flyteidl2.project.ProjectService/Create%50roject", &*admin, 400),
            ("/x/../flyteidl2.project.ProjectService/CreateProject", &*viewer, 400),
            ("/gate/nginx", &*admin, 403),
            ("/_gate", &*admin, 404),
        ] {
            let answer = call(http, path, token).await;
            assert_eq!(answer.status, status, "{path}: {}", answer.text());
            if status == 401 {
                let challenges = answer.headers.get_all("www-authenticate");
                assert_eq!(challenges.iter().count(), 1, "{challenges:?}");
                assert!(answer.header("www-authenticate").starts_with("Bearer realm="));
                assert_eq!(answer.json()["code"], "unauthenticated");
            }
            assert_eq!(answer.text().contains("stand-in"), status == 200, "{path}");
        }
    }
    proxied.gatekey.admin_call("Delete", json!({ "clientId": "ci" })).await;
    assert_eq!(call(&proxied.http, LIST, &viewer).await.status, 401, "at the next request");
}

#[tokio::test]
async fn nginx_replaces_what_clients_claim() {
    let Some(proxied) = start().await else { return };
    let bearer = format!("Bearer {}", viewer(&proxied).await);
    let forged = [
        ("x-auth-request-user", "root"),
        ("x_auth_request_user", "root"),
        ("X.Auth.Request.User", "root"),
        ("x-auth-request-email", "root@example.com"),
        ("x-auth-request-roles", "admin"),
        ("x-amzn-oidc-identity", "root"),
        ("x-amzn-oidc-data", "e30.e30.e30"),
        ("x-original-uri", "/healthz"),
        ("x-original-url", "https://localhost/healthz"),
        ("x-original-method", "GET"),
        ("x-forwarded-uri", "/healthz"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=10.0.0.1"),
    ];
    let headers = [&[("authorization", &*bearer)], &forged[..]].concat();
    let answer = grpc(&proxied, LIST, &headers).await;
    assert_eq!((answer.status.as_u16(), answer.header("seen-path")), (200, LIST));
    for (name, value) in [
        ("seen-authorization", ""),
        ("seen-x-auth-request-user", "ci"),
        ("seen-x_auth_request_user", ""),
        ("seen-x.auth.request.user", ""),
        ("seen-x-auth-request-email", ""),
        ("seen-x-auth-request-roles", "viewer"),
        ("seen-x-amzn-oidc-identity", ""),
        ("seen-x-amzn-oidc-data", ""),
        ("seen-x-forwarded-for", "127.0.0.1"),
        ("seen-x-forwarded-proto", "https"),
        ("seen-forwarded", ""),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    // The decision is about the request itself.
    let refused = grpc(&proxied, CREATE, &headers).await;
    assert_eq!(refused.header("grpc-status"), "7");
    // A header that `Connection` names is removed after the check at the latest.
    let nominated =
        [&headers[..], &[("connection", "x-auth-request-user, authorization")]].concat();
    let answer = proxied.http1.send(Method::POST, LIST, &nominated, "{}").await;
    assert!(
        answer.status == 401 || answer.header("seen-x-auth-request-user") == "ci",
        "{answer:?}"
    );
}

#[tokio::test]
async fn nginx_refuses_grpc_in_grpc() {
    let Some(proxied) = start().await else { return };
    let bearer = format!("Bearer {}", viewer(&proxied).await);
    let twice = [("authorization", &*bearer), ("flyte-authorization", "Bearer other")];
    for (path, headers, status) in
        [(LIST, &[][..], "16"), (CREATE, &twice[..1], "7"), (LIST, &twice, "3")]
    {
        let answer = grpc(&proxied, path, headers).await;
        assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, status));
        assert_eq!(answer.header("content-type"), "application/grpc");
        assert!(answer.body.is_empty() && answer.trailers.is_empty(), "{answer:?}");
    }
    let web = [("content-type", "application/grpc-web+proto")];
    let answer = proxied.http1.send(Method::POST, LIST, &web, "").await;
    assert_eq!((answer.status.as_u16(), answer.header("grpc-status")), (200, "16"));
    assert_eq!(answer.header("content-type"), "application/grpc-web+proto");
}

/// A refusal would make clients log in again.
#[tokio::test]
async fn an_outage_of_the_gate_refuses_nobody() {
    let Some(mut proxied) = start().await else { return };
    let token = viewer(&proxied).await;
    proxied.stop_flyte();
    assert_eq!(call(&proxied.http, LIST, &token).await.status, 503);
    proxied.gatekey.process.kill();
    let down = call(&proxied.http, LIST, &token).await;
    assert_eq!((down.status.as_u16(), &down.json()["code"]), (503, &json!("unavailable")));
}
