//! flyteadmin, with its two ports, behind every kind of proxy, with its configuration of
//! `docs/gate/flyte-1`.

use http::Method;
use serde_json::json;

use super::{
    flyteadmin::{self, SESSION},
    kind::{Behind, Kind, Setup, key},
};
use crate::support::{Http, Response, Server};

const READ: &str = "/flyteidl.service.AdminService/ListProjects";
const WRITE: &str = "/flyteidl.service.AdminService/CreateExecution";
const ADMIN: &str = "/flyteidl.service.AdminService/RegisterProject";

async fn each(mut test: impl AsyncFnMut(&mut Behind)) {
    // Over HTTP, Envoy differs only in how it asks.
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::EnvoyOverHttp) {
        if let Some(mut behind) = Behind::start(kind, Setup::Flyte1).await {
            println!("{kind:?}");
            test(&mut behind).await;
        }
    }
}

/// Calls by gRPC. Returns the response and its status in gRPC, or that which follows from HTTP's.
async fn grpc(http: &Http, path: &str, headers: &[(&str, &str)]) -> (Response, &'static str) {
    let headers = [&[("content-type", "application/grpc"), ("te", "trailers")], headers].concat();
    let called = http.send(Method::POST, path, &headers, &[0, 0, 0, 0, 0][..]).await;
    let in_trailers = called.trailers.get("grpc-status").map(|value| value.to_str().unwrap());
    let status = match (called.status.as_u16(), in_trailers.unwrap_or(called.header("grpc-status")))
    {
        (_, "0") => "OK",
        (_, "16") | (401, "") => "UNAUTHENTICATED",
        (_, "7") | (403, "") => "PERMISSION_DENIED",
        other => panic!("{other:?} {path}"),
    };
    (called, status)
}

#[tokio::test]
async fn flyteadmin_gets_calls_on_both_ports() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, viewer) = key(behind, "viewer", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {viewer}");
        // Flyte 1's clients send the token in either header.
        for name in ["authorization", "flyte-authorization"] {
            let sent = [(name, &*bearer), ("x-auth-request-user", "root")];
            let (called, status) = grpc(&behind.http, READ, &sent).await;
            assert_eq!(status, "OK", "{kind:?} {name}: {called:?}");
            let got = behind.http1.get("/api/v1/projects", &sent).await;
            assert_eq!(got.status, 200, "{kind:?} {name}: {}", got.text());
            for answer in [called, got] {
                // The token is one for flyteadmin, and the credential does not reach it.
                assert_eq!(answer.header("seen-user"), "viewer", "{kind:?} {name}");
                assert_eq!(answer.header("seen-x-auth-request-user"), "viewer", "{kind:?} {name}");
                assert_eq!(answer.header("seen-flyte-authorization"), "", "{kind:?} {name}");
            }
        }
        // flyteadmin knows no roles.
        for path in [WRITE, ADMIN] {
            let (refused, status) = grpc(&behind.http, path, &[("authorization", &bearer)]).await;
            assert_eq!(
                (status, refused.header("seen-path")),
                ("PERMISSION_DENIED", ""),
                "{kind:?}"
            );
        }
        let headers = [("authorization", &*bearer), ("content-type", "application/json")];
        let refused = behind.http1.send(Method::POST, "/api/v1/executions", &headers, "{}").await;
        assert_eq!(refused.status, 403, "{kind:?}");
        assert_eq!(grpc(&behind.http, READ, &[]).await.1, "UNAUTHENTICATED", "{kind:?}");
        assert_eq!(behind.http.get("/api/v1/projects", &[]).await.status, 401, "{kind:?}");
        behind.gatekey.admin_call("Delete", json!({ "clientId": "viewer" })).await;
        let (_, status) = grpc(&behind.http, READ, &headers[..1]).await;
        assert_eq!(status, "UNAUTHENTICATED", "{kind:?}, at the next call");
    })
    .await;
}

