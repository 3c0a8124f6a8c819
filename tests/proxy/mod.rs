//! Proxies in front of Gatekey and Flyte, with the configurations of the documentation: nginx with
//! those of `docs/guides/nginx`, and every kind of proxy with those of `docs/gate`.

mod each;
mod flyte;
mod flyte_1;
pub(crate) mod flyteadmin;
mod gate;
mod in_front;
mod kind;
mod nginx;
mod tricks;

use http::Method;
use serde_json::json;

use self::nginx::Proxied;
use crate::support::{Credentials, Http};

const LIST: &str = "/flyteidl2.project.ProjectService/ListProjects";

/// Calls a method of Flyte in Connect's JSON.
async fn call(http: &Http, procedure: &str, token: &str) -> crate::support::Response {
    http.connect_json(procedure, token, &json!({})).await
}

#[tokio::test]
async fn nginx_sends_keys_to_gatekey() {
    for configuration in ["flyte-2.conf", "flyte-1.conf"] {
        let Some(proxied) = Proxied::start(configuration).await else { return };
        for http in [&proxied.http, &proxied.http1] {
            let token = proxied.token(http, &proxied.admin).await;
            let listed = call(http, "/cloudidl.identity.AppsService/List", &token).await;
            assert_eq!(listed.status, 200, "{configuration}: {}", listed.text());
            for path in [
                "/.well-known/oauth-authorization-server",
                "/.well-known/openid-configuration",
                "/config/v1/flyte_client",
                "/oauth2/jwks",
                "/openapi.json",
            ] {
                let response = http.get(path, &[]).await;
                assert_eq!(response.status, 200, "{configuration} {path}: {}", response.text());
                assert!(!response.text().contains("stand-in"), "{configuration} {path}");
            }
            let metadata = http.get("/.well-known/oauth-authorization-server", &[]).await.json();
            assert_eq!(metadata["issuer"], proxied.url);
        }
    }
}

#[tokio::test]
async fn nginx_sends_the_rest_to_flyte() {
    let Some(proxied) = Proxied::start("flyte-2.conf").await else { return };
    let token = proxied.token(&proxied.http, &proxied.admin).await;
    let bearer = format!("Bearer {token}");
    let grpc =
        [("content-type", "application/grpc"), ("te", "trailers"), ("authorization", &*bearer)];
    let called = proxied.http.send(Method::POST, LIST, &grpc, &[0, 0, 0, 0, 0][..]).await;
    assert_eq!((called.status.as_u16(), called.header("seen-path")), (200, LIST));
    assert_eq!(called.trailers["grpc-status"], "0");
    for http in [&proxied.http, &proxied.http1] {
        let called = call(http, LIST, &token).await;
        assert_eq!((called.status.as_u16(), called.header("seen-path")), (200, LIST));
        assert_eq!(called.header("seen-x-forwarded-proto"), "https");
        assert_eq!(format!("https://{}", called.header("seen-host")), proxied.url);
        // How to log in is open to everyone.
        let login = call(http, "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata", "").await;
        assert_eq!(login.status, 200, "{}", login.text());
    }
}

/// Flyte 2 believes the headers of AWS's load balancer.
#[tokio::test]
async fn nginx_blanks_identity_headers() {
    let Some(proxied) = Proxied::start("flyte-2.conf").await else { return };
    let token = proxied.token(&proxied.http, &proxied.admin).await;
    let bearer = format!("Bearer {token}");
    for path in [LIST, "/flyteidl2.auth.AuthMetadataService/GetOAuth2Metadata"] {
        let headers = [
            ("authorization", &*bearer),
            ("content-type", "application/json"),
            ("x-amzn-oidc-identity", "root"),
            ("X-Amzn-Oidc-Data", "e30.e30.e30"),
        ];
        let called = proxied.http.send(Method::POST, path, &headers, "{}").await;
        assert_eq!(called.status, 200, "{}", called.text());
        assert_eq!(called.header("seen-x-amzn-oidc-identity"), "");
        assert_eq!(called.header("seen-x-amzn-oidc-data"), "");
    }
}

#[tokio::test]
async fn nginx_refuses_requests_without_a_valid_key() {
    let Some(proxied) = Proxied::start("flyte-2.conf").await else { return };
    let key = proxied.gatekey.create_key("ci").await;
    let token = proxied.token(&proxied.http, &key).await;
    assert_eq!(call(&proxied.http, LIST, &token).await.status, 200);
    for token in ["", "e30.e30.", "gk_"] {
        assert_eq!(call(&proxied.http, LIST, token).await.status, 401, "{token}");
    }
    proxied.gatekey.admin_call("Delete", json!({ "clientId": "ci" })).await;
    assert_eq!(call(&proxied.http, LIST, &token).await.status, 401, "at the next request");
}

#[tokio::test]
async fn nginx_serves_no_internal_service() {
    let Some(proxied) = Proxied::start("flyte-2.conf").await else { return };
    let token = proxied.token(&proxied.http, &proxied.admin).await;
    for path in [
        "/flyteidl2.actions.ActionsService/Enqueue",
        "/flyteidl2.workflow.InternalRunService/RecordAction",
        "/flyteidl2.workflow.EventsProxyService/Record",
        "/flyteidl2.cacheservice.v2.CacheService/Get",
        "/internal/flyteidl2.app.AppService/List",
        "/_gatekey",
        "/",
    ] {
        assert_eq!(call(&proxied.http, path, &token).await.status, 404, "{path}");
    }
}

/// A refusal would make clients log in again.
#[tokio::test]
async fn an_outage_behind_nginx_is_unavailable() {
    let Some(mut proxied) = Proxied::start("flyte-2.conf").await else { return };
    let token = proxied.token(&proxied.http, &proxied.admin).await;
    proxied.stop_flyte();
    let down = call(&proxied.http, LIST, &token).await;
    assert_eq!((down.status.as_u16(), &down.json()["code"]), (503, &json!("unavailable")));
    proxied.gatekey.process.kill();
    for path in [LIST, "/cloudidl.identity.AppsService/List"] {
        let down = call(&proxied.http, path, &token).await;
        assert_eq!((down.status.as_u16(), &down.json()["code"]), (503, &json!("unavailable")));
        assert_eq!(down.header("retry-after"), "5");
    }
}

#[tokio::test]
async fn nginx_checks_tokens_for_flyte_1() {
    let Some(proxied) = Proxied::start("flyte-1.conf").await else { return };
    let key: Credentials = proxied.gatekey.create_key("ci").await;
    let token = proxied.token(&proxied.http, &key).await;
    let bearer = format!("Bearer {token}");
    let list = "/flyteidl.service.AdminService/ListProjects";
    for name in ["authorization", "flyte-authorization"] {
        let grpc = [("content-type", "application/grpc"), ("te", "trailers"), (name, &*bearer)];
        let called = proxied.http.send(Method::POST, list, &grpc, &[0, 0, 0, 0, 0][..]).await;
        assert_eq!((called.status.as_u16(), called.header("seen-path")), (200, list));
        assert_eq!(called.header("seen-flyte-authorization"), bearer);
        let got = proxied.http1.get("/api/v1/projects", &[(name, &*bearer)]).await;
        assert_eq!((got.status.as_u16(), got.header("seen-path")), (200, "/api/v1/projects"));
    }
    proxied.gatekey.admin_call("Disable", json!({ "clientId": "ci" })).await;
    assert_eq!(call(&proxied.http, list, &token).await.status, 401);
    let bearer = [("authorization", &*bearer)];
    assert_eq!(proxied.http1.get("/api/v1/projects", &bearer).await.status, 401);
}
