//! How callers prove who they are at the gate, and what the upstream learns of them.

use serde_json::{Value, json};

use super::{ADMIN, Gated, READ, WRITE};
use crate::support::{Credentials, Response, decoded};

const AUDIENCE: &str = "https://flyte.example.com";

impl Gated {
    /// The upstream gets a token for it.
    async fn with_audience() -> Self {
        Self::with_config(&format!("gate.audience = \"{AUDIENCE}\"")).await
    }

    /// Sends headers to the gate.
    async fn send(&self, target: &str, headers: &[(&str, &str)]) -> Response {
        let json = [("content-type", "application/json")];
        let headers = [&json, headers].concat();
        self.server.http.send(http::Method::POST, target, &headers, "{}").await
    }
}

/// The token that the upstream received.
fn received(seen: &Response) -> String {
    let authorization = seen.json()["headers"]["authorization"][0].clone();
    authorization.as_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

fn encoded(gated: &Gated, key: &Credentials) -> String {
    key.encoded(gated.server.process.reached_at.trim_start_matches("https://"))
}

#[tokio::test]
async fn a_raw_key_passes_as_bearer() {
    let gated = Gated::start().await;
    let key = gated.key_of("viewer").await;
    let raw = encoded(&gated, &key);
    for (path, status) in [(READ, 200), (READ, 200), (WRITE, 403), (ADMIN, 403)] {
        let answered = gated.call(path, &raw).await;
        assert_eq!(answered.status, status, "{path}: {}", answered.text());
        assert!(!answered.text().contains(&raw));
    }
    gated.server.admin_call("Disable", json!({ "clientId": key.client_id })).await;
    assert_eq!(gated.call(READ, &raw).await.status, 401);
}

/// Elsewhere a token is asked for, which expires.
#[tokio::test]
async fn a_raw_key_opens_only_the_gate() {
    let gated = Gated::start().await;
    let raw = encoded(&gated, &gated.server.admin);
    assert_eq!(gated.call(ADMIN, &raw).await.status, 200);
    let bearer = format!("Bearer {raw}");
    for path in ["/me", "/oauth2/userinfo"] {
        let refused = gated.server.http.get(path, &[("authorization", &bearer)]).await;
        assert_eq!(refused.status, 401, "{path}");
    }
    let refused = gated.call("/gatekey.v1.ApiKeyService/List", &raw).await;
    assert_eq!(refused.status, 401, "{}", refused.text());
}

#[tokio::test]
async fn a_raw_key_of_another_server_is_refused() {
    let gated = Gated::start().await;
    let refused = gated.call(READ, &gated.server.admin.encoded("other.example.com")).await;
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("another endpoint"), "{}", refused.text());
}

#[tokio::test]
async fn wrong_raw_keys_are_throttled() {
    let gated = Gated::with_config("limits.failed_authentications_per_minute = 2").await;
    let wrong = Credentials {
        client_secret: "wrong".to_owned(),
        client_id: gated.server.admin.client_id.clone(),
    };
    let wrong = encoded(&gated, &wrong);
    for _ in 0..1000 {
        let refused = gated.call(READ, &wrong).await;
        if refused.status == 429 {
            let seconds: u64 = refused.header("retry-after").parse().unwrap();
            assert!((1..=60).contains(&seconds), "{seconds}");
            let right = encoded(&gated, &gated.server.admin);
            assert_eq!(gated.call(READ, &right).await.status, 200);
            return;
        }
        assert_eq!(refused.status, 401, "{}", refused.text());
    }
    panic!("a thousand wrong keys were not throttled")
}