/// Gatekey is the proxy, with an upstream for each port.
#[tokio::test]
async fn flyteadmin_is_behind_the_built_in_proxy() {
    let (grpc_port, http_port) = (flyteadmin::serve_grpc().await, flyteadmin::serve_http().await);
    let audience = flyteadmin::AUDIENCE;
    let server = Server::with_config(&format!(
        "[tokens]\nauthorization_metadata_key = \"flyte-authorization\"\n\
         [[gate.upstreams]]\nurl = \"http://{}\"\nmatch = [\"grpc\"]\naudience = \"{audience}\"\n\
         [[gate.upstreams]]\nurl = \"http://{}\"\npass = [\"/me\"]\naudience = \"{audience}\"\n",
        grpc_port.1, http_port.1
    ))
    .await;
    let viewer = server.create_key_with("viewer", json!({ "role": "ROLE_VIEWER" })).await;
    let bearer = format!("Bearer {}", server.token(&viewer).await);
    let none = server.create_key_with("none", json!({ "withoutRole": true })).await;
    let none = format!("Bearer {}", server.token(&none).await);
    for name in ["authorization", "flyte-authorization"] {
        let (called, status) = grpc(&server.http, READ, &[(name, &bearer)]).await;
        assert_eq!((status, called.header("seen-user")), ("OK", "viewer"), "{name}");
        assert_eq!(called.header("seen-flyte-authorization"), "", "{name}");
        for path in ["/api/v1/projects", "/me"] {
            let got = server.http.get(path, &[(name, &bearer)]).await;
            assert_eq!((got.status.as_u16(), got.header("seen-user")), (200, "viewer"), "{path}");
        }
        // flyteadmin would pass both: it asks for the scope of a token only.
        assert_eq!(grpc(&server.http, WRITE, &[(name, &bearer)]).await.1, "PERMISSION_DENIED");
        assert_eq!(grpc(&server.http, ADMIN, &[(name, &bearer)]).await.1, "PERMISSION_DENIED");
        assert_eq!(grpc(&server.http, READ, &[(name, &none)]).await.1, "PERMISSION_DENIED");
    }
    assert_eq!(grpc(&server.http, READ, &[]).await.1, "UNAUTHENTICATED");
    server.admin_call("Delete", json!({ "clientId": "viewer" })).await;
    let deleted = [("authorization", &*bearer)];
    assert_eq!(grpc(&server.http, READ, &deleted).await.1, "UNAUTHENTICATED");
    assert_eq!(server.http.get("/api/v1/projects", &deleted).await.status, 401);
    grpc_port.0.abort();
    http_port.0.abort();
}

/// grpc-gateway makes metadata of some headers, and another method of a form.
#[tokio::test]
async fn flyteadmin_gets_no_metadata_from_clients() {
    each(async |behind| {
        let kind = behind.kind;
        let (_, viewer) = key(behind, "viewer", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {viewer}");
        for name in [
            "grpc-metadata-authorization",
            "grpc-metadata-flyte-authorization",
            "x-http-method-override",
            "from_http",
        ] {
            let headers = [("authorization", &*bearer), (name, "forged")];
            let got = behind.http1.get("/api/v1/projects", &headers).await;
            assert!(got.status == 200 || got.status == 400, "{kind:?} {name}: {}", got.status);
            assert_eq!(got.header(&format!("seen-{name}")), "", "{kind:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn flyteadmins_login_passes_every_proxy() {
    each(async |behind| {
        let kind = behind.kind;
        for (path, status) in
            [("/login", 302), ("/callback", 302), ("/console", 200), ("/healthcheck", 200)]
        {
            let got = behind.http.get(path, &[]).await;
            assert_eq!((got.status.as_u16(), got.header("seen-path")), (status, path), "{kind:?}");
        }
        assert_eq!(
            behind.http.get("/callback", &[]).await.header("set-cookie"),
            SESSION,
            "{kind:?}"
        );
        // A key is asked about at flyteadmin, and a session alone is no key.
        let (_, viewer) = key(behind, "viewer", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {viewer}");
        let me = behind.http.get("/me", &[("authorization", &bearer), ("cookie", SESSION)]).await;
        assert_eq!((me.status.as_u16(), me.header("seen-user")), (200, "viewer"), "{kind:?}");
        assert_eq!(me.header("seen-cookie"), SESSION, "{kind:?}");
        assert_eq!(behind.http.get("/me", &[("cookie", SESSION)]).await.status, 401, "{kind:?}");
        let metadata = "/flyteidl.service.AuthMetadataService/GetOAuth2Metadata";
        let open = behind.http.connect_json(metadata, "", &json!({})).await;
        assert_eq!((open.status.as_u16(), open.header("seen-path")), (200, ""), "{kind:?}");
    })
    .await;
}
