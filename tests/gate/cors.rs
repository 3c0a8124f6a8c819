//! Pages of other origins.

use http::Method;

use super::{Gated, READ};
use crate::support::{Response, upstream::DO};

const PAGE: &str = "https://console.example.com";
const METHOD: (&str, &str) = ("access-control-request-method", "POST");

async fn start() -> Gated {
    Gated::with_settings(&format!("cors_origins = [\"{PAGE}\", \"http://localhost:5173\"]")).await
}

fn allowed(response: &Response) -> Vec<&str> {
    let values = response.headers.get_all("access-control-allow-origin").iter();
    values.map(|value| value.to_str().unwrap()).collect()
}

#[tokio::test]
async fn preflights_of_configured_origins_are_answered() {
    let gated = start().await;
    for http in [&gated.server.http, &gated.over_http1()] {
        for origin in [PAGE, "http://localhost:5173"] {
            let headers = [("origin", origin), METHOD];
            let answer = http.send(Method::OPTIONS, READ, &headers, "").await;
            assert_eq!((answer.status.as_u16(), allowed(&answer)), (204, vec![origin]));
            assert!(answer.header("access-control-allow-methods").contains("POST"));
            let names = answer.header("access-control-allow-headers");
            for name in ["authorization", "connect-protocol-version", "x-grpc-web", "content-type"]
            {
                assert!(names.split(", ").any(|one| one == name), "{name}: {names}");
            }
            assert_eq!(answer.header("access-control-max-age"), "7200");
            assert!(answer.header("vary").contains("origin"));
            assert_eq!(answer.header("access-control-allow-credentials"), "");
        }
    }
    assert!(gated.upstream.received().is_empty());
}

#[tokio::test]
async fn other_preflights_are_refused() {
    let gated = start().await;
    let closed = Gated::start().await;
    for (gated, headers) in [
        (&gated, &[("origin", "https://evil.example"), METHOD][..]),
        (&gated, &[("origin", "null"), METHOD]),
        (&gated, &[("origin", "https://console.example.com.evil.example"), METHOD]),
        (&gated, &[("origin", PAGE), ("origin", "https://evil.example"), METHOD]),
        (&gated, &[METHOD]),
        (&gated, &[("origin", PAGE)]),
        (&closed, &[("origin", PAGE), METHOD]),
    ] {
        let answer = gated.server.http.send(Method::OPTIONS, READ, headers, "").await;
        assert_eq!(answer.status, 403, "{headers:?}");
        assert_eq!(answer.header("access-control-allow-methods"), "");
        assert!(gated.upstream.received().is_empty());
    }
}

#[tokio::test]
async fn allowed_pages_read_responses_and_refusals() {
    let gated = start().await;
    let bearer = format!("Bearer {}", gated.token_of("viewer").await);
    let key = ("authorization", &*bearer);
    for (headers, status) in [
        (&[("origin", PAGE), key, (DO, "answer access-control-allow-origin *")][..], 200),
        (&[("origin", PAGE), key, (DO, "answer access-control-allow-credentials true")], 200),
        (&[("origin", PAGE)], 401),
        (&[("origin", PAGE), key, (DO, "die")], 502),
    ] {
        let answer = gated.server.http.send(Method::POST, READ, headers, "").await;
        assert_eq!((answer.status.as_u16(), allowed(&answer)), (status, vec![PAGE]));
        assert_eq!(answer.header("access-control-expose-headers"), "*");
        assert_eq!(answer.header("access-control-allow-credentials"), "");
        assert_eq!(answer.header("vary"), "origin");
    }
}

/// Flyte 2 reflects every origin, with credentials.
#[tokio::test]
async fn other_pages_read_nothing() {
    let gated = start().await;
    let closed = Gated::start().await;
    for gated in [&gated, &closed] {
        let bearer = format!("Bearer {}", gated.server.admin_token);
        for what in [
            "answer access-control-allow-origin https://evil.example",
            "answer access-control-allow-credentials true",
            "answer access-control-expose-headers *",
        ] {
            let headers =
                [("origin", "https://evil.example"), ("authorization", &*bearer), (DO, what)];
            let answer = gated.server.http.send(Method::POST, READ, &headers, "").await;
            assert_eq!(answer.status, 200);
            let of_cors = answer.headers.keys().filter(|name| name.as_str().contains("control-"));
            let of_cors: Vec<_> = of_cors.filter(|name| *name != "cache-control").collect();
            assert!(of_cors.is_empty(), "{what}: {of_cors:?}");
        }
    }
}