#[tokio::test]
async fn several_credentials_are_refused() {
    let gated =
        Gated::with_config(r#"tokens.authorization_metadata_key = "flyte-authorization""#).await;
    let (one, other) = (gated.token_of("viewer").await, gated.token_of("contributor").await);
    let (one, other) = (format!("Bearer {one}"), format!("Bearer {other}"));
    let (both, basic) = (format!("{one}, {other}"), gated.server.admin.basic());
    let in_query = format!("{READ}?access_token={}", &other[7..]);
    for (target, headers) in [
        (READ, &[("authorization", &*one), ("flyte-authorization", &*other)][..]),
        (READ, &[("authorization", &one), ("authorization", &other)]),
        (READ, &[("authorization", &both)]),
        (READ, &[("authorization", &basic), ("flyte-authorization", &one)]),
        (&in_query, &[("authorization", &one)]),
    ] {
        let refused = gated.send(target, headers).await;
        assert_eq!(refused.status, 400, "{headers:?}: {}", refused.text());
    }
    for headers in [
        &[("authorization", &*one)][..],
        &[("flyte-authorization", &*one)],
        &[("authorization", &one), ("flyte-authorization", &one)],
        &[("authorization", &one), ("cookie", "access_token=x")],
    ] {
        assert_eq!(gated.send(READ, headers).await.status, 200, "{headers:?}");
    }
    for headers in [
        &[("authorization", &*basic)][..],
        &[("authorization", &one.replace("Bearer", "IDToken"))],
        &[("cookie", &format!("access_token={}", &one[7..]))],
    ] {
        assert_eq!(gated.send(READ, headers).await.status, 401, "{headers:?}");
    }
    assert_eq!(gated.send(&in_query, &[]).await.status, 401);
    assert_eq!(gated.upstream.received().len(), 4);
}

#[tokio::test]
async fn the_upstream_gets_a_token_of_its_own() {
    let gated = Gated::with_audience().await;
    let key = gated.key_of("viewer").await;
    let token = gated.server.token(&key).await;
    let raw = encoded(&gated, &key);
    let mut tokens = Vec::new();
    for credential in [&token, &token, &raw] {
        let seen = gated.call(READ, credential).await;
        assert_eq!(seen.status, 200, "{}", seen.text());
        assert!(!seen.text().contains(credential), "{}", seen.text());
        tokens.push(received(&seen));
    }
    assert_eq!(tokens[0], tokens[1], "a token is signed once");
    let (header, claims) = decoded(&tokens[0]);
    assert_eq!(header["typ"], "upstream+jwt");
    for (name, value) in [
        ("sub", json!("viewer")),
        ("client_id", json!("viewer")),
        ("aud", json!([AUDIENCE])),
        ("scp", json!(["all"])),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    for name in ["email", "given_name", "family_name", "exp", "iat", "nbf", "jti", "iss"] {
        assert_ne!(claims[name], Value::Null, "{name}");
    }
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!(lifetime <= 305, "{lifetime}");
}

/// Whoever reads the upstream's logs could otherwise act as its callers.
#[tokio::test]
async fn an_upstream_token_is_accepted_nowhere() {
    let gated = Gated::with_audience().await;
    let admin = &gated.server.admin_token;
    let token = received(&gated.call(ADMIN, admin).await);
    assert!(!gated.server.accepts(&token).await);
    let bearer = format!("Bearer {token}");
    let refused = gated.server.http.get("/oauth2/userinfo", &[("authorization", &bearer)]).await;
    assert_eq!(refused.status, 401);
    for path in ["/gatekey.v1.ApiKeyService/List", READ, ADMIN] {
        assert_eq!(gated.call(path, &token).await.status, 401, "{path}");
    }
    // RFC 7009 section 2.2: it is answered as an invalid token, and revokes nothing.
    let basic = gated.server.admin.basic();
    let body = format!("token={token}");
    let basic = [("authorization", &*basic)];
    let revoked = gated.server.http.form("/oauth2/revoke", &basic, &body).await;
    assert_eq!(revoked.status, 200);
    assert_eq!(gated.call(READ, admin).await.status, 200);
}

#[tokio::test]
async fn an_anonymous_call_carries_no_token() {
    let gated = Gated::with_audience().await;
    let refused = [("authorization", "Bearer wrong")];
    for headers in [&refused[..], &[]] {
        let seen = gated.server.http.get("/healthcheck", headers).await;
        assert_eq!(seen.status, 200, "{}", seen.text());
        assert_eq!(seen.json()["headers"]["authorization"], Value::Null, "{}", seen.text());
    }
}
