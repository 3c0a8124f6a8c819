//! Limits of a key's networks and rate, wherever the key is used.

use serde_json::{Value, json};

use super::GRANT;
use crate::support::{Credentials, Response, Server};

/// An address that no test calls from.
const ELSEWHERE: &str = "192.0.2.7";

impl Server {
    async fn limit(&self, key: &Credentials, limits: Value) {
        let mut key = json!({ "clientId": key.client_id });
        let mut mask = Vec::new();
        for (name, value) in limits.as_object().unwrap() {
            key[name] = value.clone();
            mask.push(name.as_str());
        }
        self.admin_call("Update", json!({ "apiKey": key, "updateMask": mask.join(",") })).await;
    }

    /// Uses a key at every endpoint but the gate: by its secret, then by its token.
    async fn use_everywhere(&self, key: &Credentials, token: &str) -> [Vec<Response>; 3] {
        let form = format!("token={token}");
        let secret = [("authorization", &*key.basic())];
        let bearer = format!("Bearer {token}");
        let bearer = [("authorization", &*bearer)];
        let get = "/gatekey.v1.ApiKeyService/Get";
        let own = json!({ "clientId": key.client_id });
        [
            vec![
                self.http.form("/oauth2/token", &secret, GRANT).await,
                self.http.form("/oauth2/introspect", &secret, &form).await,
                self.http.form("/oauth2/introspect", &bearer, &form).await,
                self.http.form("/oauth2/revoke", &secret, "token=none").await,
            ],
            vec![self.http.get("/oauth2/userinfo", &bearer).await],
            vec![self.http.connect_json(get, token, &own).await],
        ]
    }
}

fn seconds(response: &Response) -> u64 {
    response.header("retry-after").parse().unwrap()
}

#[tokio::test]
async fn a_key_works_only_from_its_networks() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    for networks in [json!([ELSEWHERE, "127.0.0.0/8", "::1"]), json!(["0.0.0.0/0", "::/0"])] {
        server.limit(&key, json!({ "allowFrom": networks })).await;
        for answers in server.use_everywhere(&key, &token).await {
            for answer in answers {
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
    }
    server.limit(&key, json!({ "allowFrom": [ELSEWHERE, "2001:db8::/32"] })).await;
    let [oauth, userinfo, rpc] = server.use_everywhere(&key, &token).await;
    for refused in oauth {
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["error"]),
            (400, &json!("unauthorized_client"))
        );
    }
    for refused in userinfo {
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["error"]),
            (403, &json!("access_denied"))
        );
    }
    for refused in rpc {
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["code"]),
            (403, &json!("permission_denied"))
        );
    }
}

#[tokio::test]
async fn a_wrong_secret_reveals_no_limits() {
    let server = Server::start().await;
    let key =
        server.create_key_with("ci", json!({ "allowFrom": [ELSEWHERE], "rate": "1/h" })).await;
    let wrong = Credentials { client_secret: server.admin.client_secret.clone(), ..key };
    for _ in 0..3 {
        let refused = server.request_token(&wrong, GRANT).await;
        assert_eq!(refused.status, 401, "{}", refused.text());
        assert_eq!(refused.json()["error"], "invalid_client");
    }
}

#[tokio::test]
async fn the_network_is_the_one_behind_a_proxy() {
    let server =
        Server::with_config("tls.plaintext = true\nserver.trusted_proxies = [\"127.0.0.1\"]").await;
    let key = server.create_key_with("ci", json!({ "allowFrom": [ELSEWHERE] })).await;
    for (forwarded, status) in [
        (ELSEWHERE, 200),
        ("127.0.0.1, ::ffff:192.0.2.7", 200),
        ("192.0.2.7, 192.0.2.8", 400),
        ("192.0.2.8", 400),
    ] {
        let headers = [("authorization", &*key.basic()), ("x-forwarded-for", forwarded)];
        let answer = server.http.form("/oauth2/token", &headers, GRANT).await;
        assert_eq!(answer.status, status, "{forwarded}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_rate_is_shared_by_all_endpoints() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.limit(&key, json!({ "rate": "6/h" })).await;
    for answers in server.use_everywhere(&key, &token).await {
        for answer in answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    let [oauth, userinfo, rpc] = server.use_everywhere(&key, &token).await;
    for refused in oauth.iter().chain(&userinfo) {
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]), (429, &json!("slow_down")));
    }
    assert_eq!(
        (rpc[0].status.as_u16(), &rpc[0].json()["code"]),
        (429, &json!("resource_exhausted"))
    );
    for refused in oauth.iter().chain(&userinfo).chain(&rpc) {
        assert!((1..=600).contains(&seconds(refused)), "{}", seconds(refused));
        assert_eq!(refused.header("ratelimit-policy"), r#""key";q=6;w=3600"#);
        let left = refused.header("ratelimit").strip_prefix(r#""key";r=0;t="#).unwrap();
        assert!((3500..=3600).contains(&left.parse::<u64>().unwrap()), "{left}");
    }
}

#[tokio::test]
async fn a_change_of_a_key_keeps_its_quota() {
    let server = Server::start().await;
    let key = server.create_key_with("ci", json!({ "rate": "1/h" })).await;
    assert_eq!(server.request_token(&key, GRANT).await.status, 200);
    server.limit(&key, json!({ "clientName": "Renamed", "projects": ["web"] })).await;
    assert_eq!(server.request_token(&key, GRANT).await.status, 429);
    server.limit(&key, json!({ "rate": "2/h" })).await;
    assert_eq!(server.request_token(&key, GRANT).await.status, 200, "another rate begins anew");
}

#[tokio::test]
async fn a_limited_use_has_one_entry_a_minute() {
    let server = Server::start().await;
    let key = server.create_key_with("ci", json!({ "allowFrom": [ELSEWHERE] })).await;
    for _ in 0..5 {
        server.request_token(&key, GRANT).await;
    }
    server.limit(&key, json!({ "allowFrom": [], "rate": "1/h" })).await;
    for _ in 0..5 {
        server.request_token(&key, GRANT).await;
    }
    let refusals = async || {
        let entries = server.ledger().await;
        let refused = entries.into_iter().filter(|entry| entry.action == "refuse");
        refused.map(|entry| (entry.target, entry.detail)).collect::<Vec<_>>()
    };
    let expected = ["network", "rate"].map(|reason| ("ci".to_owned(), reason.to_owned()));
    crate::support::eventually("both refusals are recorded", async || refusals().await.len() >= 2)
        .await;
    assert_eq!(refusals().await, expected);
}

/// The server does not see who presents a token to somebody else.
#[tokio::test]
async fn introspection_ignores_the_limits_of_its_subject() {
    let server = Server::start().await;
    let key = server.create_key("ci").await;
    let token = server.token(&key).await;
    server.limit(&key, json!({ "allowFrom": [ELSEWHERE], "rate": "1/h" })).await;
    for _ in 0..3 {
        assert_eq!(server.introspect(&server.admin, &token).await["active"], true);
    }
}
