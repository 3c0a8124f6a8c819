//! nginx in front of Gatekey's own proxy, with the configuration of `docs/gate`.

use http::Method;
use serde_json::json;

use super::{
    LIST, call,
    kind::{Behind, Kind, Setup, key},
};

#[tokio::test]
async fn nginx_serves_the_built_in_proxy() {
    for kind in [Kind::Nginx, Kind::NginxMainline] {
        let Some(mut behind) = Behind::start(kind, Setup::InFront).await else { continue };
        let (_, viewer) = key(&behind, "viewer", "ROLE_VIEWER").await;
        let bearer = format!("Bearer {viewer}");
        for http in [&behind.http, &behind.http1] {
            assert_eq!(call(http, LIST, "").await.status, 401, "{kind:?}");
            let called = call(http, LIST, &viewer).await;
            assert_eq!(
                (called.status.as_u16(), called.header("seen-path")),
                (200, LIST),
                "{kind:?}"
            );
            assert_eq!(called.header("seen-x-auth-request-user"), "viewer", "{kind:?}");
            assert_eq!(called.header("seen-authorization"), "", "{kind:?}");
            assert_eq!(called.header("seen-x-forwarded-proto"), "https", "{kind:?}");
            let write = "/flyteidl2.workflow.RunService/CreateRun";
            assert_eq!(call(http, write, &viewer).await.status, 403, "{kind:?}");
        }
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let refused = behind.http.send(Method::POST, LIST, &headers, &[0, 0, 0, 0, 0][..]).await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("grpc-status")),
            (200, "16"),
            "{kind:?}"
        );
        let headers = [&headers[..], &[("authorization", &*bearer)]].concat();
        let called = behind.http.send(Method::POST, LIST, &headers, &[0, 0, 0, 0, 0][..]).await;
        assert_eq!(called.trailers["grpc-status"], "0", "{kind:?}");
        behind.gatekey.process.kill();
        let down = call(&behind.http, LIST, &viewer).await;
        assert_eq!((down.status.as_u16(), &down.json()["code"]), (503, &json!("unavailable")));
    }
}
